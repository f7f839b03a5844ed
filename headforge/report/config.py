"""Settings of the report, in a module of its own so that reading settings does not import matplotlib."""

from __future__ import annotations

from dataclasses import dataclass

from headforge.settings import check_settings, setting

DATASET_PAGE_VERSION = 2
"""VERSION of the page about a dataset alone, `headforge.report.dataset_page`."""


@dataclass(frozen=True)
class ReportConfig:
    """Settings of the stage `report`."""

    title: str = "From seeds and a photo to an animatable head"
    """Heading of the page."""
    n_contact_subjects: int = setting(48, at_least=1, at_most=100_000)
    """Number of subjects on the dataset's contact sheet."""
    n_tracking_overlays: int = setting(3, at_least=1, at_most=100_000)
    """Number of rows of tracking overlays."""
    n_tracking_compared: int = setting(240, at_least=1, at_most=10_000_000)
    """Number of views whose tracks are compared with the exact values."""
    n_control_rows: int = setting(8, at_least=1, at_most=100_000)
    """Number of rows of the control model's comparison."""
    n_avatars: int = setting(6, at_least=1, at_most=100_000)
    """Number of subjects' avatars shown."""
    n_avatar_views: int = setting(3, at_least=1, at_most=100_000)
    """Number of held-out views shown per avatar."""
    n_portraits: int = setting(4, at_least=1, at_most=100_000)
    """Number of portraits shown."""
    n_viewer_avatars: int = setting(2, at_least=1, at_most=100_000)
    """Number of avatars in the interactive viewer."""
    viewer_max_gaussians: int = setting(60_000, at_least=1, at_most=5_000_000)
    """Largest number of Gaussians per avatar in the viewer; the most visible ones are kept."""

    def __post_init__(self) -> None:
        check_settings(self, "report")
