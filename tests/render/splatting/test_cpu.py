"""The fast backend against the twin, and its promises about threads and processes."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headforge.render.projection import ALPHA_MIN
from headforge.render.splatting.cpu import instruction_set
from headforge.render.threads import kernel_threads, set_kernel_threads
from tests.render.scenes import Inputs, draw, draw_and_differentiate, random_inputs

NAMES = ("means", "quats", "scales", "opacities", "colors", "viewmats", "backgrounds")
VALUE_TOLERANCE = 2e-5
"""Float32 rounding of a few dozen composited layers."""
FLIP_TOLERANCE = 2 * ALPHA_MIN
"""A pixel at the threshold where a Gaussian ends may see it in one backend and not in the other."""
HALF_PIXEL = torch.tensor([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
GRADIENT_TOLERANCE = 2e-3
"""Of the tensor's largest gradient, for its worst element: what lies behind a Gaussian is a float32 difference of two
totals, divided by 1 - alpha, so that thin Gaussians behind nearly opaque ones keep few digits."""
TYPICAL_GRADIENT_TOLERANCE = 1e-4
"""The same for all but one element in ten."""
FLIPPED_GRADIENT_TOLERANCE = 5e-2
"""The same where a pixel flipped: its whole share of the gradient comes or goes (as it does between the twin in
float32 and in float64), a few parts in a thousand of these scenes of some hundred lit pixels."""


def assert_close(inputs: Inputs, **options: object) -> None:
    ours, our_grads = draw_and_differentiate(inputs, "cpu", torch.float32, **options)
    twin, twin_grads = draw_and_differentiate(inputs, "torch", torch.float64, **options)
    error = torch.cat([(ours.image - twin.image).abs(), (ours.alpha - twin.alpha).abs()], dim=-1)
    assert error.quantile(0.99) < VALUE_TOLERANCE
    if "ED" not in str(options):
        assert error.max() < FLIP_TOLERANCE
    tolerance = FLIPPED_GRADIENT_TOLERANCE if error.max() > VALUE_TOLERANCE else GRADIENT_TOLERANCE
    for name, a, b in zip(NAMES, our_grads, twin_grads, strict=True):
        if b is None:
            assert a is None
            continue
        assert (a - b).abs().max() <= tolerance * b.abs().max() + 1e-6, name
        if error.max() < VALUE_TOLERANCE:
            assert (a - b).abs().quantile(0.9) <= TYPICAL_GRADIENT_TOLERANCE * b.abs().max() + 1e-6, name


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 150), n_channels=st.integers(1, 9),
       mode=st.sampled_from(["RGB", "D", "RGB+D"]), antialiased=st.booleans())  # fmt: skip
def test_values_and_gradients_equal_the_twin(seed: int, n: int, n_channels: int, mode: str, antialiased: bool) -> None:
    inputs = random_inputs(seed, n, n_channels, n_cameras=seed % 2 + 1)
    assert_close(inputs, render_mode=mode, rasterize_mode="antialiased" if antialiased else "classic")


def test_gradients_of_expected_depth_per_camera_colors_and_wide_angles() -> None:
    inputs = random_inputs(1, n=80, n_channels=8, n_cameras=2)
    # Short focal lengths put many Gaussians where the Jacobian's slope is clamped.
    wide = replace(inputs, Ks=inputs.Ks * torch.tensor([0.2, 0.2, 1.0])[:, None] + 0.0, scales=inputs.scales * 3)
    wide.Ks[:, :2, 2] = 20.0
    assert_close(replace(wide, colors=torch.stack([inputs.colors, inputs.colors.flip(0)])))
    assert_close(random_inputs(2, n=120), render_mode="RGB+ED")


def test_shared_tensors_sum_their_gradients_over_scenes() -> None:
    inputs = random_inputs(3, n=50)
    means = torch.stack([inputs.means, inputs.means + 0.01, -inputs.means])
    batched = replace(inputs, means=means, viewmats=inputs.viewmats.expand(3, 1, 4, 4),
                      Ks=inputs.Ks.expand(3, 1, 3, 3), backgrounds=inputs.backgrounds.expand(3, 1, 3))  # fmt: skip
    assert_close(batched)


def _bits(n_threads: int) -> list[bytes]:
    set_kernel_threads(n_threads)
    try:
        result, grads = draw_and_differentiate(random_inputs(5, n=5000, n_channels=8), "cpu", torch.float32)
    finally:
        set_kernel_threads(1)
    return [x.detach().numpy().tobytes() for x in (result.image, result.alpha, *grads)]


def test_the_same_bits_for_any_number_of_threads() -> None:
    reference = _bits(1)
    assert _bits(1) == reference
    assert _bits(2) == reference
    assert _bits(16) == reference
    assert kernel_threads() == 1


def test_concurrent_python_threads() -> None:
    reference = _bits(1)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: draw_and_differentiate(random_inputs(5, n=5000, n_channels=8), "cpu",
                                                                torch.float32), range(6)))  # fmt: skip
    for result, grads in results:
        assert [x.detach().numpy().tobytes() for x in (result.image, result.alpha, *grads)] == reference


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_started_after_threads_ran(method: str) -> None:
    reference = _bits(2)
    context = multiprocessing.get_context(method)
    with context.Pool(1) as pool:
        assert pool.apply_async(_bits, (2,)).get(timeout=120) == reference


def test_a_hundred_thousand_on_one_pixel() -> None:
    n = 100_000
    inputs = random_inputs(6, n=1)
    crowd = Inputs(
        # The principal point is moved to a pixel's centre.
        means=torch.randn(n, 3, generator=torch.Generator().manual_seed(0)) * 1e-4,
        quats=inputs.quats.expand(n, 4), scales=torch.full((n, 3), 1e-4), opacities=torch.full((n,), 0.005),
        colors=torch.full((n, 3), 0.5), viewmats=inputs.viewmats, Ks=inputs.Ks + HALF_PIXEL,
        backgrounds=inputs.backgrounds,
    ).to(torch.float32)  # fmt: skip
    result = draw(crowd, "cpu")
    middle = result.image[0, 20, 20]
    assert result.alpha.max() > 0.999
    assert torch.allclose(middle, torch.full((3,), 0.5), atol=1e-3)
    (grad,) = torch.autograd.grad(result.image.sum(), [crowd.colors])
    assert torch.isfinite(grad).all() and (grad[:, 0] > 0).sum() > 500


@pytest.mark.parametrize("n_threads", [1, 2])
def test_concurrent_callers_share_one_pool_of_kernel_threads(n_threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def make_pool(max_workers: int, **options: Any) -> ThreadPoolExecutor:
        sizes.append(max_workers)
        return ThreadPoolExecutor(max_workers, **options)

    set_kernel_threads(3 - n_threads)
    set_kernel_threads(n_threads)
    monkeypatch.setattr("headforge.render.threads.ThreadPoolExecutor", make_pool)
    try:
        with ThreadPoolExecutor(8) as callers:
            list(callers.map(lambda seed: draw(random_inputs(seed, n=3000), "cpu"), range(16)))
    finally:
        set_kernel_threads(1)
    # With one thread the callers' own threads do the work; with two, eight callers wait for the same two.
    assert sizes == [2] * (n_threads - 1)


def test_inside_dask_workers() -> None:
    threaded = pytest.importorskip("dask.threaded")
    reference = draw(random_inputs(5, n=3000), "cpu").image
    graph = {f"picture-{k}": (lambda: draw(random_inputs(5, n=3000), "cpu").image,) for k in range(8)}
    pictures = threaded.get(graph, list(graph), num_workers=4)
    assert all(torch.equal(picture, reference) for picture in pictures)


def test_inside_a_dask_worker_process() -> None:
    distributed = pytest.importorskip("distributed")
    reference = _bits(1)
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=True, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert client.gather(client.map(_bits, [1, 1, 1, 1], pure=False)) == [reference] * 4


def _from_loader(method: str) -> torch.Tensor:
    loader = torch.utils.data.DataLoader(Pictures(), num_workers=1, multiprocessing_context=method)
    return torch.cat(list(loader))


class Pictures(torch.utils.data.Dataset[torch.Tensor]):
    """Pictures that a DataLoader's workers splat."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        return draw(random_inputs(index, n=500), "cpu").image[0]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_inside_data_loader_workers(method: str) -> None:
    expected = torch.stack([Pictures()[k] for k in range(4)])
    assert torch.equal(_from_loader(method), expected)


@pytest.mark.parametrize(
    ("features", "expected"),
    [("+avx2,+fma,-avx512f", "avx2"), ("+avx512f,+avx2", "avx512"), ("+sse2,-avx2", "generic"), ("+neon", "neon")],
)
def test_instruction_set_is_that_of_the_compiled_kernels(
    features: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("numba.core.config.CPU_FEATURES", features)
    assert instruction_set() == expected
