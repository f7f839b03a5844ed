"""Settings of a converted generator, read from the facts that `headforge.priors.gan.convert` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from headforge.errors import InputError
from headforge.priors.gan.renderer import RaySettings
from headforge.priors.gan.superresolution import SHAPES

KINDS = ("spherehead", "panohead")
DECODER_ACTIVATIONS = ("none", "sigmoid", "lrelu")
MAPPING_LAYERS = 8
"""Default where the arguments name none."""
CHANNEL_BASE, CHANNEL_MAX = 32768, 512
N_HALF_RESOLUTIONS = 4
BLOCK_CLAMP = 256.0
"""Defaults of the official networks."""
HELP = "give the official file of that generator; other configurations of the same code can't be used."
T = TypeVar("T")


@dataclass(frozen=True)
class GanSettings:
    """Architecture and rendering settings of a generator."""

    kind: str
    """One of `KINDS`."""
    z_dim: int
    c_dim: int
    w_dim: int
    image_size: int
    """Of the final picture, in pixels."""
    n_mapping_layers: int
    channel_base: int
    channel_max: int
    n_half_resolutions: int
    clamp: float | None
    superresolution: str
    """A name of `superresolution.SHAPES`."""
    superresolution_half: bool
    superresolution_noise: bool
    antialias: bool
    plane_size: int
    plane_depth: int
    """PanoHead: layers of a grid; SphereHead: planes of a sphere."""
    decoder_activation: str
    decoder_lr_multiplier: float
    has_rgb_layer: bool
    has_background: bool
    has_parsing: bool
    label_scale: float
    """Factor on camera labels before the mapping; 0 if it ignores them."""
    rays: RaySettings
    render_size: int
    """Width and height of the volume rendering in pixels."""
    camera_radius: float
    """Distance of the training's cameras from the origin, in the generator's units."""
    camera_pivot: tuple[float, float, float]
    """Point that they look at."""


def read_settings(kind: str, facts: Mapping[str, Any], source: str = "the generator") -> GanSettings:
    """Read the settings from `facts`: `init_kwargs`, `rendering_kwargs` and `neural_rendering_resolution` as in the
    file.

    Raises InputError if something is missing, of another type, or not supported.
    """
    kwargs = _Arguments(source, "init_kwargs", facts.get("init_kwargs"))
    rendering = _Arguments(source, "rendering_kwargs", facts.get("rendering_kwargs"))
    mapping = _Arguments(source, "mapping_kwargs", kwargs.get("mapping_kwargs", dict, {}))
    mapping.only("num_layers")
    kwargs.one_of("architecture", ("skip",), "skip")
    rendering.one_of("clamp_mode", ("softplus",), "softplus")
    rendering.one_of("disparity_space_sampling", (False,), False)
    module = rendering.get("superresolution_module", str).rpartition(".")[2]
    rendering.check("superresolution_module", module, tuple(SHAPES))
    image_size = kwargs.get("img_resolution", int)
    kwargs.check("img_resolution", image_size, (SHAPES[module].resolution,))
    is_unconditioned = bool(rendering.get("c_gen_conditioning_zero", bool, False))
    sees_parsing = kind == "spherehead" and bool(kwargs.get("parsing_flag", bool, False))
    return GanSettings(
        kind=kind,
        z_dim=kwargs.get("z_dim", int),
        c_dim=kwargs.get("c_dim", int),
        w_dim=kwargs.get("w_dim", int),
        image_size=image_size,
        n_mapping_layers=mapping.get("num_layers", int, MAPPING_LAYERS),
        channel_base=kwargs.get("channel_base", int, CHANNEL_BASE),
        channel_max=kwargs.get("channel_max", int, CHANNEL_MAX),
        n_half_resolutions=kwargs.get("num_fp16_res", int, N_HALF_RESOLUTIONS),
        clamp=kwargs.optional("conv_clamp", BLOCK_CLAMP),
        superresolution=module,
        superresolution_half=kwargs.get("sr_num_fp16_res", int, 0) > 0,
        superresolution_noise=rendering.one_of("superresolution_noise_mode", ("none", "const", "random")) != "none",
        antialias=rendering.get("sr_antialias", bool),
        plane_size=rendering.get("triplane_size", int),
        plane_depth=rendering.get("triplane_depth", int),
        decoder_activation=rendering.one_of("decoder_activation", DECODER_ACTIVATIONS),
        decoder_lr_multiplier=rendering.get("decoder_lr_mul", float, 1.0),
        has_rgb_layer=rendering.get("use_torgb_raw", bool, False),
        has_background=rendering.get("use_background", bool, False),
        has_parsing=sees_parsing,
        label_scale=0.0 if is_unconditioned else rendering.get("c_scale", float, 0.0),
        rays=_ray_settings(rendering),
        render_size=_Arguments(source, "facts", facts).get("neural_rendering_resolution", int),
        camera_radius=rendering.get("avg_camera_radius", float, 2.7),
        camera_pivot=rendering.triple("avg_camera_pivot"),
    )


def _ray_settings(rendering: _Arguments) -> RaySettings:
    return RaySettings(
        near=rendering.get("ray_start", float),
        far=rendering.get("ray_end", float),
        n_coarse=rendering.get("depth_resolution", int),
        n_fine=rendering.get("depth_resolution_importance", int),
        box_warp=rendering.get("box_warp", float),
        is_over_white=rendering.get("white_back", bool, False),
    )


class _Arguments:
    """Keyword arguments from a file, checked on access."""

    def __init__(self, source: str, name: str, values: Any) -> None:
        self.source, self.name = source, name
        if not isinstance(values, Mapping):
            raise InputError(source, f"{source} has no {name}: it holds another kind of network.", HELP)
        self.values: Mapping[str, Any] = values

    def get(self, key: str, kind: type[T], default: T | None = None) -> T:
        value = self.values.get(key, default)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            found = "is missing" if value is None else f"is {value!r}"
            raise InputError(self.source, f"{self.name}['{key}'] of {self.source} {found}, not {kind.__name__}.", HELP)
        return cast(T, value)

    def optional(self, key: str, default: float) -> float | None:
        return None if self.values.get(key, default) is None else self.get(key, float, default)

    def one_of(self, key: str, allowed: tuple[Any, ...], default: Any = None) -> Any:
        return self.check(key, self.values.get(key, default), allowed)

    def check(self, key: str, value: Any, allowed: tuple[Any, ...]) -> Any:
        if value not in allowed:
            names = ", ".join(map(repr, allowed))
            message = f"{self.name}['{key}'] of {self.source} is {value!r}, supported is {names}."
            raise InputError(self.source, message, HELP)
        return value

    def only(self, *known: str) -> None:
        for key in self.values:
            if key not in known and self.values[key] is not None:
                raise InputError(self.source, f"{self.name} of {self.source} has '{key}', which is unknown.", HELP)

    def triple(self, key: str) -> tuple[float, float, float]:
        value = self.values.get(key, (0.0, 0.0, 0.0))
        is_fine = (
            isinstance(value, (list, tuple)) and len(value) == 3 and all(isinstance(x, int | float) for x in value)
        )
        if not is_fine:
            raise InputError(self.source, f"{self.name}['{key}'] of {self.source} is {value!r}, not 3 numbers.", HELP)
        x, y, z = value
        return float(x), float(y), float(z)
