"""The painted texture of the builtin head: skin, lips, brows, eyes, beard, scalp, shirt. sRGB with a gloss channel."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from headforge.flame.builtin.field import EYE_CENTRE
from headforge.flame.builtin.head import builtin_head
from headforge.flame.builtin.surface import hairline_height, lip_line
from headforge.flame.uv import rasterize_uv
from headforge.render.jit import kernel
from headforge.synth.people.subjects import Person
from headforge.synth.shots.samplers import item_rng

RESOLUTION = 512
PARTS = ("skin", "ear", "eyeball", "mouth_interior", "teeth", "tongue")


@dataclass(frozen=True)
class TextureMap:
    """Place and features of every texel of the builtin head's texture; the same for all subjects."""

    part: np.ndarray
    """[R, R] index into `PARTS`, -1 where the texture is unused."""
    place: np.ndarray
    """[R, R, 3] float32 place on the mean head in mm."""
    fill: np.ndarray
    """[R * R] place of the nearest used texel, row by row."""
    gaze: np.ndarray
    """[R, R] angle from the pupil's axis in radians, on the eyeballs."""
    masks: dict[str, np.ndarray]
    """[R, R] float32 in [0, 1] by feature of the face."""

    def filled(self, texture: np.ndarray) -> np.ndarray:
        """Return a texture [R, R, C] with the nearest used texel in place of each unused one."""
        n_channels = texture.shape[-1]
        return texture.reshape(-1, n_channels).take(self.fill, axis=0).reshape(RESOLUTION, RESOLUTION, n_channels)


@functools.cache
def texture_map() -> TextureMap:
    """Return the map of the builtin head's texture, made once in a process."""
    head = builtin_head()
    face_ids, barycentrics = rasterize_uv(head, RESOLUTION)
    part_of_vertex = np.zeros(head.n_vertices, int)
    for name in ("left_ear", "right_ear", "left_eyeball", "right_eyeball", "mouth_interior", "teeth", "tongue"):
        part_of_vertex[head.regions[name].numpy()] = PARTS.index(name.split("_")[-1] if "_e" in name else name)
    corners = head.faces[face_ids.clamp_min(0)]
    place = (head.v_template[corners] * barycentrics[..., None]).sum(-2).numpy() * 1e3
    used = face_ids.numpy() >= 0
    part = np.where(used, part_of_vertex[corners.numpy()].max(-1), -1)
    fill = np.asarray(ndimage.distance_transform_edt(~used, return_distances=False, return_indices=True))
    fill = (fill[0] * RESOLUTION + fill[1]).ravel()
    centre = EYE_CENTRE * np.stack([np.sign(place[..., 0]), np.ones_like(used), np.ones_like(used)], -1)
    offset = place - centre
    gaze = np.arctan2(np.hypot(offset[..., 0], offset[..., 1]), offset[..., 2])
    place = place.astype(np.float32)
    masks = {name: m.astype(np.float32) * (part == 0) for name, m in feature_masks(place).items()}
    return TextureMap(part, place, fill, gaze.astype(np.float32), masks)


def ramp(x: np.ndarray, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
    """Return a smooth step from 0 at `low` to 1 at `high`; `low` may be the larger."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _spot(p: np.ndarray, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
    """Return a Gaussian about a place and its mirror image."""
    q = np.stack([np.abs(p[..., 0]), p[..., 1], p[..., 2]], -1)
    return np.exp(-(((q - np.array(centre, np.float32)) / np.array(radii, np.float32)) ** 2).sum(-1))


def _brow_line(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the brow's middle height, half thickness and density at the distance `x` from the middle, mm."""
    y = np.interp(x, [8, 14, 22, 32, 42, 52], [33.8, 35.8, 38.4, 40.6, 40.2, 35.5])
    half = np.interp(x, [7, 11, 20, 32, 44, 54], [2.0, 3.6, 3.6, 2.9, 2.0, 0.8])
    density = ramp(x, 7, 13) * ramp(x, 54, 44)
    return y, half, density


@functools.cache
def _half_lip_line() -> np.ndarray:
    """Return the line [101, 3] between the lips from the middle to the left corner; made once in a process."""
    return lip_line(201)[100:]


def _lip_borders(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the heights of the upper border, the line between the lips and the lower border at distance `x`, mm."""
    line = _half_lip_line()
    middle = np.interp(x, line[:, 0], line[:, 1])
    upper = np.interp(x, [0, 3, 6.5, 11, 16, 21, 25.5], [-44.7, -44.0, -43.1, -44.2, -46.2, -48.9, -51.8])
    lower = np.interp(x, [0, 5, 9, 14, 19, 23, 25.5], [-62.4, -62.2, -61.4, -59.3, -56.3, -53.4, -51.9])
    return upper, middle, lower


def feature_masks(p: np.ndarray) -> dict[str, np.ndarray]:
    """Return masks [*] in [0, 1] by feature of the face at places [*, 3] on the mean head in mm."""
    x, y, z = np.abs(p[..., 0]), p[..., 1], p[..., 2]
    front = ramp(z, 55, 75)
    upper, middle, lower = _lip_borders(x)
    inside = ramp(upper - y, -0.4, 0.9) * ramp(y - lower, -0.4, 0.9) * ramp(26.0 - x, 0, 2.0)
    brow_y, brow_half, brow_density = _brow_line(x)
    eye = np.stack([x, y, z], -1) - EYE_CENTRE.astype(np.float32)
    eye_distance = np.linalg.norm(eye, axis=-1)
    beard_top = np.interp(x, [0, 12, 22, 32, 44, 56, 66, 72], [-31, -32, -37, -45, -47, -40, -18, 6])
    cheek = ramp(beard_top - y, -3, 7) * ramp(y, -128, -98) * ramp(z, -8, 6)
    soul = 1 - 0.35 * np.exp(-(((x - 9) / 5) ** 2) - ((y + 67) / 5.0) ** 2)
    mouth_gap = 1 - ramp(upper + 1.2 - y, 0, 1.4) * ramp(y - lower + 1.6, 0, 1.4) * ramp(28.0 - x, 0, 3)
    return {
        "lips": inside * front,
        "lip_line": np.exp(-(((y - middle) / 0.8) ** 2)) * ramp(25.5 - x, -0.5, 1.5) * front,
        "lip_shine": np.exp(-(((y + 56.5) / 2.2) ** 2) - (x / 11) ** 2) * front,
        "brow": np.exp(-(np.abs((y - brow_y) / brow_half) ** 3.0)) * brow_density * front,
        "lashes": ramp(eye_distance, 15.2, 13.9) * ramp(z, 70, 80) * np.where(eye[..., 1] > -1, 1.0, 0.45),
        "crease": np.exp(-(((eye_distance - 17.3) / 1.1) ** 2)) * ramp(eye[..., 1], 3, 7) * ramp(z, 75, 84),
        "lid": ramp(eye_distance, 17.5, 14.5) * ramp(eye[..., 1], 0, 3),
        "socket": _spot(p, (29, 12, 86), (19, 11, 20)),
        "under_eye": _spot(p, (28, 3, 88), (13, 4.5, 14)),
        "cheeks": _spot(p, (40, -14, 78), (17, 15, 24)),
        "nose": _spot(p, (0, -15, 116), (15, 12, 16)),
        "nostril": _spot(p, (6.6, -26.6, 104.0), (4.0, 3.0, 6.0)),
        "wing": np.exp(-(((np.hypot((x - 11.5) / 8.2, (y + 19) / 8.6) - 1) / 0.22) ** 2))
        * ramp(x, 12, 15)
        * ramp(y, -28, -24)
        * ramp(z, 82, 88),
        "chin": _spot(p, (0, -84, 97), (18, 12, 16)),
        "forehead": _spot(p, (0, 60, 92), (45, 16, 40)),
        "bridge": _spot(p, (0, 2, 108), (7, 22, 20)),
        "beard": cheek * soul * mouth_gap * np.where(y > -41, ramp(x, 1.2, 3.0), 1.0),
        "mustache": ramp(x, 30, 20) * ramp(y, -50, -47) * ramp(-31 - y, 0, 3) * front,
        "height": hairline_height(p.reshape(-1, 3).astype(float)).reshape(x.shape),
        "shirt": ramp(-(y + 143) + 0.16 * (30 - z) - 0.0009 * (60 - x).clip(0) ** 2, 0, 2.0),
        "fold": np.exp(-(((x - (15.5 + (-18 - y) * 0.42)) / 1.9) ** 2)) * ramp(y, -52, -42) * ramp(y, -14, -22) * front,
        "lines": (0.5 + 0.5 * np.cos((y - 0.004 * x**2) * 2 * np.pi / 9.5)) ** 6 * _spot(p, (0, 60, 95), (40, 13, 40)),
        "crow": (0.5 + 0.5 * np.cos(np.arctan2(y - 14, x - 44) * 16)) ** 4 * _spot(p, (54, 14, 70), (9, 10, 16)),
        "neck": ramp(y, -92, -112),
        "ear_rim": np.zeros_like(x),
    }


def texel_noise(rng: np.random.Generator, across: int, down: int) -> np.ndarray:
    """Return smooth noise [R, R] of unit variance with `across` x `down` cells, periodic from side to side."""
    small = rng.normal(size=(down, across)).astype(np.float32)
    small = np.concatenate([small, small[:, :1]], 1)
    rows = np.linspace(0, down - 1, RESOLUTION)
    columns = np.linspace(0, across, RESOLUTION)
    i, j = np.minimum(rows.astype(int), down - 2), np.minimum(columns.astype(int), across - 1)
    a, b = (rows - i).astype(np.float32), (columns - j).astype(np.float32)
    a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
    out = np.empty((RESOLUTION, RESOLUTION), np.float32)
    _interpolate_cells(small, i, j, a, b, np.empty((down, RESOLUTION), np.float32), out)
    return out


@kernel(error_model="numpy")
def _interpolate_cells(small, i, j, a, b, wide, out):
    """Interpolate rows `i` [R] and columns `j` [R] of `small` bilinearly, weights a and b [R], float32 throughout.

    The rows of `small` are interpolated across first, into `wide` [rows, R].
    """
    one = np.float32(1)
    for row in range(small.shape[0]):
        for column in range(wide.shape[1]):
            left, right = j[column], b[column]
            wide[row, column] = small[row, left] * (one - right) + small[row, left + 1] * right
    for row in range(out.shape[0]):
        top, down = i[row], a[row]
        for column in range(out.shape[1]):
            out[row, column] = wide[top, column] * (one - down) + wide[top + 1, column] * down


def paint(person: Person, seed: int) -> np.ndarray:
    """Return the subject's texture [R, R, 4] float32: sRGB and gloss, both in [0, 1]."""
    rng = item_rng(seed, "paint", person.subject)
    maps = texture_map()
    color = np.empty((RESOLUTION, RESOLUTION, 3), np.float32)
    gloss = np.empty((RESOLUTION, RESOLUTION), np.float32)
    color[:], gloss[:] = person.skin_srgb, 0.32
    paint_skin(color, gloss, person, rng, maps)
    _paint_hair(color, gloss, person, rng, maps)
    paint_inside(color, gloss, person, rng, maps)
    texture = np.concatenate([np.clip(color, 0, 1), np.clip(gloss, 0, 1)[..., None]], -1)
    return maps.filled(texture)


def blend(color: np.ndarray, other: np.ndarray | tuple[float, ...], weight: np.ndarray) -> None:
    """Move `color` [H, W, 3] towards `other` ([3] or [H, W, 3]) by `weight` [H, W], in place."""
    towards = np.asarray(other, np.float32)
    if weight.dtype == np.float32 and towards.ndim == 1:
        _blend(color, towards, weight)
    else:
        color += weight[..., None] * (towards - color)


def tint(color: np.ndarray, factor: tuple[float, float, float], weight: np.ndarray) -> None:
    """Multiply `color` [H, W, 3] by `factor` where `weight` [H, W] is 1, in place."""
    change = np.asarray(factor, np.float32) - 1
    if weight.dtype == np.float32:
        _tint(color, change, weight)
    else:
        color *= 1 + weight[..., None] * change


@kernel(error_model="numpy")
def _blend(color, other, weight):
    """Run `blend` where the weight is not 0, in the same float32 operations."""
    for i in range(weight.shape[0]):
        for j in range(weight.shape[1]):
            w = weight[i, j]
            if w != 0:
                for c in range(3):
                    color[i, j, c] += w * (other[c] - color[i, j, c])


@kernel(error_model="numpy")
def _tint(color, change, weight):
    """Run `tint` where the weight is not 0, in the same float32 operations."""
    one = np.float32(1)
    for i in range(weight.shape[0]):
        for j in range(weight.shape[1]):
            w = weight[i, j]
            if w != 0:
                for c in range(3):
                    color[i, j, c] *= one + w * change[c]


def paint_skin(
    color: np.ndarray,
    gloss: np.ndarray,
    person: Person,
    rng: np.random.Generator,
    maps: TextureMap,
    moles: float = 1.0,
) -> None:
    """Paint skin, lips, lids and shirt, in place; `moles` is a factor on their strength."""
    m, fair = maps.masks, 1 - person.melanin
    red = (1.0 + 0.03 * fair, 0.86, 0.84)
    blush = rng.uniform(0.3, 1.0) * (0.4 + 0.6 * fair)
    tint(color, red, (m["cheeks"] * 0.8 + m["nose"] * 0.7 + m["chin"] * 0.35) * blush)
    tint(color, (1.0, 0.86, 0.84), (maps.part == 1) * 0.6 * blush)
    tint(color, (1.03, 1.03, 1.0), m["forehead"] * 0.7)
    tint(color, (0.84, 0.78, 0.80), m["under_eye"] * rng.uniform(0.1, 0.7) + m["socket"] * 0.25)
    mottle = 0.018 * texel_noise(rng, 40, 34) + 0.014 * texel_noise(rng, 120, 100) + 0.016 * texel_noise(rng, 400, 330)
    color *= 1 + mottle[..., None] * np.array([0.8, 1.0, 1.1], np.float32)
    spots = np.clip(texel_noise(rng, 260, 220) - 1.15, 0, 1) * (m["cheeks"] + m["nose"] + 0.4 * m["forehead"])
    tint(color, (0.72, 0.60, 0.50), np.clip(spots * 3.2 * person.freckles, 0, 1))
    dots = np.clip(texel_noise(rng, 90, 76) - 2.9, 0, 0.4) * 2.2 * (maps.part == 0)
    tint(color, (0.5, 0.38, 0.34), np.clip(dots, 0, 1) * moles)
    wrinkles = np.clip(person.age - 0.25, 0, 1)
    tint(color, (0.80, 0.72, 0.70), wrinkles * np.clip(0.9 * m["lines"] + 0.7 * m["crow"], 0, 1))
    tint(color, (0.80, 0.72, 0.70), m["fold"] * (0.15 + 0.75 * wrinkles))
    lip = np.array([0.74, 0.42, 0.40]) * (1 - person.melanin) + np.array([0.40, 0.22, 0.21]) * person.melanin
    lip = lip * (1 - 0.65 * person.makeup) + 0.65 * person.makeup * np.array(_LIPSTICKS_SRGB[rng.integers(4)])
    lip_streaks = (1 + 0.06 * texel_noise(rng, 500, 60))[..., None]
    blend(color, (lip * lip_streaks).astype(np.float32), m["lips"] * (0.55 + 0.3 * person.makeup))
    tint(color, (0.48, 0.36, 0.36), m["lip_line"] * 0.75)
    tint(color, (0.66, 0.54, 0.52), m["wing"] * 0.35)
    tint(color, (0.72, 0.64, 0.62), m["crease"] * 0.7)
    shadow = np.array(_SHADOWS_SRGB[rng.integers(3)])
    blend(color, shadow, m["lid"] * 0.35 * person.makeup)
    blend(color, (0.10, 0.07, 0.06), np.clip(m["lashes"] ** 0.8 * (0.72 + 0.28 * person.makeup), 0, 0.95))
    tint(color, (0.22, 0.13, 0.12), np.clip(1.15 * m["nostril"], 0, 1))
    gloss += 0.25 * (m["nose"] + 0.6 * m["forehead"] + 0.5 * m["bridge"]) + 0.06 * texel_noise(rng, 200, 170)
    gloss += m["lips"] * (0.12 + 0.3 * person.makeup) + m["lip_shine"] * 0.2 - 0.08 * m["neck"]
    shirt = person.shirt_srgb * (1 + 0.05 * texel_noise(rng, 500, 420))[..., None]
    blend(color, shirt.astype(np.float32), m["shirt"])
    gloss *= 1 - m["shirt"]


_LIPSTICKS_SRGB = ((0.72, 0.16, 0.20), (0.66, 0.26, 0.30), (0.52, 0.14, 0.20), (0.80, 0.42, 0.40))
_SHADOWS_SRGB = ((0.42, 0.30, 0.26), (0.36, 0.30, 0.36), (0.52, 0.38, 0.32))


def _strands(rng: np.random.Generator, across: int, down: int, slant: float) -> np.ndarray:
    """Return fine streaks [R, R] in [0, 1], slanted by `slant` columns per row."""
    noise = texel_noise(rng, across, down)
    rows, columns = np.indices(noise.shape)
    sheared = noise[rows, (columns + slant * rows).astype(int) % RESOLUTION]
    return np.clip(0.5 + 0.45 * sheared, 0, 1)


def _paint_hair(
    color: np.ndarray, gloss: np.ndarray, person: Person, rng: np.random.Generator, maps: TextureMap
) -> None:
    """Paint brows, beard and the scalp between the hairs."""
    m = maps.masks
    hair = person.hair_srgb.astype(np.float32)
    brow_hair = hair * (0.75 if person.hair_color in ("blond", "light_brown", "grey", "white") else 1.0)
    is_left = np.arange(RESOLUTION)[None] > RESOLUTION // 2
    streaks = np.where(is_left, _strands(rng, 400, 90, 1.1), _strands(rng, 400, 90, -1.1))
    thickness = (1.0 if person.is_masculine else 0.82) * rng.uniform(0.8, 1.15)
    brow = np.clip(m["brow"] ** (1 / thickness) * (0.5 + 0.75 * streaks), 0, 0.93)
    blend(color, brow_hair, brow)
    whiskers = np.maximum(m["beard"], m["mustache"] * m["beard"].clip(0.0, 1))
    if rng.random() < 0.3:
        whiskers = whiskers * ramp(np.abs(maps.place[..., 0]), 34, 24) * ramp(maps.place[..., 1], -108, -94)
    grain = np.clip(0.55 + 0.5 * texel_noise(rng, 500, 480), 0, 1)
    shadow = np.clip(whiskers * person.beard * (0.55 + 0.9 * grain), 0, 0.9)
    blend(color, hair * 0.9, shadow)
    if person.is_masculine:
        tint(color, (0.90, 0.92, 0.97), whiskers * 0.5)
    if person.hair_style != "bald":
        scalp = ramp(m["height"] + 2.5 * texel_noise(rng, 200, 160), -1, 9) * (maps.part == 0)
        strength = 0.62 if person.hair_style == "buzz" else 0.8
        blend(color, hair * 0.8, scalp * strength * (0.85 + 0.15 * grain))
        gloss *= 1 - 0.8 * scalp
    elif person.age < 0.8:
        fuzz = ramp(m["height"], -4, 10) * (maps.part == 0) * rng.uniform(0.0, 0.32)
        blend(color, hair, fuzz * grain)
    gloss *= 1 - 0.6 * np.clip(brow + shadow, 0, 1)


def paint_inside(
    color: np.ndarray, gloss: np.ndarray, person: Person, rng: np.random.Generator, maps: TextureMap
) -> None:
    """Paint eyeballs, teeth, tongue and the inside of the mouth."""
    part = maps.part
    eye = part == PARTS.index("eyeball")
    angle, place = maps.gaze[eye], maps.place[eye]
    around = np.arctan2(place[:, 1] - EYE_CENTRE[1], np.abs(place[:, 0]) - EYE_CENTRE[0])
    iris = float(rng.uniform(0.46, 0.51))
    veins = np.clip(texel_noise(rng, 500, 300)[eye] - 0.9, 0, 1) * ramp(angle, 0.55, 1.0) * 0.25
    white = np.array([0.92, 0.90, 0.88]) - veins[:, None] * np.array([0.1, 0.5, 0.5])
    white = white * (1 - 0.25 * ramp(angle, 0.7, 1.3)[:, None] * np.array([0.5, 1.0, 1.0]))
    spokes = 0.75 + 0.16 * np.cos(around * 23 + 2 * np.cos(around * 5)) + 0.12 * np.cos(around * 41)
    shade = spokes * (0.75 + 0.75 * ramp(angle, iris, 0.15)) * (1 - 0.65 * ramp(angle, iris * 0.86, iris))
    irises = np.clip(person.iris_srgb * shade[:, None] * 1.15, 0, 1)
    pupil = float(rng.uniform(0.16, 0.22))
    ball = white + ramp(angle, iris + 0.035, iris - 0.02)[:, None] * (irises - white)
    ball = ball * (1 - 0.97 * ramp(angle, pupil + 0.03, pupil - 0.02))[:, None]
    color[eye], gloss[eye] = ball, 1.0
    color[part == PARTS.index("mouth_interior")] = (0.36, 0.13, 0.13)
    tongue = part == PARTS.index("tongue")
    color[tongue] = np.array([0.66, 0.34, 0.33]) * (1 + 0.05 * texel_noise(rng, 300, 300)[tongue])[:, None]
    teeth = part == PARTS.index("teeth")
    p = maps.place[teeth]
    gum = ramp(np.abs(p[:, 1] + 54.0), 8.2, 9.6)[:, None]
    arc = np.arcsin(np.clip(p[:, 0] / 20.5 * np.sin(1.35), -1, 1)) / 1.35
    gap = (np.abs(np.cos(np.pi * 5 * arc)) < 0.13)[:, None] * 0.28
    enamel = np.array([0.93, 0.90, 0.83]) * rng.uniform(0.93, 1.02) * (1 - gap)
    color[teeth] = enamel + gum * (np.array([0.70, 0.38, 0.38]) - enamel)
    for name, value in (("mouth_interior", 0.35), ("tongue", 0.5), ("teeth", 0.7)):
        gloss[part == PARTS.index(name)] = value
