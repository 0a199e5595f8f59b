"""SQLAlchemy models, one file per PostgreSQL schema; importing this package registers every table."""

from db.models import (
    calibration,
    catalog,
    conditions,
    discovery,
    ensemble,
    evaluation,
    folds,
    imaging,
    provenance,
    sampling,
    training,
)
from db.models.base import SCHEMAS, Base, Split, Survey

__all__ = [
    "SCHEMAS",
    "Base",
    "Split",
    "Survey",
    "calibration",
    "catalog",
    "conditions",
    "discovery",
    "ensemble",
    "evaluation",
    "folds",
    "imaging",
    "provenance",
    "sampling",
    "training",
]
