"""Seeds that depend only on the identity of an item."""

from __future__ import annotations

import hashlib


def item_seed(seed: int, *parts: str | int) -> int:
    """Return a 63-bit seed from the run's seed and the parts that name the item, such as ("expression", subject, view).

    Stable over processes, machines and Python versions (SHA-256 of the parts, each with its type and length).
    """
    digest = hashlib.sha256()
    for part in (seed, *parts):
        text = f"{type(part).__name__}:{part}"
        digest.update(f"{len(text)}|{text}".encode())
    return int.from_bytes(digest.digest()[:8], "big") >> 1
