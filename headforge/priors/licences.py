"""Licence ledger: terms of weights and pictures, and the permitted uses of outputs derived from several of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

YES, CONDITIONS, NO, UNKNOWN = "yes", "on conditions", "no", "not known"
_STRICTNESS = (YES, CONDITIONS, UNKNOWN, NO)
"""In order of strictness; the strictest of several answers applies."""


@dataclass(frozen=True)
class Licence:
    """Summary of the terms of one source. The publisher's own text is binding."""

    title: str
    publish: str
    """Whether derived outputs may be published: "yes", "on conditions", "no" or "not known"."""
    sell: str
    """Whether commercial use is permitted; the same answers."""
    terms: str
    """The conditions, or the reason for a "no"."""
    url: str
    """Location of the licence text."""


RESEARCH = "research only; name the authors, pass the terms on"

LEDGER: Mapping[str, Licence] = {
    "headforge-builtin": Licence(
        "headforge's own code, no outside data", YES, YES, "none", "the repository"
    ),
    "flame": Licence(
        "FLAME model licence (Max Planck)", CONDITIONS, NO,
        "research only and not the model itself to others; FLAME 2023 Open is CC BY 4.0: then only name the authors",
        "https://flame.is.tue.mpg.de",
    ),
    "ict-facekit": Licence(
        "MIT (ICT-FaceKit Light)", YES, YES, "keep the copyright notice with copies of the model",
        "https://github.com/USC-ICT/ICT-FaceKit",
    ),
    "spherehead": Licence(
        "NVIDIA Source Code License for what comes from EG3D, CC BY 4.0 for the rest (SphereHead)", CONDITIONS, NO,
        RESEARCH, "https://github.com/lhyfst/SphereHead",
    ),
    "panohead": Licence(
        "NVIDIA Source Code License for what comes from EG3D, CC BY 4.0 for the rest (PanoHead)", CONDITIONS, NO,
        RESEARCH, "https://github.com/SizheAn/PanoHead",
    ),
    "openrail-m": Licence(
        "CreativeML OpenRAIL-M", CONDITIONS, CONDITIONS,
        "none of the uses in its Attachment A, and these limits passed on with the weights",
        "https://huggingface.co/spaces/CompVis/stable-diffusion-license",
    ),
    "animatediff": Licence(
        "Apache 2.0 (AnimateDiff)", YES, YES, "keep the notice with copies of the weights",
        "https://github.com/guoyww/AnimateDiff",
    ),
    "sd-vae-ft-mse": Licence(
        "MIT (sd-vae-ft-mse)", YES, YES, "keep the copyright notice with copies of the weights",
        "https://huggingface.co/stabilityai/sd-vae-ft-mse",
    ),
    "lpips": Licence(
        "BSD 2-Clause (LPIPS linear layers)", YES, YES, "keep the copyright notice with copies of the weights",
        "https://github.com/richzhang/PerceptualSimilarity",
    ),
    "torchvision-imagenet": Licence(
        "BSD 3-Clause code, weights trained on ImageNet", YES, UNKNOWN,
        "ImageNet's pictures are for research; whether that binds the weights is not settled",
        "https://github.com/pytorch/vision",
    ),
    "mediapipe": Licence(
        "Apache 2.0 (MediaPipe face landmarker)", YES, YES, "keep the notice with copies of the model",
        "https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker",
    ),
    "dlib-models": Licence(
        "CC0 (dlib's embedding, five-point and detector models)", YES, YES, "none",
        "https://github.com/davisking/dlib-models",
    ),
    "astronaut": Licence(
        "NASA's portrait of Eileen Collins, public domain (scikit-image)", YES, YES,
        "a real person: nothing that looks as if she or NASA endorsed it", "https://scikit-image.org",
    ),
    "photo": Licence(
        "a photo that you gave", UNKNOWN, UNKNOWN, "ask who took it, and who is in it", "you"
    ),
    "face-alignment": Licence(
        "BSD 3-Clause code, weights trained on 300-W-LP (face-alignment's 2DFAN4)", CONDITIONS, NO,
        "trained on pictures that exclude commercial use", "https://github.com/1adrianb/face-alignment",
    ),
    "rembg-u2net": Licence(
        "MIT code (rembg), Apache 2.0 weights (U2-Net)", YES, YES, "other models of rembg have terms of their own",
        "https://github.com/danielgatis/rembg",
    ),
    "ibug-300w": Licence(
        "iBUG 300-W (dlib's 68-point model)", CONDITIONS, NO, "trained on pictures that exclude commercial use",
        "https://github.com/davisking/dlib-models",
    ),
}  # fmt: skip
"""Ledger by id; outputs refer to these ids."""

KNOWN_SOURCES: Mapping[str, str] = {"headforge-builtin-1": "headforge-builtin"}
"""Source names in older outputs."""


@dataclass(frozen=True)
class Carried:
    """One source of an output, with its terms."""

    source: str
    """An id of the ledger, or the output's own name for it."""
    licence: Licence


@dataclass(frozen=True)
class Verdict:
    """Permitted uses of an output derived from several sources."""

    publish: str
    sell: str
    carried: tuple[Carried, ...]
    """Sorted by source."""


def ledger_entry(source: str, text: str = "") -> Carried:
    """Return the terms of a source named by an output; `text` is the output's description if not in the ledger."""
    known = KNOWN_SOURCES.get(source, source)
    if known in LEDGER:
        return Carried(known, LEDGER[known])
    return Carried(source, Licence(text or "not stated", UNKNOWN, UNKNOWN, "ask who made it", text or "not stated"))


def verdict(carried: Sequence[Carried]) -> Verdict:
    """Return the verdict: the strictest answers of all sources; "not known" without sources."""
    unique = {item.source: item for item in carried}
    ordered = tuple(unique[name] for name in sorted(unique))
    return Verdict(
        _strictest([item.licence.publish for item in ordered]),
        _strictest([item.licence.sell for item in ordered]),
        ordered,
    )


def _strictest(answers: Sequence[str]) -> str:
    return max(answers, key=_STRICTNESS.index) if answers else UNKNOWN
