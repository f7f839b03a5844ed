"""51, 68 and 70 landmarks, and eyelids, of any head model."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from headforge.errors import ConfigError, DataError, ShapeError
from headforge.flame.builtin.head import builtin_head
from headforge.flame.eyelids import eyelid_basis, eyelid_offsets
from headforge.flame.landmark_sets import landmark_embedding, landmark_points
from headforge.flame.landmarks import contour_bin
from headforge.flame.model import landmarks, pose_head
from tests.heads import tiny_head


def test_sets_are_parts_of_one_another() -> None:
    head = builtin_head()
    v = head.v_template[None]
    points = landmark_points(head, v, 70)
    assert points.shape == (1, 70, 3)
    torch.testing.assert_close(points[:, :68], landmarks(head, v))
    torch.testing.assert_close(points[:, 17:68], landmark_points(head, v, 51))
    assert points[0, 36, 0] < points[0, 68, 0] < points[0, 39, 0], "point 68 is the right pupil"
    assert points[0, 42, 0] < points[0, 69, 0] < points[0, 45, 0]


def test_a_turn_changes_the_jaw_line_only() -> None:
    head = builtin_head()
    static, turned = landmark_embedding(head, 68), landmark_embedding(head, 68, 25.0)
    assert torch.equal(turned[0][:17], head.contour_faces[contour_bin(25.0)])
    assert torch.equal(turned[0][17:], static[0][17:]) and torch.equal(turned[1][17:], static[1][17:])
    assert torch.equal(landmark_embedding(tiny_head(), 68, 25.0)[0], tiny_head().landmark_faces), "none to choose from"


def test_pupils_named_by_the_model_come_first() -> None:
    head = builtin_head()
    named = dataclasses.replace(head, pupil_faces=torch.tensor([5, 9]), pupil_barycentrics=torch.full((2, 3), 1 / 3))
    assert landmark_embedding(named, 70)[0][68:].tolist() == [5, 9]


def test_what_a_model_lacks_is_an_error() -> None:
    head = tiny_head()
    with pytest.raises(DataError, match="no pupils"):
        landmark_embedding(head, 70)
    with pytest.raises(ConfigError, match="no set of 67"):
        landmark_embedding(head, 67)
    with pytest.raises(DataError, match="can't shut its eyes"):
        eyelid_basis(head)
    with pytest.raises(ShapeError):
        eyelid_offsets(builtin_head(), torch.zeros(2, 3))


def test_eyelids_turn_with_the_head() -> None:
    """Unlike eyelids added after skinning: the lids still meet on a head turned by half a radian."""
    head = builtin_head()
    amounts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    params = head.neutral((2,)).replace(
        rotation=torch.tensor([[0.0, 0.9, 0.0]] * 2), neck=torch.tensor([[0.3, 0, 0]] * 2)
    )
    expr = torch.zeros(2, head.n_expr)
    for row, name in enumerate(("blink_left", "blink_right")):
        expr[row, head.expression_names.index(name)] = 1
    shut = pose_head(head, params, eyelid_offsets(head, amounts))
    torch.testing.assert_close(shut, pose_head(head, params.replace(expr=expr)))
    own = dataclasses.replace(head, eyelids=eyelid_basis(head), expression_names=())
    torch.testing.assert_close(pose_head(own, params, eyelid_offsets(own, amounts)), shut)
