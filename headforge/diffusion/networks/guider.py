"""The pose guider: control maps to features added to the denoiser's encoder, zero at the start of training."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle, silu


class PoseGuider(nn.Module):
    """A pyramid over pixel-unshuffled control maps; each level ends in a zero-initialised 1x1 projection.

    The pixel-unshuffle replaces RealisDance's strided stem at this picture size; as there, the next level starts from
    the feature before the projection.
    """

    def __init__(self, control_channels: int, patch: int, widths: tuple[int, ...], strides: tuple[int, ...]) -> None:
        super().__init__()
        self.patch = patch
        self.stem = nn.Conv2d(control_channels * patch * patch, widths[0], 1)
        previous = (widths[0], *widths[:-1])
        self.levels = nn.ModuleList(
            nn.Conv2d(before, width, 3, stride=stride, padding=1)
            for before, width, stride in zip(previous, widths, strides, strict=True)
        )
        self.projections = nn.ModuleList(nn.Conv2d(width, width, 1) for width in widths)
        for projection in self.projections:
            assert isinstance(projection, nn.Conv2d) and projection.bias is not None
            nn.init.zeros_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, control: Tensor) -> list[Tensor]:
        """Map control maps [B, C, H, W] to one feature map per level, the first at 1 / patch of the size."""
        hidden = silu(self.stem(pixel_unshuffle(control, self.patch)))
        features = []
        for level, projection in zip(self.levels, self.projections, strict=True):
            hidden = silu(level(hidden))
            features.append(projection(hidden))
        return features
