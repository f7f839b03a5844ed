"""Image input and output: PNG encoding, decoding, users' photos, area resampling."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from headforge.errors import DataError, InputError, ShapeError

PNG_LEVEL = 6
"""zlib level of every PNG."""
PNG_STRATEGY = 3
"""zlib's Z_RLE: a quarter of the default strategy's time; files are 1 % (plain) to 6 % (textured heads) larger."""
MIN_PHOTO_SIDE_PX = 64
MAX_PHOTO_PIXELS = 160_000_000
"""Larger photos are refused before decoding; this many pixels take 0.6 GB."""
MAX_PHOTO_SIDE_PX = 8192
"""Photos with a longer side are downsampled by an integer factor while they are read."""
PICTURE_ERRORS = (UnidentifiedImageError, OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError,
                  struct.error, zlib.error, OverflowError, MemoryError)  # fmt: skip
"""Exceptions that Pillow's decoders raise for damaged files."""
ORIENTATION = 0x0112
"""EXIF's orientation tag."""


def encode_png(image: np.ndarray) -> bytes:
    """Encode uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] as PNG; equal pixels give equal bytes."""
    pixels = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] in (3, 4))):
        raise ShapeError(f"image ({image.dtype})", "[H, W], [H, W, 3] or [H, W, 4] uint8", image.shape)
    buffer = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.save(buffer, "PNG", compress_level=PNG_LEVEL, compress_type=PNG_STRATEGY)
    return buffer.getvalue()


def decode_image(data: bytes) -> np.ndarray:
    """Decode PNG, JPEG or WebP to uint8 [H, W] (gray) or [H, W, 3], without rotation or colour conversion."""
    with _opened(data) as image:
        return np.array(image)


def decode_image_into(data: bytes, pixels: np.ndarray) -> None:
    """Decode into `pixels` [H, W] or [H, W, 3], as `decode_image`. DataError if the image has another size."""
    with _opened(data) as image:
        found = np.asarray(image)
    if found.shape != pixels.shape:
        raise DataError(
            "image", f"a picture is {found.shape} where {pixels.shape} is expected.", "look at its dataset."
        )
    pixels[...] = found


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    try:
        with Image.open(io.BytesIO(data)) as image:
            converted = image if image.mode in ("L", "RGB") else image.convert("RGB")
            converted.load()
            yield converted
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(
            "image", f"{len(data)} bytes are not a readable picture ({error}).", "run headforge verify --repair."
        ) from error


def area_resize(image: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Downsample [H, W] or [H, W, C] to `size` (one number: square; a pair: height, width) by area averaging.

    Each output pixel is the mean over its area of the input (box filter), exact for any ratio. uint8 stays uint8,
    rounded half up; floats keep their dtype.
    """
    if image.ndim not in (2, 3):
        raise ShapeError("image", "[H, W] or [H, W, C]", image.shape)
    height, width = (size, size) if isinstance(size, int) else size
    if image.shape[:2] == (height, width):
        return image.copy()
    values = image.astype(np.float64)
    values = _average_axis(_average_axis(values, 0, height), 1, width)
    if image.dtype == np.uint8:
        # 1e-9: rounding of the sums must not move an exact .5 below .5.
        return np.floor(values + 0.5 + 1e-9).clip(0, 255).astype(np.uint8)
    return values.astype(image.dtype)


def _average_axis(values: np.ndarray, axis: int, n_out: int) -> np.ndarray:
    n_in = values.shape[axis]
    if n_in % n_out == 0:
        shape = (*values.shape[:axis], n_out, n_in // n_out, *values.shape[axis + 1 :])
        return values.reshape(shape).mean(axis + 1)
    edges_in, edges_out = np.arange(n_in + 1) / n_in, np.arange(n_out + 1) / n_out
    upper = np.minimum(edges_in[None, 1:], edges_out[1:, None])
    lower = np.maximum(edges_in[None, :-1], edges_out[:-1, None])
    weights = (upper - lower).clip(0) * n_out
    return np.moveaxis(np.tensordot(weights, values, axes=(1, axis)), 0, axis)


def read_photo(path: Path, min_side_px: int = MIN_PHOTO_SIDE_PX) -> np.ndarray:
    """Read a photo as upright sRGB [H, W, 3] uint8.

    Applies the EXIF orientation, converts an embedded colour profile to sRGB, composites transparent pixels over white,
    converts gray, palette, CMYK and 16-bit images to 8-bit RGB, and downsamples sides above `MAX_PHOTO_SIDE_PX`.
    Raises InputError if it is missing, a folder, not a picture, damaged, too small or too large.
    """
    if path.is_dir():
        raise InputError(path, f"{path} is a folder, not a photo.", "give one file, or the folder with --portraits.")
    if not path.is_file():
        raise InputError(path, f"{path} does not exist.", "check the path of the photo.")
    try:
        with _unwarned(), Image.open(path) as image:
            _check_photo_size(path, image.width, image.height, min_side_px)
            upright = ImageOps.exif_transpose(_made_smaller(image))
            pixels = np.array(_to_srgb(upright))
    except Image.DecompressionBombError as error:
        raise _too_large(path, "far") from error
    except PICTURE_ERRORS as error:
        raise InputError(
            path, f"{path} can't be read as a picture ({error}).", "save it as JPEG, PNG or WebP and give that file."
        ) from error
    return pixels


def _made_smaller(image: Image.Image) -> Image.Image:
    """Downsample a large image by an integer factor; JPEG is decoded at a reduced size first."""
    factor = -(-max(image.size) // MAX_PHOTO_SIDE_PX)
    if factor == 1:
        return image
    longer = max(image.size)
    image.draft(None, (image.width // factor, image.height // factor))
    image.load()  # loading rotates a TIFF, so the tag is read afterwards
    orientation = image.getexif().get(ORIENTATION, 1)
    plain = image if image.mode in ("L", "RGB", "RGBA", "CMYK") else _to_srgb(image)
    small = plain.reduce(max(1, factor * max(plain.size) // longer))
    small.getexif()[ORIENTATION] = orientation
    return small


@contextlib.contextmanager
def _unwarned() -> Iterator[None]:
    """Suppress Pillow's warnings of large images, whose size is checked here, and of damaged tags."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
        yield


def read_mask(path: Path) -> np.ndarray:
    """Read a mask as gray [H, W] uint8 with the EXIF orientation applied. Raises InputError as `read_photo` does."""
    if not path.is_file():
        raise InputError(path, f"{path} does not exist.", "check the path of the mask.")
    try:
        with _unwarned(), Image.open(path) as image:
            _check_photo_size(path, image.width, image.height, 1)
            return np.array(ImageOps.exif_transpose(image).convert("L"))
    except (*PICTURE_ERRORS, Image.DecompressionBombError) as error:
        raise InputError(
            path, f"{path} can't be read as a picture ({error}).", "save it as an 8-bit gray PNG and give that file."
        ) from error


def _check_photo_size(path: Path, width: int, height: int, min_side_px: int) -> None:
    if min(width, height) < min_side_px:
        raise InputError(
            path,
            f"{path} is {width} x {height} px; a side of at least {min_side_px} px is needed.",
            "give a larger picture of the head.",
        )
    if width * height > MAX_PHOTO_PIXELS:
        raise _too_large(path, f"{width * height / 1e6:.0f} megapixels,")


def _too_large(path: Path, found: str) -> InputError:
    return InputError(path, f"{path} has {found} more than {MAX_PHOTO_PIXELS / 1e6:.0f} megapixels.",
                      "scale it down first.")  # fmt: skip


def _to_srgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        values = np.array(image).astype(np.int64)
        return Image.fromarray((values >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA", "La", "RGBa"):
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer).convert("RGB")
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            # Broken profiles are common in old files; the pixels are usable.
            converted = None
        if converted is not None:
            return converted
    return image.convert("RGB")
