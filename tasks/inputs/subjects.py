"""Choice of the held-out subjects that get an avatar."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headforge.settings import check_settings, setting
from headforge.store.dataset.shards import Dataset

SHORT_HAIR = ("bald", "short")
LONG_HAIR = ("long",)


@dataclass(frozen=True)
class SubjectsConfig:
    """Settings of the choice of held-out subjects that get an avatar."""

    n_short_hair: int = setting(4, at_least=0, at_most=10_000_000)
    """Number of subjects whose hair ends above the shoulders, the first ones of the test split."""
    n_long_hair: int = setting(2, at_least=0, at_most=10_000_000)
    """Number of subjects with hair over the shoulders, the first ones of the test split."""

    def __post_init__(self) -> None:
        check_settings(self, "subjects")


def choose_subjects(config: SubjectsConfig, dataset: Path) -> list[str]:
    """Return the ids of the chosen held-out subjects, in order; fewer than asked for if the dataset has fewer."""
    data = Dataset(dataset)
    rows = data.parameters()
    hair = {subject: rows.attributes[span.start].get("hair", "") for subject, span in rows.subject_rows.items()}
    heldout = data.subject_ids("test")
    long = [subject for subject in heldout if hair[subject] in LONG_HAIR]
    short = [subject for subject in heldout if hair[subject] in SHORT_HAIR]
    return sorted(short[: config.n_short_hair] + long[: config.n_long_hair])
