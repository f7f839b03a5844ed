"""Settings of the report, apart so that who reads settings does not load matplotlib."""

from __future__ import annotations

from dataclasses import dataclass

from headforge.errors import ConfigError

DATASET_PAGE_VERSION = 2
"""Of the page about a dataset alone, `headforge.report.dataset_page`."""


@dataclass(frozen=True)
class ReportConfig:
    """Settings of the stage `report`."""

    title: str = "From seeds and a photo to an animatable head"
    """Heading of the page."""
    n_contact_subjects: int = 48
    """Subjects on the dataset's contact sheet."""
    n_tracking_overlays: int = 3
    """Rows of the tracking overlays."""
    n_tracking_compared: int = 240
    """Views whose tracks are compared with the exact values."""
    n_control_rows: int = 8
    """Rows of the control model's comparison."""
    n_avatars: int = 6
    """Subjects' avatars shown."""
    n_avatar_views: int = 3
    """Held-out views shown of each avatar."""
    n_portraits: int = 4
    """Portraits shown."""
    n_viewer_avatars: int = 2
    """Avatars in the interactive viewer."""
    viewer_max_gaussians: int = 60_000
    """Gaussians of an avatar in the viewer at most; the most visible ones are kept."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, int) and value < 1:
                key = f"report.{name}"
                raise ConfigError(
                    key, value, f"{key} is {value}, expected a count of at least 1.", f"set {key} to 1 or more."
                )
