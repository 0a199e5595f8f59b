"""What every model shares: naming convention, type map and the words that columns may hold."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, DateTime, Double, Integer, MetaData, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

SCHEMAS = ("provenance", "catalog", "sampling", "imaging", "training", "evaluation", "results")
"""The PostgreSQL schemas of the system, in the order in which rows flow through them."""


class Survey(StrEnum):
    """Where pixels and galaxies come from; nothing ever mixes two of them."""

    DR10 = "dr10"
    MOCK = "mock"


class Split(StrEnum):
    """The part of the sky that an object serves."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class Base(DeclarativeBase):
    """Parent of all models."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads this class attribute
        int: Integer,
        float: Double,
        str: Text,
        dt.datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
    }


def one_of(column: str, words: type[StrEnum] | tuple[str, ...], name: str | None = None) -> CheckConstraint:
    """Return a CHECK that holds `column` to a closed list of words."""
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=name or f"{column}_known")


def sky_position(ra: str = "ra", dec: str = "dec") -> tuple[CheckConstraint, CheckConstraint]:
    """Return the CHECKs of a position in degrees; NaN sorts above every number and so fails both."""
    return (
        CheckConstraint(f"{ra} >= 0 AND {ra} < 360", name=f"{ra}_range"),
        CheckConstraint(f"{dec} >= -90 AND {dec} <= 90", name=f"{dec}_range"),
    )


def probability(column: str, *, or_null: bool = False) -> CheckConstraint:
    """Return a CHECK that holds `column` to [0, 1]; NaN fails it."""
    rule = f"{column} >= 0 AND {column} <= 1"
    return CheckConstraint(f"{column} IS NULL OR ({rule})" if or_null else rule, name=f"{column}_range")
