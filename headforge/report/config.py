"""Settings of the report, in a module of their own so that reading settings does not load matplotlib."""

from __future__ import annotations

from dataclasses import dataclass

from headforge.settings import check_settings, setting

DATASET_PAGE_VERSION = 2
"""Version of the dataset page, `headforge.report.dataset_page`."""


@dataclass(frozen=True)
class ReportConfig:
    """Settings of the stage `report`."""

    title: str = "From seeds and a photo to an animatable head"
    """Heading of the page."""
    n_contact_subjects: int = setting(48, at_least=1, at_most=100_000)
    """Subjects on the dataset's contact sheet."""
    n_tracking_overlays: int = setting(3, at_least=1, at_most=100_000)
    """Rows of the tracking overlays."""
    n_tracking_compared: int = setting(240, at_least=1, at_most=10_000_000)
    """Views whose tracks are compared with the exact values."""
    n_control_rows: int = setting(8, at_least=1, at_most=100_000)
    """Rows of the control model's comparison."""
    n_avatars: int = setting(6, at_least=1, at_most=100_000)
    """Subjects' avatars shown."""
    n_avatar_views: int = setting(3, at_least=1, at_most=100_000)
    """Held-out views shown of each avatar."""
    n_portraits: int = setting(4, at_least=1, at_most=100_000)
    """Portraits shown."""
    n_viewer_avatars: int = setting(2, at_least=1, at_most=100_000)
    """Avatars in the interactive viewer."""
    viewer_max_gaussians: int = setting(60_000, at_least=1, at_most=5_000_000)
    """Gaussians of an avatar in the viewer at most; the most visible ones are kept."""

    def __post_init__(self) -> None:
        check_settings(self, "report")
