from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from headforge.errors import DataError, InputError, ShapeError
from headforge.store.images import area_resize, decode_image, encode_png, read_photo

RNG = np.random.default_rng(3)
PHOTO = RNG.integers(0, 256, (80, 120, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_png_keeps_every_pixel_and_is_the_same_each_time(shape: tuple[int, ...]) -> None:
    image = RNG.integers(0, 256, shape, dtype=np.uint8)
    data = encode_png(image)
    np.testing.assert_array_equal(decode_image(data), image)
    assert encode_png(np.asfortranarray(image)) == data


def test_png_refuses_floats() -> None:
    with pytest.raises(ShapeError):
        encode_png(np.zeros((4, 4, 3)))


@pytest.mark.parametrize("data", [b"", b"text", encode_png(PHOTO)[:200]])
def test_bytes_that_are_no_picture_are_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="not a readable picture"):
        decode_image(data)


def test_area_resize_by_a_whole_factor_is_the_mean_of_blocks() -> None:
    image = RNG.random((12, 8, 3))
    np.testing.assert_allclose(area_resize(image, (3, 4)), image.reshape(3, 4, 4, 2, 3).mean((1, 3)), atol=1e-15)


def test_area_resize_by_any_ratio_keeps_the_mean_and_constants() -> None:
    image = RNG.random((12, 10))
    small = area_resize(image, (5, 7))
    assert small.shape == (5, 7)
    np.testing.assert_allclose(small.mean(), image.mean(), atol=1e-14)
    np.testing.assert_allclose(area_resize(np.full((9, 9), 0.3), 4), 0.3, atol=1e-15)
    np.testing.assert_allclose(area_resize(np.array([[0.0, 1.0, 2.0]]), (1, 2)), [[1 / 3, 5 / 3]], atol=1e-15)


def test_area_resize_of_bytes_rounds_half_up() -> None:
    image = np.array([[0, 1], [0, 1]], np.uint8)
    assert area_resize(image, 1)[0, 0] == 1
    assert area_resize(image, 1).dtype == np.uint8


def test_area_resize_to_the_same_size_copies() -> None:
    image = RNG.random((4, 4))
    same = area_resize(image, 4)
    same[0, 0] = 9
    assert image[0, 0] != 9


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_a_plain_photo_reads_as_it_is(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_photo(save(tmp_path / "a.png", Image.fromarray(PHOTO))), PHOTO)


@pytest.mark.parametrize(
    "orientation, turned", [(3, np.rot90(PHOTO, 2)), (6, np.rot90(PHOTO, -1)), (8, np.rot90(PHOTO))]
)
def test_a_photo_is_turned_as_its_exif_says(tmp_path: Path, orientation: int, turned: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", Image.fromarray(PHOTO), exif=exif)
    np.testing.assert_array_equal(read_photo(path), turned)


def test_gray_palette_and_sixteen_bit_photos_become_rgb(tmp_path: Path) -> None:
    gray = PHOTO[..., 0]
    expected = np.repeat(gray[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_photo(save(tmp_path / "l.png", Image.fromarray(gray))), expected)
    deep = Image.fromarray(gray.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_photo(save(tmp_path / "i.png", deep)), expected)
    palette = Image.fromarray(gray).convert("P")
    np.testing.assert_array_equal(read_photo(save(tmp_path / "p.png", palette)), expected)
    assert read_photo(save(tmp_path / "c.jpg", Image.fromarray(PHOTO).convert("CMYK"))).shape == PHOTO.shape


def test_transparent_pixels_are_put_over_white(tmp_path: Path) -> None:
    rgba = np.dstack([PHOTO, np.full(PHOTO.shape[:2], 255, np.uint8)])
    rgba[:40, :, 3] = 0
    found = read_photo(save(tmp_path / "a.png", Image.fromarray(rgba)))
    assert (found[:40] == 255).all()
    np.testing.assert_array_equal(found[40:], PHOTO[40:])


def test_an_embedded_profile_is_converted_and_a_broken_one_ignored(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found = read_photo(save(tmp_path / "a.png", Image.fromarray(PHOTO), icc_profile=profile))
    np.testing.assert_allclose(found.astype(int), PHOTO, atol=1)
    found = read_photo(save(tmp_path / "b.png", Image.fromarray(PHOTO), icc_profile=b"nonsense"))
    np.testing.assert_array_equal(found, PHOTO)


def test_twenty_megapixels_are_fine(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", Image.new("RGB", (5472, 3648), (200, 150, 120)))
    assert read_photo(path).shape == (3648, 5472, 3)


def large_gray_png(path: Path, width: int, height: int) -> Path:
    """Black, written without holding it: rows are packed one by one."""
    packer, rows = zlib.compressobj(1), bytearray()
    for _ in range(height):
        rows += packer.compress(bytes(width + 1))
    rows += packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", bytes(rows)), (b"IEND", b"")]
    packed = [struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
              for name, data in chunks]  # fmt: skip
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    return path


def test_twelve_thousand_pixels_a_side_are_read_smaller(tmp_path: Path) -> None:
    found = read_photo(large_gray_png(tmp_path / "a.png", 12000, 12000))
    assert found.shape == (6000, 6000, 3) and not found.any()


def test_large_photos_are_averaged_down_and_turned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headforge.store.images.MAX_PHOTO_SIDE_PX", 64)
    mean = area_resize(PHOTO, (40, 60))
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a.png", "a.tif", "a.webp"):
        path = save(
            tmp_path / name, Image.fromarray(PHOTO), exif=exif, **({"lossless": True} if "webp" in name else {})
        )
        np.testing.assert_allclose(read_photo(path).astype(int), np.rot90(mean, -1), atol=1)
    jpeg = read_photo(save(tmp_path / "a.jpg", Image.fromarray(PHOTO), exif=exif, quality=95))
    assert jpeg.shape == (60, 40, 3)
    np.testing.assert_allclose(jpeg.mean((0, 1)), PHOTO.mean((0, 1)), atol=3)
    palette = save(tmp_path / "p.png", Image.fromarray(PHOTO[..., 0]).convert("P"))
    np.testing.assert_allclose(read_photo(palette)[..., 0].astype(int), mean[..., 0], atol=1)


@pytest.mark.parametrize("size", [(13000, 13000), (60000, 60000)])
def test_pictures_that_would_fill_the_memory_are_refused_unread(tmp_path: Path, size: tuple[int, int]) -> None:
    path = large_gray_png(tmp_path / "a.png", 8, 8)
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", *size)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    with pytest.raises(InputError, match="160 megapixels") as raised:
        read_photo(path)
    assert "scale it down" in raised.value.help


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff", "gif", "bmp"])
def test_damaged_files_never_give_anything_else_than_pixels_or_an_input_error(tmp_path: Path, kind: str) -> None:
    generator = np.random.default_rng(0)
    path = save(tmp_path / f"a.{kind}", Image.fromarray(PHOTO), format=kind)
    whole = path.read_bytes()
    for _ in range(60):
        data = np.frombuffer(whole, np.uint8)[: generator.integers(1, len(whole) + 1)].copy()
        places = generator.integers(0, min(len(data), 400), generator.integers(1, 6))
        data[places] = generator.integers(0, 256, len(places))
        path.write_bytes(data.tobytes())
        try:
            assert read_photo(path).shape[2] == 3
        except InputError:
            continue


def test_what_is_not_a_usable_photo_says_why(tmp_path: Path) -> None:
    cut_jpeg = save(tmp_path / "cut.jpg", Image.fromarray(PHOTO))
    cut_jpeg.write_bytes(cut_jpeg.read_bytes()[:2000])
    text = tmp_path / "text.jpg"
    text.write_text("this is no picture")
    cut = tmp_path / "cut.png"
    cut.write_bytes(encode_png(PHOTO)[:1000])
    small = save(tmp_path / "small.png", Image.new("RGB", (63, 200)))
    for path, message in (
        (tmp_path, "is a folder"),
        (tmp_path / "none.png", "does not exist"),
        (text, "can't be read"),
        (cut, "can't be read"),
        (cut_jpeg, "truncated"),
        (small, "63 x 200 px"),
    ):
        with pytest.raises(InputError, match=message) as raised:
            read_photo(path)
        assert "\nhelp: " in str(raised.value)
        assert raised.value.path == str(path)
