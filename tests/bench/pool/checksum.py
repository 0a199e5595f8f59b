"""Are the keys in the pool exactly those that were written? Sums over keys and over mixes of them, file by file.

Reckoned twice, by numpy over what the generator wrote and by PostgreSQL over what it holds; neither uses the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, text

# Two primes below 2^31: a product of two remainders fits 63 bits.
_P, _Q = 2_147_483_647, 2_147_483_629
_STATEMENT = text(
    f"""
    SELECT f.name, count(*), sum(g.ls_id), bit_xor(g.ls_id),
        sum((g.ls_id % {_P}) * (g.ls_id % {_P})), bit_xor((g.ls_id % {_P}) * (g.ls_id % {_Q}))
    FROM catalog.galaxy AS g JOIN catalog.sweep_file AS f USING (sweep_file_id)
    GROUP BY f.name
    """
)


@dataclass(frozen=True)
class KeySum:
    """What a set of keys adds up to; two sets with one sum are, for all purposes, the same set."""

    n: int
    total: int
    xor: int
    squares: int
    xor_of_products: int


def key_sum(keys: NDArray[np.int64]) -> KeySum:
    """Add up keys in numpy."""
    p, q = keys % _P, keys % _Q
    return KeySum(
        len(keys), _sum(keys), int(np.bitwise_xor.reduce(keys)), _sum(p * p), int(np.bitwise_xor.reduce(p * q))
    )


def key_sums_of_pool(engine: Engine) -> dict[str, KeySum]:
    """Add up the keys of the pool in SQL, by file name."""
    with engine.connect() as connection:
        return {str(row[0]): KeySum(*(int(value) for value in row[1:])) for row in connection.execute(_STATEMENT)}


def _sum(values: NDArray[np.int64]) -> int:
    """Sum without overflow: the halves of 64 bits apart."""
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFF_FFFF).sum())
