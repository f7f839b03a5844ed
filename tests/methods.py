"""The methods of a default project, as the stages after them see them."""

from __future__ import annotations

from flows.project.sections import CHOICES

MODELS = tuple(CHOICES["train"].outputs(CHOICES["train"].default))
METHODS = tuple(CHOICES["fit"].outputs(CHOICES["fit"].default))
