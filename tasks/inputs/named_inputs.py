"""Names of portraits and videos in params.yaml: a SHA-256 in the store, and the face if it is not the largest."""

from __future__ import annotations

import re

LARGEST_FACE = -1
NAMED_INPUT = re.compile(r"(?P<sha256>[0-9a-f]{64})(@(?P<face>[0-9]{1,3}))?")
"""Such as "9f86…0a08" or "9f86…0a08@1" for the face with the number 1."""


def content_of(named: str) -> str:
    """Return the SHA-256 of a named input; text of another form is returned unchanged."""
    found = NAMED_INPUT.fullmatch(named)
    return found["sha256"] if found else named


def face_of(named: str) -> int:
    """Return the number of the face of a named input; -1 for the largest."""
    found = NAMED_INPUT.fullmatch(named)
    return int(found["face"]) if found and found["face"] else LARGEST_FACE


def name_face(sha256: str, face: int) -> str:
    """Format a SHA-256 and a face as in params.yaml."""
    return sha256 if face == LARGEST_FACE else f"{sha256}@{face}"
