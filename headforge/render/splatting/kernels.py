"""The numba kernels of the `cpu` splatting backend, one image at a time.

Stages: project (Gaussians) -> sort by depth -> bin into tiles of 16 x 16 pixels -> raster (tiles) and, for gradients,
raster backward (tiles) -> project backward (Gaussians). A tile is 16 blocks of 4 x 4 pixels; the 16 pixels of a block
are the lanes of one vector. The order of every sum depends on the data only: Gaussians are processed in fixed
parts, tiles write their gradients to separate slots, and slots are added in tile order. So the result does not depend
on the distribution of parts and tiles over threads.

Arrays are float32 and contiguous; lane helpers take them flat.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from headforge.render.jit import kernel
from headforge.render.projection import ALPHA_CAP, ALPHA_MIN, TRANSMITTANCE_STOP
from headforge.render.splatting.lanes import (
    any_lane,
    bits_of_64,
    broadcast4,
    broadcast16,
    element,
    element16,
    exp2,
    fma,
    load4,
    load8,
    load16,
    lowest_bit,
    maximum,
    minimum,
    prefetch,
    quarters_sum,
    select,
    store4,
    store8,
    store16,
    transposed4,
    weighted_row_sums,
)
from headforge.render.splatting.project import GEOMETRY, HIDDEN, tile_range
from headforge.render.splatting.project_backward import MOMENTS

CHUNK = 256
"""Tile entries processed block by block at a time; a multiple of 64."""
AHEAD = 12
"""Prefetch distance in boxes."""
TILE, BLOCK = 16, 4
Array: TypeAlias = Any
Lanes: TypeAlias = Any
"""Types inside kernels are inferred by numba."""

_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
_CAP, _MIN, _STOP = np.float32(ALPHA_CAP), np.float32(ALPHA_MIN), np.float32(TRANSMITTANCE_STOP)
_FAINTEST = np.float32(-8.1)
"""Exponents below this (2^-8.1 < ALPHA_MIN) are invisible at any opacity and excluded before `exp2`."""
_OUTER, _INNER = np.float32(1.5), np.float32(0.5)
"""Distances of the outer and inner columns of a block from its middle."""
LANE_X = (np.arange(16) % BLOCK - 1.5).astype(np.float32)
LANE_Y = (np.arange(16) // BLOCK - 1.5).astype(np.float32)
"""A block's pixel centres relative to its middle."""


@kernel()
def sort_visible(keys: Array) -> Array:
    """Return the visible Gaussians from near to far, equal depths in index order (radix sort, 11 bits a pass)."""
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


@kernel(inline="always")
def _touched_blocks(boxes: Array, i: int, left: int, top: int) -> int:
    """Return a bit mask; bit b is set if the box touches block b of the tile at (left, top)."""
    x, y = element(boxes, 2 * i), element(boxes, 2 * i + 1)
    x0, x1 = max((x & 0xFFFF) - left, 0) >> 2, min((x >> 16) - left, TILE - 1) >> 2
    y0, y1 = max((y & 0xFFFF) - top, 0) >> 2, min((y >> 16) - top, TILE - 1) >> 2
    columns = ((2 << x1) - (1 << x0)) * 0x1111
    return columns & ((16 << 4 * y1) - (1 << 4 * y0))


@kernel()
def bin_tiles(
    keys: Array, order: Array, boxes: Array, tiles_x: int, tiles_y: int, with_pairs: bool
) -> tuple[Array, Array, Array, Array, Array]:
    """Return lists of Gaussians per tile, each from near to far.

    Returns tile_starts [T + 1], entries [E] (Gaussian ids), masks [E + 64] (bit b: the entry's box touches block b),
    and for the backward pass pair_starts [N + 1] (first pair of each Gaussian) and pair_entries [E] (the entry of each
    pair, a Gaussian's tiles row by row).
    """
    tile_starts = np.zeros(tiles_x * tiles_y + 1, np.int64)
    pair_starts = np.empty(len(keys) + 1, np.int32)
    n_pairs = 0
    for i in range(len(keys)):
        pair_starts[i] = n_pairs
        if keys[i] == HIDDEN:
            continue
        x0, x1, y0, y1 = tile_range(boxes, i)
        n_pairs += (x1 - x0 + 1) * (y1 - y0 + 1)
        if x0 == x1 and y0 == y1:
            tile_starts[y0 * tiles_x + x0 + 1] += 1
            continue
        for ty in range(y0, y1 + 1):
            for tx in range(x0, x1 + 1):
                tile_starts[ty * tiles_x + tx + 1] += 1
    pair_starts[len(keys)] = n_pairs
    for t in range(tiles_x * tiles_y):
        tile_starts[t + 1] += tile_starts[t]
    cursor = tile_starts[:-1].copy()
    entries, masks = np.empty(n_pairs, np.int32), np.zeros(n_pairs + 64, np.uint16)
    pair_entries = np.empty(n_pairs if with_pairs else 0, np.int32)
    for j in range(len(order)):
        if j + AHEAD < len(order):
            prefetch(boxes, np.int64(order[j + AHEAD]) * 2)
            prefetch(pair_starts, np.int64(order[j + AHEAD]))
        i = np.int64(order[j])
        x0, x1, y0, y1 = tile_range(boxes, i)
        pair = pair_starts[i]
        for ty in range(y0, y1 + 1):
            for tx in range(x0, x1 + 1):
                tile = ty * tiles_x + tx
                place = element(cursor, tile)
                cursor[tile] = place + 1
                entries[place] = i
                masks[place] = _touched_blocks(boxes, i, tx * TILE, ty * TILE)
                if with_pairs:
                    pair_entries[pair] = place
                    pair += 1
    return tile_starts, entries, masks, pair_starts, pair_entries


@kernel(inline="always")
def _start_tile(left: int, top: int, width: int, height: int, light: Array) -> int:
    """Set transmittance to 1, or 0 outside the image; return a mask with bit b set if block b touches the image."""
    alive = 0
    for b in range(16):
        x, y = left + b % BLOCK * BLOCK, top + b // BLOCK * BLOCK
        for p in range(16):
            light[b * 16 + p] = _ONE if x + p % BLOCK < width and y + p // BLOCK < height else _ZERO
        if x < width and y < height:
            alive |= 1 << b
    return alive


@kernel(inline="always")
def _fetch(first: int, last: int, masks: Array, alive: int, entries: Array, records: Array, stride: int) -> None:
    """Prefetch the records of the entries that touch a live block."""
    for e in range(first, last):
        # Branchless, as a branch would be mispredicted: other entries prefetch the first record.
        prefetch(records, np.int64(element(entries, e)) * stride * ((element(masks, e) & alive) != 0))


@kernel(inline="always")
def _listed(masks: Array, at: int, last: int, b: int) -> int:
    """Return a mask of 64 entries; bit k is set if entry at + k < last touches block b."""
    word = bits_of_64(masks, at, b)
    return word if last - at >= 64 else word & ((1 << (last - at)) - 1)


@kernel()
def raster(
    first_tile: int,
    last_tile: int,
    tiles_x: int,
    width: int,
    height: int,
    tile_starts: Array,
    entries: Array,
    masks: Array,
    stride: int,
    records: Array,
    background: Array,
    image: Array,
    transmittance: Array,
    used_ends: Array,
) -> None:
    """Fill image [H, W, C], the final transmittance [H, W] and the end of each tile's used entries [T]."""
    n_channels = image.shape[2]
    padded = stride - GEOMETRY
    light, ended = np.empty(256, np.float32), np.empty(256, np.float32)
    sums = np.empty(16 * padded * 16, np.float32)
    weights, hits = np.empty(CHUNK * 16, np.float32), np.empty(CHUNK, np.int64)
    for tile in range(first_tile, last_tile):
        left, top = tile % tiles_x * TILE, tile // tiles_x * TILE
        first, end = tile_starts[tile], tile_starts[tile + 1]
        sums[:] = _ZERO
        ended[:] = _ZERO
        alive = _start_tile(left, top, width, height, light)
        _fetch(first, min(first + CHUNK, end), masks, alive, entries, records, stride)
        while first < end and alive != 0:
            last = min(first + CHUNK, end)
            _fetch(last, min(last + CHUNK, end), masks, alive, entries, records, stride)
            for b in range(16):
                if (alive >> b) & 1 == 0:
                    continue
                n, is_open = _weigh(b, first, last, masks, entries, records, stride, left, top, light, ended, weights,
                                    hits)  # fmt: skip
                if not is_open:
                    alive ^= 1 << b
                if n > 0:
                    _add_colors(n, hits, weights, records, padded, sums, b * padded * 16)
            first = last
        used_ends[tile] = first
        _write_tile(left, top, width, height, n_channels, padded, sums, light, ended, background, image,
                    transmittance)  # fmt: skip


@kernel(inline="always")
def _block_pixels(b: int, left: int, top: int) -> tuple[Lanes, ...]:
    """Return the x and y of a block's pixel centres."""
    x = load16(LANE_X, 0) + broadcast16(np.float32(left + b % BLOCK * BLOCK) + _TWO)
    y = load16(LANE_Y, 0) + broadcast16(np.float32(top + b // BLOCK * BLOCK) + _TWO)
    return x, y


@kernel(inline="always")
def _exponent(records: Array, at: int, x: Lanes, y: Lanes) -> Lanes:
    """Return the base 2 exponent of a Gaussian at a block's pixels."""
    dx, dy = element16(records, at) - x, element16(records, at + 1) - y
    along = fma(element16(records, at + 3), dy, element16(records, at + 2) * dx)
    return fma(along, dx, element16(records, at + 4) * dy * dy)


@kernel(inline="always")
def _weigh(
    b: int,
    first: int,
    last: int,
    masks: Array,
    entries: Array,
    records: Array,
    stride: int,
    left: int,
    top: int,
    light: Array,
    ended: Array,
    weights: Array,
    hits: Array,
) -> tuple[int, bool]:
    """Write the weights of a block's visible Gaussians; return their count, and whether any pixel is still open.

    `light` is the transmittance of open pixels and 0 of others, `ended` that of pixels that have ended and 0 of others.
    """
    x, y = _block_pixels(b, left, top)
    zero, least, stop = broadcast16(_ZERO), broadcast16(_MIN), broadcast16(_STOP)
    cap, faintest = broadcast16(_CAP), broadcast16(_FAINTEST)
    before, final = load16(light, b * 16), load16(ended, b * 16)
    n, is_open = 0, True
    for at in range(first, last, 64):
        word = _listed(masks, at, last, b)
        while word != 0:
            record = np.int64(element(entries, at + lowest_bit(word))) * stride
            word &= word - 1
            exponent = _exponent(records, record, x, y)
            near = (exponent >= faintest) & (exponent <= zero)
            if not any_lane(near & (before > zero)):
                continue
            alpha = minimum(element16(records, record + 5) * exp2(exponent), cap)
            alpha = select(near & (alpha >= least), alpha, zero)
            weight = alpha * before
            after = before - weight
            ends = after <= stop
            store16(weights, n * 16, select(ends, zero, weight))
            hits[n] = record + GEOMETRY
            n += 1
            final = select(ends, maximum(final, before), final)
            before = select(ends, zero, after)
            if not any_lane(before > zero):
                is_open = False
                break
        if not is_open:
            break
    store16(light, b * 16, before)
    store16(ended, b * 16, final)
    return n, is_open


@kernel(inline="always")
def _add_colors(n: int, hits: Array, weights: Array, records: Array, padded: int, sums: Array, base: int) -> None:
    """Add weight x colour of n Gaussians to a block's sums [channel, pixel], four channels at a time."""
    for c in range(0, padded, 4):
        at = base + c * 16
        sum0, sum1 = load16(sums, at), load16(sums, at + 16)
        sum2, sum3 = load16(sums, at + 32), load16(sums, at + 48)
        for k in range(n):
            weight, color = load16(weights, k * 16), element(hits, k) + c
            sum0 = fma(weight, element16(records, color), sum0)
            sum1 = fma(weight, element16(records, color + 1), sum1)
            sum2 = fma(weight, element16(records, color + 2), sum2)
            sum3 = fma(weight, element16(records, color + 3), sum3)
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
    ended: Array,
    background: Array,
    image: Array,
    transmittance: Array,
) -> None:
    for y in range(top, min(top + TILE, height)):
        for x in range(left, min(left + TILE, width)):
            b, p = ((y - top) >> 2 << 2) + ((x - left) >> 2), ((y - top) & 3) * 4 + ((x - left) & 3)
            rest = max(light[b * 16 + p], ended[b * 16 + p])
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
    used_ends: Array,
    entries: Array,
    masks: Array,
    stride: int,
    records: Array,
    image: Array,
    transmittance: Array,
    grad_image: Array,
    grad_alpha: Array,
    slots: Array,
    slot_stride: int,
    background_parts: Array,
) -> None:
    """Fill the gradient slots of used entries (MOMENTS, then colours) and each tile's gradient of the background.

    Entries are traversed front to back as in `raster`; the light behind a Gaussian is the rest of a running total.
    """
    padded, lanes = stride - GEOMETRY, slot_stride - MOMENTS
    light, rest = np.empty(256, np.float32), np.empty(256, np.float32)
    by_channel, by_pixel = np.zeros(256 * padded, np.float32), np.zeros(256 * lanes, np.float32)
    weights, pulls = np.empty(CHUNK * 16, np.float32), np.empty(CHUNK * 16, np.float32)
    hits, offsets = np.empty(CHUNK, np.int64), np.empty(2 * CHUNK, np.float32)
    for tile in range(first_tile, last_tile):
        left, top = tile % tiles_x * TILE, tile // tiles_x * TILE
        _read_gradients(tile, left, top, width, height, padded, lanes, image, transmittance, grad_image, grad_alpha,
                        by_channel, by_pixel, rest, background_parts)  # fmt: skip
        first, end = tile_starts[tile], used_ends[tile]
        if first == end:
            continue
        alive = _start_tile(left, top, width, height, light)
        _fetch(first, min(first + CHUNK, end), masks, alive, entries, records, stride)
        while first < end:
            last = min(first + CHUNK, end)
            _fetch(last, min(last + CHUNK, end), masks, alive, entries, records, stride)
            slots[first * slot_stride : last * slot_stride] = _ZERO
            for b in range(16):
                if (alive >> b) & 1 == 0:
                    continue
                n, is_open = _pull(b, first, last, masks, entries, records, stride, padded, left, top, light, rest,
                                   by_channel, weights, pulls, hits, offsets)  # fmt: skip
                if not is_open:
                    alive ^= 1 << b
                _add_slots(n, hits, offsets, weights, pulls, by_pixel, b * 16 * lanes, lanes, slots,
                           slot_stride)  # fmt: skip
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
    """Read the picture's gradients in both lane orders, and each pixel's total."""
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
    first: int,
    last: int,
    masks: Array,
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
    offsets: Array,
) -> tuple[int, bool]:
    """Write weights and exponent gradients of a block's Gaussians; return their count and whether a pixel is open.

    `hits` are their entries, `offsets` (two rows of CHUNK) their centres relative to the block's middle.
    """
    x, y = _block_pixels(b, left, top)
    middle_x = np.float32(left + b % BLOCK * BLOCK) + _TWO
    middle_y = np.float32(top + b // BLOCK * BLOCK) + _TWO
    zero, one, least, stop = broadcast16(_ZERO), broadcast16(_ONE), broadcast16(_MIN), broadcast16(_STOP)
    cap, faintest = broadcast16(_CAP), broadcast16(_FAINTEST)
    before, behind = load16(light, b * 16), load16(rest, b * 16)
    n, is_open = 0, True
    for at in range(first, last, 64):
        word = _listed(masks, at, last, b)
        while word != 0:
            entry = at + lowest_bit(word)
            record = np.int64(element(entries, entry)) * stride
            word &= word - 1
            exponent = _exponent(records, record, x, y)
            near = (exponent >= faintest) & (exponent <= zero)
            if not any_lane(near & (before > zero)):
                continue
            uncapped = element16(records, record + 5) * exp2(exponent)
            alpha = minimum(uncapped, cap)
            seen = near & (alpha >= least)
            alpha = select(seen, alpha, zero)
            weight = alpha * before
            after = before - weight
            ends = after <= stop
            weight = select(ends, zero, weight)
            shade = zero
            for c in range(0, padded, 4):
                color, grad = record + GEOMETRY + c, (b * padded + c) * 16
                shade = fma(element16(records, color), load16(by_channel, grad), shade)
                shade = fma(element16(records, color + 1), load16(by_channel, grad + 16), shade)
                shade = fma(element16(records, color + 2), load16(by_channel, grad + 32), shade)
                shade = fma(element16(records, color + 3), load16(by_channel, grad + 48), shade)
            behind = behind - weight * shade
            pull = uncapped * (before * shade - behind / (one - alpha))
            store16(weights, n * 16, weight)
            store16(pulls, n * 16, select(seen & (uncapped <= cap), select(ends, zero, pull), zero))
            hits[n] = entry
            offsets[n], offsets[CHUNK + n] = (
                element(records, record) - middle_x,
                element(records, record + 1) - middle_y,
            )
            n += 1
            before = select(ends, zero, after)
            if not any_lane(before > zero):
                is_open = False
                break
        if not is_open:
            break
    store16(light, b * 16, before)
    store16(rest, b * 16, behind)
    return n, is_open


@kernel(inline="always")
def _add_rows4(array: Array, at0: int, at1: int, at2: int, at3: int, rows: tuple[Lanes, ...]) -> None:
    """Add four F4 sequentially, since indices may be equal."""
    store4(array, at0, load4(array, at0) + rows[0])
    store4(array, at1, load4(array, at1) + rows[1])
    store4(array, at2, load4(array, at2) + rows[2])
    store4(array, at3, load4(array, at3) + rows[3])


@kernel(inline="always")
def _add_rows8(array: Array, at0: int, at1: int, at2: int, at3: int, rows: tuple[Lanes, ...]) -> None:
    """Add four F8 sequentially, since indices may be equal."""
    store8(array, at0, load8(array, at0) + rows[0])
    store8(array, at1, load8(array, at1) + rows[1])
    store8(array, at2, load8(array, at2) + rows[2])
    store8(array, at3, load8(array, at3) + rows[3])


@kernel(inline="always")
def _add_slots(
    n: int,
    hits: Array,
    offsets: Array,
    weights: Array,
    pulls: Array,
    by_pixel: Array,
    row: int,
    lanes: int,
    slots: Array,
    slot_stride: int,
) -> None:
    """Sum a block's pixels into the slots, four Gaussians at a time: moments about their centres, then colours."""
    for k in range(n, (n + 3) & ~3):
        # Incomplete groups are padded with zeros, added to a valid slot.
        hits[k], offsets[k], offsets[CHUNK + k] = hits[n - 1], _ZERO, _ZERO
        store16(weights, k * 16, broadcast16(_ZERO))
        store16(pulls, k * 16, broadcast16(_ZERO))
    zero = broadcast4(_ZERO)
    for k in range(0, n, 4):
        m, mx, my, mxx, mxy, myy = _block_moments(pulls, k * 16)
        dx, dy = load4(offsets, k), load4(offsets, CHUNK + k)
        along, across = dx * m - mx, dy * m - my
        low = transposed4(m, along, across, dx * (along - mx) + mxx)
        high = transposed4(dx * across - dy * mx + mxy, dy * (across - my) + myy, zero, zero)
        to0, to1 = element(hits, k) * slot_stride, element(hits, k + 1) * slot_stride
        to2, to3 = element(hits, k + 2) * slot_stride, element(hits, k + 3) * slot_stride
        _add_rows4(slots, to0, to1, to2, to3, low)
        _add_rows4(slots, to0 + 4, to1 + 4, to2 + 4, to3 + 4, high)
        for c in range(0, lanes, 8):
            first_color = MOMENTS + c
            colors = weighted_row_sums(weights, k * 16, by_pixel, row + c, lanes)
            _add_rows8(slots, to0 + first_color, to1 + first_color, to2 + first_color, to3 + first_color, colors)


@kernel(inline="always")
def _block_moments(pulls: Array, at: int) -> tuple[Lanes, ...]:
    """Return F4 sums of four Gaussians' pulls times 1, x, y, x^2, x y, y^2 about the block's middle."""
    # Columns of the block; the lanes of each are the four rows of four Gaussians.
    c0, c1, c2, c3 = transposed4(
        load16(pulls, at), load16(pulls, at + 16), load16(pulls, at + 32), load16(pulls, at + 48)
    )
    far, close = broadcast16(_OUTER), broadcast16(_INNER)
    outer, inner = c0 + c3, c1 + c2
    total, slope = outer + inner, fma(far, c3 - c0, close * (c2 - c1))
    row = load16(LANE_Y, 0)
    tilted = total * row
    return (
        quarters_sum(total), quarters_sum(slope), quarters_sum(tilted),
        quarters_sum(fma(far * far, outer, close * close * inner)),
        quarters_sum(slope * row), quarters_sum(tilted * row),
    )  # fmt: skip
