"""The keys of a draw once more, in plain Python: lookup3 of Bob Jenkins, as PostgreSQL documents its extended hash."""

from __future__ import annotations

import hashlib

WORD = 2**32 - 1


def _rotated(x: int, k: int) -> int:
    return ((x << k) | (x >> (32 - k))) & WORD


def hash_word(word: int, seed: int) -> int:
    """64-bit hash of one 32-bit word under a 64-bit seed."""
    state = [(0x9E3779B9 + 4 + 3_923_095) & WORD] * 3
    if seed:
        state[0] = (state[0] + (seed >> 32)) & WORD
        state[1] = (state[1] + (seed & WORD)) & WORD
        for turn, shift in enumerate((4, 6, 8, 16, 19, 4)):
            x, y, z = turn % 3, (turn + 1) % 3, (turn + 2) % 3
            state[x] = ((state[x] - state[z]) & WORD) ^ _rotated(state[z], shift)
            state[z] = (state[z] + state[y]) & WORD
    state[0] = (state[0] + word) & WORD
    for turn, shift in enumerate((14, 11, 25, 16, 4, 14, 24)):
        x, y = (turn + 2) % 3, (turn + 1) % 3
        state[x] = ((state[x] ^ state[y]) - _rotated(state[y], shift)) & WORD
    return state[1] << 32 | state[2]


def galaxy_key(ls_id: int, purpose: str, seed: int = 42) -> int:
    """Key of a galaxy: its low half, hashed with the hash of its high half, hashed with a salt; a signed number."""
    salt = int.from_bytes(hashlib.sha256(f"{seed}_{purpose}".encode()).digest()[:8], "big")
    key = hash_word(ls_id & WORD, hash_word(ls_id >> 32, salt))
    return key - 2**64 if key >= 2**63 else key
