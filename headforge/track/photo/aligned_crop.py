"""Aligned crops of photos in other projects' conventions: FFHQ (StyleGAN, PanoHead, SphereHead) and EG3D.

Sources: the FFHQ data set's alignment (Karras et al. 2019), from 68 landmarks; EG3D's preparation of photos (Chan et
al. 2022), which takes the similarity of Deep3DFaceRecon (Deng et al. 2019) from 5 points. Both are similarities: a crop
is a rotated, scaled and translated square of the photo.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from headforge.errors import ShapeError
from headforge.types import Camera

EYE_TO_EYE_SIDE, EYE_TO_MOUTH_SIDE = 2.0, 1.8
"""Half the quad's side in multiples of the two distances; the larger one counts."""
CENTRE_BELOW_EYES = 0.1
"""In multiples of the vector from the eyes to the mouth."""
DEEP3D_SCALE = 300.0
"""Pixels per unit of the 5-point template after scaling."""
EG3D_SIDE_PX = 700
"""Side of EG3D's crop in those pixels (the centre of a crop of 1024), before it is resized to 512."""
WHITE = (255, 255, 255)


@dataclass(frozen=True)
class AlignedCrop:
    """A rotated square of a photo: crop pixel (u, v) lies at corner + u * right + v * down in the photo."""

    corner: np.ndarray
    """[2] the crop's top left corner in photo pixels (centres at +0.5)."""
    right: np.ndarray
    """[2] photo pixels per crop pixel along u."""
    size: int
    """Side of the crop in pixels."""

    @property
    def down(self) -> np.ndarray:
        """[2] photo pixels per crop pixel along v: `right` rotated by 90 degrees."""
        return np.array([-self.right[1], self.right[0]])

    @property
    def quad(self) -> np.ndarray:
        """[4, 2] corners in the photo: top left, bottom left, bottom right, top right."""
        ends = self.size * np.array([[0, 0], [0, 1], [1, 1], [1, 0]])
        return self.to_photo(ends.astype(np.float64))

    def to_photo(self, points: np.ndarray) -> np.ndarray:
        """Map crop pixels [N, 2] to photo pixels."""
        return self.corner + points @ np.stack([self.right, self.down])

    def to_crop(self, points: np.ndarray) -> np.ndarray:
        """Map photo pixels [N, 2] to crop pixels."""
        return (points - self.corner) @ np.linalg.inv(np.stack([self.right, self.down]))

    def cut(self, photo: np.ndarray) -> np.ndarray:
        """Return the crop [size, size, 3] uint8 of `photo` [H, W, 3] uint8, white outside it.

        A crop smaller than its photo area is sampled at a multiple of its size and averaged down.
        """
        finer = max(1, int(np.ceil(np.linalg.norm(self.right))))
        fine = self.size * finer
        image = Image.fromarray(photo).transform(
            (fine, fine), Image.Transform.AFFINE, self._affine(finer), Image.Resampling.BICUBIC, fillcolor=WHITE
        )
        return np.asarray(image if finer == 1 else image.reduce(finer))

    def _affine(self, finer: int) -> tuple[float, ...]:
        """Return Pillow's six affine coefficients; Pillow applies the half-pixel offsets of output and input itself."""
        right, down = self.right / finer, self.down / finer
        return (right[0], down[0], self.corner[0], right[1], down[1], self.corner[1])

    def camera(self, camera: Camera) -> Camera:
        """Return the photo's `camera` (unbatched) in crop pixels: the same rays, other intrinsics."""
        scale = 1 / float(np.linalg.norm(self.right))
        cosine, sine = scale * self.right
        turn = torch.eye(4)
        turn[:2, :2] = torch.tensor([[cosine, sine], [-sine, cosine]])
        K = camera.K.clone()
        K[:2, :2] *= scale
        K[:2, 2] = torch.from_numpy(self.to_crop(camera.K[:2, 2].double().numpy()[None])[0]).float()
        return Camera(K, turn @ camera.viewmat, self.size, self.size)


def ffhq_crop(points: np.ndarray, size: int) -> AlignedCrop:
    """Return FFHQ's crop from 68 iBUG landmarks [68, 2] in pixels with centres at +0.5."""
    _check(points, 68)
    right_eye, left_eye = points[36:42].mean(0), points[42:48].mean(0)
    eyes, mouth = (right_eye + left_eye) / 2, (points[48] + points[54]) / 2
    across, down = left_eye - right_eye, mouth - eyes
    x = across - np.array([-down[1], down[0]])
    x = x / np.linalg.norm(x)
    x = x * max(EYE_TO_EYE_SIDE * np.linalg.norm(across), EYE_TO_MOUTH_SIDE * np.linalg.norm(down))
    y = np.array([-x[1], x[0]])
    centre = eyes + CENTRE_BELOW_EYES * down
    return AlignedCrop(centre - x - y, 2 * x / size, size)


def eg3d_crop(points: np.ndarray, template: np.ndarray, size: int) -> AlignedCrop:
    """Return EG3D's crop from 5 points [5, 2] (eyes, tip of the nose, corners of the mouth; the left side first).

    `template` [5, 3] are the same points on Deep3DFaceRecon's mean face, y up, in its units; its licence is that of the
    face model, so the caller supplies it. A least-squares affine fit gives the scale and the position of the template's
    origin; the crop is upright, `EG3D_SIDE_PX` / `DEEP3D_SCALE` units wide and centred there.
    """
    _check(points, 5)
    if template.shape != (5, 3):
        raise ShapeError("template", "[5, 3]", template.shape)
    homogeneous = np.concatenate([template, np.ones((5, 1))], axis=1)
    flipped = points * np.array([1.0, -1.0])
    affine = np.linalg.lstsq(homogeneous, flipped, rcond=None)[0]
    scale = (np.linalg.norm(affine[:3, 0]) + np.linalg.norm(affine[:3, 1])) / 2
    centre = affine[3] * np.array([1.0, -1.0])
    side = EG3D_SIDE_PX * scale / DEEP3D_SCALE
    return AlignedCrop(centre - side / 2, np.array([side / size, 0.0]), size)


def five_points(points: np.ndarray) -> np.ndarray:
    """Return eyes, nose tip and mouth corners [5, 2] of 68 landmarks, the picture's left side first.

    An eye is the mean of its corners, as in Deep3DFaceRecon.
    """
    _check(points, 68)
    return np.stack([points[[36, 39]].mean(0), points[[42, 45]].mean(0), points[30], points[48], points[54]])


def _check(points: np.ndarray, n: int) -> None:
    if points.shape != (n, 2) or not np.isfinite(points).all():
        raise ShapeError("landmarks", f"[{n}, 2], all finite", points.shape)
