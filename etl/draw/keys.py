"""The keys by which a draw orders galaxies: whole numbers of 64 bits, uniform, the same on every PostgreSQL."""

from __future__ import annotations

import hashlib
from typing import Final

KEY_RULE: Final = "hashint8"
"""The rule of today's keys, `sampling.draw_key`; draws of version 0.1.0 have `sha256`."""

FIRST_KEY, LAST_KEY = -(2**63), 2**63 - 1


def salt(seed: int, purpose: str) -> int:
    """Return what `sampling.draw_key` is salted with: 8 bytes of SHA-256 of seed and purpose, as a signed number."""
    return int.from_bytes(hashlib.sha256(f"{seed}_{purpose}".encode()).digest()[:8], "big", signed=True)


def last_key(part: int, of: int) -> int:
    """Return the last of the keys that make up the fraction part / of (above 0, at most 1) of all keys."""
    return FIRST_KEY + 2**64 * part // of - 1
