"""Facts about a head model's file that exchange formats need."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from headforge.flame.files import load_head
from headforge.flame.model import HeadModel, landmarks, pose_head
from headforge.store.exchange.heads import HeadFacts, LandmarkFinder
from headforge.types import HeadParams


def read_head(path: Path) -> tuple[HeadFacts, LandmarkFinder]:
    """Return the sizes and the landmark function of the head model in the file `path`."""
    head = load_head(path)
    return head_facts(head), landmark_finder(head)


def head_facts(head: HeadModel) -> HeadFacts:
    """Return the identity and sizes of a head model."""
    return HeadFacts(head.model_id, head.n_vertices, head.n_shape, head.n_expr)


def landmark_finder(head: HeadModel) -> LandmarkFinder:
    """Return the function from head parameters to landmarks of a head model."""

    def find(params: HeadParams) -> Tensor:
        return landmarks(head, pose_head(head, params))

    return find
