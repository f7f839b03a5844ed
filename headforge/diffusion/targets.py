"""Choice of the held-out views to sample and of their references, shared by the model and every baseline."""

from __future__ import annotations

from dataclasses import dataclass

from headforge.diffusion.bank import ViewBank


@dataclass(frozen=True)
class Target:
    """One picture to sample."""

    subject_id: str
    view: int
    reference_view: int


def heldout_targets(bank: ViewBank, n_reference_views: int, n_targets: int) -> list[Target]:
    """Return the first `n_targets` views of each subject that are not among its first `n_reference_views`.

    The reference is the subject's first reference view in the bank; subjects without one are left out.
    """
    found: list[Target] = []
    for subject_id, rows in bank.subjects().items():
        views = [bank.keys[row][1] for row in rows]
        references = [view for view in views if view < n_reference_views]
        others = [view for view in views if view >= n_reference_views]
        if references:
            found += [Target(subject_id, view, references[0]) for view in others[:n_targets]]
    return found
