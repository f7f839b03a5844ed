"""The numba kernels of the `cpu` splatting backend, one image at a time.

Stages: project (Gaussians) -> sort by depth -> bin into tiles of 16 x 16 pixels -> raster (tiles) and, for gradients,
raster backwards (tiles) -> project backwards (Gaussians). A tile is 16 blocks of 4 x 4 pixels; the 16 pixels of a block
are the lanes of one vector. Every sum has an order that depends on the data only: Gaussians are handled in fixed
parts, tiles write their gradients to slots of their own, and slots are added in tile order. So the result does not
depend on how parts and tiles are spread over threads.

All kernels that call each other are in this module: numba's on-disk cache does not see edits in other modules.
Arrays are float32 and contiguous; helpers on lanes take them flat.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from headforge.render.jit import kernel
from headforge.render.lanes import (
    any_lane,
    broadcast16,
    exp2,
    fma,
    load8,
    load16,
    minimum,
    negative_magnitude,
    prefetch,
    select,
    store8,
    store16,
    weighted_row_sum,
)
from headforge.render.projection import ALPHA_CAP, ALPHA_MIN, TRANSMITTANCE_STOP
from headforge.render.splat_project import GEOMETRY, HIDDEN, MOMENTS

CHUNK = 256
"""Tile entries that are spread over the tile's blocks at a time."""
AHEAD = 12
"""How many records ahead the cache is asked for."""
TILE, BLOCK = 16, 4
Array: TypeAlias = Any
Lanes: TypeAlias = Any
"""Types inside kernels are numba's affair."""

_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
_CAP, _MIN, _STOP = np.float32(ALPHA_CAP), np.float32(ALPHA_MIN), np.float32(TRANSMITTANCE_STOP)
_FAINTEST = np.float32(-8.1)
"""Exponents below this (2^-8.1 < ALPHA_MIN) can't be seen, whatever the opacity, and are kept out of `exp2`."""


def block_basis() -> np.ndarray:
    """[16, 8] the polynomials 1, x, y, x^2, xy, y^2, 0, 0 at a block's pixels, relative to the block's middle."""
    lane = np.arange(16)
    x, y = lane % BLOCK - 1.5, lane // BLOCK - 1.5
    return np.stack([np.ones(16), x, y, x * x, x * y, y * y, 0 * x, 0 * x], axis=1).astype(np.float32)


BLOCK_BASIS = block_basis().ravel()
LANE_X = np.ascontiguousarray(block_basis()[:, 1])
LANE_Y = np.ascontiguousarray(block_basis()[:, 2])


@kernel()
def sort_visible(keys: Array) -> Array:
    """Indices of the visible Gaussians from near to far, equal depths in index order (radix sort, 11 bits a pass)."""
    n, low, high = 0, HIDDEN, np.uint32(0)
    for i in range(len(keys)):
        if keys[i] != HIDDEN:
            n += 1
            low, high = min(low, keys[i]), max(high, keys[i])
    ids, other_ids = np.empty(n, np.int32), np.empty(n, np.int32)
    values, other_values = np.empty(n, np.uint32), np.empty(n, np.uint32)
    n = 0
    for i in range(len(keys)):
        if keys[i] != HIDDEN:
            ids[n], values[n] = i, keys[i] - low
            n += 1
    span, shift = np.int64(high) - np.int64(low), 0
    counts = np.empty(2049, np.int64)
    while n > 0 and span >> shift > 0:
        counts[:] = 0
        for i in range(n):
            counts[((values[i] >> np.uint32(shift)) & np.uint32(2047)) + 1] += 1
        for d in range(2048):
            counts[d + 1] += counts[d]
        for i in range(n):
            digit = (values[i] >> np.uint32(shift)) & np.uint32(2047)
            place = counts[digit]
            counts[digit] = place + 1
            other_ids[place], other_values[place] = ids[i], values[i]
        ids, other_ids, values, other_values = other_ids, ids, other_values, values
        shift += 11
    return ids


@kernel()
def bin_tiles(
    keys: Array, order: Array, stride: int, boxes: Array, tiles_x: int, tiles_y: int, with_pairs: bool
) -> tuple[Array, Array, Array, Array]:
    """Lists of Gaussians per tile, each from near to far.

    Returns tile_starts [T + 1], entries [E] (Gaussian ids), and for the way back pair_starts [N + 1] (first pair of
    each Gaussian) and pair_entries [E] (the entry of each pair, a Gaussian's tiles row by row).
    """
    tile_starts = np.zeros(tiles_x * tiles_y + 1, np.int64)
    pair_starts = np.zeros(len(keys) + 1, np.int64)
    for i in range(len(keys)):
        pair_starts[i + 1] = pair_starts[i]
        if keys[i] == HIDDEN:
            continue
        x, y = boxes[i * stride + 6], boxes[i * stride + 7]
        for ty in range((y & 0xFFFF) >> 4, (y >> 20) + 1):
            for tx in range((x & 0xFFFF) >> 4, (x >> 20) + 1):
                tile_starts[ty * tiles_x + tx + 1] += 1
                pair_starts[i + 1] += 1
    for t in range(tiles_x * tiles_y):
        tile_starts[t + 1] += tile_starts[t]
    cursor = tile_starts[:-1].copy()
    entries = np.empty(tile_starts[-1], np.int32)
    pair_entries = np.empty(tile_starts[-1] if with_pairs else 0, np.int32)
    for j in range(len(order)):
        if j + AHEAD < len(order):
            prefetch(boxes, np.int64(order[j + AHEAD]) * stride)
        i = np.int64(order[j])
        x, y = boxes[i * stride + 6], boxes[i * stride + 7]
        pair = pair_starts[i]
        for ty in range((y & 0xFFFF) >> 4, (y >> 20) + 1):
            for tx in range((x & 0xFFFF) >> 4, (x >> 20) + 1):
                tile = ty * tiles_x + tx
                place = cursor[tile]
                cursor[tile] = place + 1
                entries[place] = i
                if with_pairs:
                    pair_entries[pair] = place
                    pair += 1
    return tile_starts, entries, pair_starts, pair_entries


@kernel(inline="always")
def _spread_chunk(
    first: int,
    last: int,
    end: int,
    entries: Array,
    boxes: Array,
    stride: int,
    left: int,
    top: int,
    alive: Array,
    lists: Array,
    counts: Array,
) -> None:
    """List the entries first..last for each live block that their boxes touch: entry number in the chunk."""
    for b in range(16):
        counts[b] = 0
    for e in range(first, last):
        if e + AHEAD < end:
            prefetch(boxes, np.int64(entries[e + AHEAD]) * stride)
        at = np.int64(entries[e]) * stride
        x, y = boxes[at + 6], boxes[at + 7]
        bx0, bx1 = max((x & 0xFFFF) - left, 0) >> 2, min((x >> 16) - left, TILE - 1) >> 2
        by0, by1 = max((y & 0xFFFF) - top, 0) >> 2, min((y >> 16) - top, TILE - 1) >> 2
        for by in range(by0, by1 + 1):
            for bx in range(bx0, bx1 + 1):
                b = by * BLOCK + bx
                if alive[b]:
                    lists[b * CHUNK + counts[b]] = e - first
                    counts[b] += 1


@kernel(inline="always")
def _start_block(b: int, left: int, top: int, width: int, height: int, transmittance: Array) -> bool:
    """Transmittance 1, or -1 (ended) outside the image; true if any pixel of the block is on the image."""
    x, y = left + b % BLOCK * BLOCK, top + b // BLOCK * BLOCK
    for p in range(16):
        inside = x + p % BLOCK < width and y + p // BLOCK < height
        transmittance[b * 16 + p] = _ONE if inside else -_ONE
    return x < width and y < height


@kernel()
def raster(
    first_tile: int,
    last_tile: int,
    tiles_x: int,
    width: int,
    height: int,
    tile_starts: Array,
    entries: Array,
    stride: int,
    records: Array,
    boxes: Array,
    background: Array,
    image: Array,
    transmittance: Array,
    used: Array,
) -> None:
    """Fill image [H, W, C], the final transmittance [H, W] and how many entries each tile used [T]."""
    n_channels = image.shape[2]
    padded = stride - GEOMETRY
    light, sums = np.empty(256, np.float32), np.empty(16 * padded * 16, np.float32)
    weights, hits = np.empty(CHUNK * 16, np.float32), np.empty(CHUNK, np.int64)
    lists, counts, alive = np.empty(16 * CHUNK, np.int64), np.empty(16, np.int64), np.empty(16, np.bool_)
    for tile in range(first_tile, last_tile):
        left, top = tile % tiles_x * TILE, tile // tiles_x * TILE
        first, end = tile_starts[tile], tile_starts[tile + 1]
        sums[:] = _ZERO
        n_alive = 0
        for b in range(16):
            alive[b] = _start_block(b, left, top, width, height, light)
            n_alive += alive[b]
        while first < end and n_alive > 0:
            last = min(first + CHUNK, end)
            _spread_chunk(first, last, end, entries, boxes, stride, left, top, alive, lists, counts)
            for b in range(16):
                if counts[b] == 0:
                    continue
                n, alive[b] = _weigh(b, counts[b], first, lists, entries, records, stride, left, top, light, weights,
                                     hits)  # fmt: skip
                n_alive -= not alive[b]
                _add_colors(n, hits, weights, records, padded, sums, b * padded * 16)
            first = last
        used[tile] = first - tile_starts[tile]
        _write_tile(left, top, width, height, n_channels, padded, sums, light, background, image, transmittance)


@kernel(inline="always")
def _block_pixels(b: int, left: int, top: int) -> tuple[Lanes, ...]:
    """x and y of a block's pixel centres."""
    x = load16(LANE_X, 0) + broadcast16(np.float32(left + b % BLOCK * BLOCK) + _TWO)
    y = load16(LANE_Y, 0) + broadcast16(np.float32(top + b // BLOCK * BLOCK) + _TWO)
    return x, y


@kernel(inline="always")
def _exponent(records: Array, at: int, x: Lanes, y: Lanes) -> Lanes:
    """Base 2 exponent of a Gaussian at a block's pixels."""
    dx, dy = broadcast16(records[at]) - x, broadcast16(records[at + 1]) - y
    along = fma(broadcast16(records[at + 3]), dy, broadcast16(records[at + 2]) * dx)
    return fma(along, dx, broadcast16(records[at + 4]) * dy * dy)


@kernel(inline="always")
def _weigh(
    b: int,
    count: int,
    first: int,
    lists: Array,
    entries: Array,
    records: Array,
    stride: int,
    left: int,
    top: int,
    light: Array,
    weights: Array,
    hits: Array,
) -> tuple[int, bool]:
    """Weights of a block's listed Gaussians that it sees; returns how many, and whether any pixel is still open."""
    x, y = _block_pixels(b, left, top)
    zero, least, stop = broadcast16(_ZERO), broadcast16(_MIN), broadcast16(_STOP)
    cap, faintest = broadcast16(_CAP), broadcast16(_FAINTEST)
    before = load16(light, b * 16)
    n, is_open = 0, True
    for k in range(count):
        at = np.int64(entries[first + lists[b * CHUNK + k]]) * stride
        exponent = _exponent(records, at, x, y)
        near = (exponent >= faintest) & (exponent <= zero) & (before > zero)
        if not any_lane(near):
            continue
        alpha = minimum(broadcast16(records[at + 5]) * exp2(exponent), cap)
        alpha = select(near & (alpha >= least), alpha, zero)
        after = before - before * alpha
        ends = after <= stop
        store16(weights, n * 16, select(ends, zero, alpha * before))
        hits[n] = at + GEOMETRY
        n += 1
        before = select(ends, negative_magnitude(before), after)
        if not any_lane(before > zero):
            is_open = False
            break
    store16(light, b * 16, before)
    return n, is_open


@kernel(inline="always")
def _add_colors(n: int, hits: Array, weights: Array, records: Array, padded: int, sums: Array, base: int) -> None:
    """Add weight x colour of n Gaussians to a block's sums [channel, pixel], four channels at a time."""
    for c in range(0, padded, 4):
        at = base + c * 16
        sum0, sum1 = load16(sums, at), load16(sums, at + 16)
        sum2, sum3 = load16(sums, at + 32), load16(sums, at + 48)
        for k in range(n):
            weight, color = load16(weights, k * 16), hits[k] + c
            sum0 = fma(weight, broadcast16(records[color]), sum0)
            sum1 = fma(weight, broadcast16(records[color + 1]), sum1)
            sum2 = fma(weight, broadcast16(records[color + 2]), sum2)
            sum3 = fma(weight, broadcast16(records[color + 3]), sum3)
        store16(sums, at, sum0)
        store16(sums, at + 16, sum1)
        store16(sums, at + 32, sum2)
        store16(sums, at + 48, sum3)


@kernel(inline="always")
def _write_tile(
    left: int,
    top: int,
    width: int,
    height: int,
    n_channels: int,
    padded: int,
    sums: Array,
    light: Array,
    background: Array,
    image: Array,
    transmittance: Array,
) -> None:
    for y in range(top, min(top + TILE, height)):
        for x in range(left, min(left + TILE, width)):
            b, p = ((y - top) >> 2 << 2) + ((x - left) >> 2), ((y - top) & 3) * 4 + ((x - left) & 3)
            rest = abs(light[b * 16 + p])
            transmittance[y, x] = rest
            for c in range(n_channels):
                image[y, x, c] = sums[(b * padded + c) * 16 + p] + rest * background[c]


@kernel()
def raster_backward(
    first_tile: int,
    last_tile: int,
    tiles_x: int,
    width: int,
    height: int,
    tile_starts: Array,
    used: Array,
    slot_starts: Array,
    entries: Array,
    stride: int,
    records: Array,
    boxes: Array,
    image: Array,
    transmittance: Array,
    grad_image: Array,
    grad_alpha: Array,
    slots: Array,
    slot_stride: int,
    background_parts: Array,
) -> None:
    """Fill one gradient slot per used entry (MOMENTS, then colours) and each tile's gradient of the background.

    Pixels are walked from front to back as in `raster`; what lies behind a Gaussian is the rest of a running total.
    """
    padded, lanes = stride - GEOMETRY, slot_stride - MOMENTS
    light, rest = np.empty(256, np.float32), np.empty(256, np.float32)
    by_channel, by_pixel = np.zeros(256 * padded, np.float32), np.zeros(256 * lanes, np.float32)
    weights, pulls = np.empty(CHUNK * 16, np.float32), np.empty(CHUNK * 16, np.float32)
    hits, moments = np.empty(CHUNK, np.int64), np.empty(8, np.float32)
    lists, counts, alive = np.empty(16 * CHUNK, np.int64), np.empty(16, np.int64), np.empty(16, np.bool_)
    for tile in range(first_tile, last_tile):
        left, top = tile % tiles_x * TILE, tile // tiles_x * TILE
        _read_gradients(tile, left, top, width, height, padded, lanes, image, transmittance, grad_image, grad_alpha,
                        by_channel, by_pixel, rest, background_parts)  # fmt: skip
        if used[tile] == 0:
            continue
        for b in range(16):
            alive[b] = _start_block(b, left, top, width, height, light)
        first, end = tile_starts[tile], tile_starts[tile] + used[tile]
        while first < end:
            last = min(first + CHUNK, end)
            slot = slot_starts[tile] + first - tile_starts[tile]
            slots[slot * slot_stride : (slot + last - first) * slot_stride] = _ZERO
            _spread_chunk(first, last, end, entries, boxes, stride, left, top, alive, lists, counts)
            for b in range(16):
                if counts[b] == 0:
                    continue
                n, alive[b] = _pull(b, counts[b], first, lists, entries, records, stride, padded, left, top, light,
                                    rest, by_channel, weights, pulls, hits)  # fmt: skip
                _add_slots(b, n, first, slot, hits, entries, records, stride, left, top, weights, pulls, by_pixel,
                           lanes, moments, slots, slot_stride)  # fmt: skip
            first = last


@kernel(inline="always")
def _read_gradients(
    tile: int,
    left: int,
    top: int,
    width: int,
    height: int,
    padded: int,
    lanes: int,
    image: Array,
    transmittance: Array,
    grad_image: Array,
    grad_alpha: Array,
    by_channel: Array,
    by_pixel: Array,
    rest: Array,
    background_parts: Array,
) -> None:
    """The picture's gradients in both orders that the lanes want, and each pixel's total."""
    n_channels = image.shape[2]
    by_channel[:] = _ZERO
    by_pixel[:] = _ZERO
    rest[:] = _ZERO
    background_parts[tile] = _ZERO
    for y in range(top, min(top + TILE, height)):
        for x in range(left, min(left + TILE, width)):
            b, p = ((y - top) >> 2 << 2) + ((x - left) >> 2), ((y - top) & 3) * 4 + ((x - left) & 3)
            final = transmittance[y, x]
            total = -final * grad_alpha[y, x]
            for c in range(n_channels):
                grad = grad_image[y, x, c]
                total += grad * image[y, x, c]
                by_channel[(b * padded + c) * 16 + p] = grad
                by_pixel[(b * 16 + p) * lanes + c] = grad
                background_parts[tile, c] += final * grad
            rest[b * 16 + p] = total


@kernel(inline="always")
def _pull(
    b: int,
    count: int,
    first: int,
    lists: Array,
    entries: Array,
    records: Array,
    stride: int,
    padded: int,
    left: int,
    top: int,
    light: Array,
    rest: Array,
    by_channel: Array,
    weights: Array,
    pulls: Array,
    hits: Array,
) -> tuple[int, bool]:
    """Weights, and gradients of the exponents, of a block's Gaussians; how many, and whether a pixel is still open."""
    x, y = _block_pixels(b, left, top)
    zero, one, least, stop = broadcast16(_ZERO), broadcast16(_ONE), broadcast16(_MIN), broadcast16(_STOP)
    cap, faintest = broadcast16(_CAP), broadcast16(_FAINTEST)
    before, behind = load16(light, b * 16), load16(rest, b * 16)
    n, is_open = 0, True
    for k in range(count):
        entry = lists[b * CHUNK + k]
        at = np.int64(entries[first + entry]) * stride
        exponent = _exponent(records, at, x, y)
        near = (exponent >= faintest) & (exponent <= zero) & (before > zero)
        if not any_lane(near):
            continue
        uncapped = broadcast16(records[at + 5]) * exp2(exponent)
        alpha = minimum(uncapped, cap)
        seen = near & (alpha >= least)
        alpha = select(seen, alpha, zero)
        after = before - before * alpha
        ends = after <= stop
        weight = select(ends, zero, alpha * before)
        shade = zero
        for c in range(0, padded, 4):
            color, grad = at + GEOMETRY + c, (b * padded + c) * 16
            shade = fma(broadcast16(records[color]), load16(by_channel, grad), shade)
            shade = fma(broadcast16(records[color + 1]), load16(by_channel, grad + 16), shade)
            shade = fma(broadcast16(records[color + 2]), load16(by_channel, grad + 32), shade)
            shade = fma(broadcast16(records[color + 3]), load16(by_channel, grad + 48), shade)
        behind = behind - weight * shade
        pull = uncapped * (before * shade - behind / (one - alpha))
        store16(weights, n * 16, weight)
        store16(pulls, n * 16, select(seen & (uncapped <= cap), select(ends, zero, pull), zero))
        hits[n] = entry
        n += 1
        before = select(ends, negative_magnitude(before), after)
        if not any_lane(before > zero):
            is_open = False
            break
    store16(light, b * 16, before)
    store16(rest, b * 16, behind)
    return n, is_open


@kernel(inline="always")
def _add_slots(
    b: int,
    n: int,
    first: int,
    slot: int,
    hits: Array,
    entries: Array,
    records: Array,
    stride: int,
    left: int,
    top: int,
    weights: Array,
    pulls: Array,
    by_pixel: Array,
    lanes: int,
    moments: Array,
    slots: Array,
    slot_stride: int,
) -> None:
    """Sum a block's pixels into the slots: moments about the block's middle, moved to each Gaussian's centre."""
    middle_x = np.float32(left + b % BLOCK * BLOCK) + _TWO
    middle_y = np.float32(top + b // BLOCK * BLOCK) + _TWO
    for k in range(n):
        at, to = np.int64(entries[first + hits[k]]) * stride, (slot + hits[k]) * slot_stride
        for c in range(0, lanes, 8):
            color = weighted_row_sum(weights, k * 16, by_pixel, b * 16 * lanes + c, lanes)
            store8(slots, to + MOMENTS + c, load8(slots, to + MOMENTS + c) + color)
        store8(moments, 0, weighted_row_sum(pulls, k * 16, BLOCK_BASIS, 0, 8))
        dx, dy = records[at] - middle_x, records[at + 1] - middle_y
        m, mx, my = moments[0], moments[1], moments[2]
        slots[to] += m
        slots[to + 1] += dx * m - mx
        slots[to + 2] += dy * m - my
        slots[to + 3] += dx * (dx * m - _TWO * mx) + moments[3]
        slots[to + 4] += dx * (dy * m - my) - dy * mx + moments[4]
        slots[to + 5] += dy * (dy * m - _TWO * my) + moments[5]
