"""The rich appearance's texture: linear colour, gloss and bumps of the skin, and pictures of the eye."""

from __future__ import annotations

import functools

import numpy as np
from scipy import ndimage

from headforge.synth.people.paint import (
    RESOLUTION,
    TextureMap,
    blend,
    paint_inside,
    paint_skin,
    ramp,
    texel_noise,
    texture_map,
    tint,
)
from headforge.synth.rich.reflect import GAMMA
from headforge.synth.rich.scalp import density
from headforge.synth.rich.surface import EYE_MAP_RAD
from headforge.synth.rich.traits import Traits
from headforge.synth.shots.samplers import item_rng

_DETAIL_PIXELS = 256
_EYE_RINGS, _EYE_AROUND = 112, 224


@functools.cache
def tangents() -> np.ndarray:
    """Return [R, R, 2, 3] float32: tilt of the mean skin's normal by bumps in mm, per texel along rows and columns."""
    maps = texture_map()
    place = maps.filled(maps.place)
    out = np.zeros((RESOLUTION, RESOLUTION, 2, 3), np.float32)
    for axis in range(2):
        along = np.gradient(place, axis=axis)
        size = (along**2).sum(-1, keepdims=True)
        out[:, :, axis] = np.where((size > 0.02) & (size < 40), along / np.maximum(size, 0.02), 0)
    return out


@functools.cache
def detail_tile() -> np.ndarray:
    """Return tileable pores [D, D, 3] float32: tilt of the normal along two directions and mottle, about unit size."""
    rng = np.random.default_rng(20240611)
    n = _DETAIL_PIXELS
    fine = ndimage.gaussian_filter(rng.normal(size=(n, n)), 1.6, mode="wrap")
    wide = ndimage.gaussian_filter(rng.normal(size=(n, n)), 4.0, mode="wrap")
    height = fine / fine.std() + 0.8 * wide / wide.std()
    tilt = [np.roll(height, -1, axis) - np.roll(height, 1, axis) for axis in (1, 0)]
    mottle = ndimage.gaussian_filter(rng.normal(size=(n, n)), 2.5, mode="wrap")
    return np.stack([*(t / t.std() for t in tilt), mottle / mottle.std()], -1).astype(np.float32)


def make_texture(traits: Traits, seed: int, hair_srgb: np.ndarray) -> np.ndarray:
    """Return [R, R, 8] float32: linear colour, gloss, tilt of the normal (world axes of the mean head), spare."""
    person, maps = traits.person, texture_map()
    rng = item_rng(seed, "paint", person.subject)
    color = np.empty((RESOLUTION, RESOLUTION, 3), np.float32)
    gloss = np.empty((RESOLUTION, RESOLUTION), np.float32)
    color[:], gloss[:] = skin_srgb(traits), 0.32
    paint_skin(color, gloss, person, rng, maps, moles=0.35)
    own = item_rng(seed, "rich paint", person.subject)
    _paint_depth(color, gloss, traits, own, maps)
    _paint_roots(seed, color, gloss, traits, hair_srgb, own, maps)
    paint_inside(color, gloss, person, rng, maps)
    out = np.zeros((RESOLUTION, RESOLUTION, 8), np.float32)
    out[..., :3], out[..., 3] = np.clip(color, 0, 1) ** GAMMA, np.clip(gloss, 0, 1)
    height = _relief(traits, own, maps) * (maps.part == 0)
    for axis in range(2):
        out[..., 4:7] += np.gradient(height, axis=axis)[..., None] * tangents()[:, :, axis]
    np.clip(out[..., 4:7], -0.7, 0.7, out=out[..., 4:7])
    return maps.filled(out)


def skin_srgb(traits: Traits) -> np.ndarray:
    """Return the skin's colour [3]; fair skin reflects less light, more of it red, than in the basic appearance."""
    fair = 1 - min(traits.person.melanin / 0.6, 1.0)
    return (traits.person.skin_srgb**GAMMA * (1 - fair * np.array([0.16, 0.27, 0.34]))) ** (1 / GAMMA)


def _paint_depth(
    color: np.ndarray, gloss: np.ndarray, traits: Traits, rng: np.random.Generator, maps: TextureMap
) -> None:
    """Paint zones of colour, veins of age and eye bags."""
    m, person = maps.masks, traits.person
    fair = 1 - person.melanin
    patches = 0.5 * texel_noise(rng, 14, 12) + 0.5 * texel_noise(rng, 34, 28)
    redder = np.array([0.02, -0.018, -0.02], np.float32) * (0.35 + 0.65 * fair)
    color += patches[..., None] * redder * (maps.part == 0)[..., None]
    tint(color, (0.96, 0.90, 0.88), np.clip(m["socket"] * (0.25 + 0.35 * traits.wrinkles), 0, 1))
    age_spots = np.clip(texel_noise(rng, 150, 130) - 2.1, 0, 1) * traits.wrinkles
    tint(color, (0.80, 0.69, 0.60), np.clip(age_spots, 0, 0.5) * (maps.part == 0))
    gloss += 0.10 * (m["cheeks"] + m["nose"])


def _paint_roots(
    seed: int,
    color: np.ndarray,
    gloss: np.ndarray,
    traits: Traits,
    hair: np.ndarray,
    rng: np.random.Generator,
    maps: TextureMap,
) -> None:
    """Paint the shade that hair casts on the skin it grows from."""
    m, grain = maps.masks, np.clip(0.55 + 0.5 * texel_noise(rng, 500, 480), 0, 1)
    blend(color, hair, np.clip(m["brow"] ** (1.3 / traits.brow_thickness) * 0.35, 0, 0.6).astype(np.float32))
    whiskers = beard_mask(traits, maps.place, m)
    depth = {"none": 0.0, "stubble": 0.5, "short": 0.7, "full": 0.8}.get(traits.beard, 0.65)
    blend(color, hair * 0.7, (whiskers * depth * (0.5 + 0.5 * grain)).astype(np.float32))
    if traits.person.is_masculine and not traits.is_child:
        shaved = np.maximum(m["beard"], m["mustache"])
        tint(color, (0.92, 0.94, 0.98), shaved * 0.45)
    if traits.haircut != "bald":
        flat = maps.place.reshape(-1, 3).astype(float)
        thick = np.zeros(len(flat))
        on = ((maps.part == 0) & (m["height"] > -8)).ravel()
        thick[on] = density(traits, seed, flat[on])
        scalp = thick.reshape(maps.part.shape).astype(np.float32)
        strength = 0.55 if traits.haircut == "buzz" else 0.86
        blend(color, hair * 0.55, scalp * strength * (0.9 + 0.1 * grain))
        gloss *= 1 - 0.9 * scalp
    else:
        fuzz = ramp(m["height"], -4, 12) * (maps.part == 0) * rng.uniform(0.05, 0.22)
        blend(color, hair, fuzz * grain)
    gloss *= 1 - 0.6 * np.clip(whiskers, 0, 1)


def beard_mask(traits: Traits, place: np.ndarray, masks: dict[str, np.ndarray]) -> np.ndarray:
    """Return the beard's density, 0 to 1, at template places [*, 3] with the feature masks of `paint`."""
    x, y = np.abs(place[..., 0]), place[..., 1]
    mustache, cheeks = masks["mustache"] * masks["beard"].clip(0, 1), masks["beard"]
    if traits.beard == "none":
        return np.zeros_like(x)
    if traits.beard == "mustache":
        return mustache
    if traits.beard == "goatee":
        chin = cheeks * ramp(x, 31, 22) * ramp(y, -99, -92) * ramp(place[..., 2], 48, 62)
        return np.maximum(mustache, chin)
    return np.maximum(mustache, cheeks)


def _relief(traits: Traits, rng: np.random.Generator, maps: TextureMap) -> np.ndarray:
    """Return the relief [R, R] float32 in mm: wrinkles, folds, lips."""
    m, age = maps.masks, traits.wrinkles
    wobble = 1 + 0.3 * texel_noise(rng, 30, 26)
    height = -(0.42 * age * m["lines"] + 0.30 * age * m["crow"]) * wobble
    height -= (0.10 + 0.55 * age) * m["fold"]
    bags = np.exp(-(((maps.place[..., 1] - 0.5) / 2.4) ** 2)) * m["under_eye"]
    height -= 0.35 * age * bags
    height += 0.10 * age * texel_noise(rng, 90, 80)
    height += 0.05 * texel_noise(rng, 240, 200)
    lip_lines = texel_noise(rng, 420, 60)
    height += m["lips"] * (0.05 + 0.06 * age) * lip_lines
    height += 0.22 * m["lips"] - 0.25 * m["crease"]
    folds = np.sin(maps.place[..., 0] * 0.11 + maps.place[..., 1] * 0.05 + 2 * texel_noise(rng, 8, 6))
    return height + m["shirt"] * (0.9 + 0.5 * folds)


def eye_picture(traits: Traits, seed: int) -> np.ndarray:
    """Return [A, B, 3] float32 linear: the eyeball by angle from the pupil (0 to `EYE_MAP_RAD`) and direction."""
    rng = item_rng(seed, "eye", traits.person.subject)
    angle = ((np.arange(_EYE_RINGS) + 0.5) / _EYE_RINGS * EYE_MAP_RAD)[:, None]
    around = np.linspace(0, 2 * np.pi, _EYE_AROUND)[None]
    iris, pupil = rng.uniform(0.455, 0.50), rng.uniform(0.17, 0.24)
    fibres = np.zeros_like(angle * around)
    for waves, weight in ((23, 0.10), (37, 0.10), (61, 0.10), (97, 0.08)):
        phase = rng.uniform(0, 2 * np.pi, 2)
        fibres += weight * np.cos(waves * around + phase[0] + 5 * np.sin(3 * angle + around * 2 + phase[1]))
    inner = ramp(angle, pupil + 0.16, pupil + 0.02)
    warm = np.array([1.25, 0.95, 0.65])
    color = traits.person.iris_srgb * (0.95 + 0.9 * fibres[..., None]) * (1 + 0.35 * inner[..., None] * (warm - 0.6))
    color = color * (1.15 - 0.72 * ramp(angle, iris - 0.10, iris)[..., None])
    white = np.array([0.86, 0.83, 0.80]) - 0.05 * traits.person.age * np.array([0.4, 0.8, 1.6])
    pink = ramp(angle, 0.62, 1.25)[..., None]
    veins = sum(np.clip(np.cos(w * around + 4 * np.sin(6 * angle + w)) - 0.93, 0, 1) for w in (9, 14, 19))
    sclera = white * (1 - pink * np.array([0.05, 0.22, 0.22])) - 0.9 * (veins * ramp(angle, 0.6, 1.1))[
        ..., None
    ] * np.array([0.1, 0.6, 0.6])
    mix = ramp(angle, iris + 0.045, iris - 0.035)[..., None]
    ball = sclera + mix * (color - sclera)
    ball = ball * (1 - 0.985 * ramp(angle, pupil + 0.025, pupil - 0.015))[..., None]
    return (np.clip(ball, 0.004, 1) ** GAMMA).astype(np.float32)
