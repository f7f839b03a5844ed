"""The kinds of assets, by their names on the command line."""

from __future__ import annotations

from collections.abc import Mapping

from headforge.priors.assets import Kind
from headforge.priors.faces.dlib_files import DLIB
from headforge.priors.faces.mediapipe_task import MEDIAPIPE
from headforge.priors.gan.head_gans import PANOHEAD, SPHEREHEAD
from headforge.priors.head_models import FLAME, ICT
from headforge.priors.lpips import LPIPS_ALEX, LPIPS_VGG
from headforge.priors.stable_diffusion.animatediff import ANIMATEDIFF
from headforge.priors.stable_diffusion.stable_diffusion import SD15, VAE_FT_MSE

KINDS: Mapping[str, Kind] = {
    "flame": FLAME,
    "ict": ICT,
    "spherehead": SPHEREHEAD,
    "panohead": PANOHEAD,
    "sd15": SD15,
    "animatediff": ANIMATEDIFF,
    "vae": VAE_FT_MSE,
    "lpips-alex": LPIPS_ALEX,
    "lpips-vgg": LPIPS_VGG,
    "mediapipe": MEDIAPIPE,
    "dlib": DLIB,
}
