"""The manifest of a model: one row per cutout, read from the public view `results.manifest`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Engine, column, select, table

from db.errors import MissingInputError
from db.models import Split
from db.models.imaging import Cutout
from db.models.sampling import Draw, SplitScheme
from training.errors import ManifestError, PreprocessingError
from training.preprocess import Preprocessing

COLUMNS: dict[str, type] = {
    "cutout_id": np.int64,
    "uri": np.str_,
    "sha256": np.str_,
    "split": np.str_,
    "label": np.int8,
    "weight": np.float32,
    "tier": np.str_,
    "best_letter_grade": np.str_,
    "is_calibration": np.bool_,
    "nobs_z": np.float32,
    "psf_fwhm_z_arcsec": np.float32,
}
"""Columns of the manifest that training needs, and what they are held as; an absent word is empty, a number NaN."""

VIEW = table("manifest", *map(column, ("draw_id", "scheme_id", "version", *COLUMNS)), schema="results")


@dataclass(frozen=True)
class Manifest:
    """Cutouts of one draw, split scheme and cutout version, by cutout_id; arrays of shape (n,)."""

    draw_id: int
    scheme_id: int
    cutout_version: str
    survey: str
    cutout_id: npt.NDArray[np.int64]
    uri: npt.NDArray[np.str_]
    sha256: npt.NDArray[np.str_]
    split: npt.NDArray[np.str_]
    label: npt.NDArray[np.int8]
    weight: npt.NDArray[np.float32]
    tier: npt.NDArray[np.str_]
    best_letter_grade: npt.NDArray[np.str_]
    is_calibration: npt.NDArray[np.bool_]
    nobs_z: npt.NDArray[np.float32]
    psf_fwhm_z_arcsec: npt.NDArray[np.float32]
    layouts: frozenset[tuple[str, int]]

    def __len__(self) -> int:
        return len(self.cutout_id)

    def rows(self, chosen: npt.NDArray[np.bool_] | slice) -> Manifest:
        """Some of its rows."""
        return replace(self, **{name: getattr(self, name)[chosen] for name in COLUMNS})

    def part(self, split: Split) -> Manifest:
        """The rows of one split."""
        return self.rows(self.split == split)

    def digest(self) -> str:
        """SHA-256 over the lines `cutout_id split sha256`, sorted by cutout_id."""
        digest = hashlib.sha256()
        for line in zip(self.cutout_id.tolist(), self.split.tolist(), self.sha256.tolist(), strict=True):
            digest.update("{} {} {}\n".format(*line).encode())
        return digest.hexdigest()

    def require_both_classes(self, *splits: Split) -> None:
        """Check that each split holds positives and negatives.

        Raises
        ------
        ManifestError
            When one does not.
        """
        for split in splits:
            labels = self.label[self.split == split]
            n_positives = int(labels.sum())
            if not 0 < n_positives < len(labels):
                raise ManifestError(
                    f"the {split} split holds {n_positives} positives and {len(labels) - n_positives} negatives, both "
                    "are needed: run `stronglens cutouts make` for the whole draw, or draw on a wider sky"
                )

    def require_layout(self, rules: Preprocessing) -> None:
        """Check that the cutouts have the bands and the size that a preprocessing takes.

        Raises
        ------
        PreprocessingError
            When some have not.
        """
        for bands, n_pixels in self.layouts:
            if (bands, n_pixels) != (rules.bands, rules.cutout_px):
                raise PreprocessingError(
                    f"cutouts of version {self.cutout_version!r} hold bands {bands!r} on {n_pixels} px, the "
                    f"preprocessing takes {rules.bands!r} on {rules.cutout_px} px: choose another cutout version"
                )


def named_manifest(engine: Engine, draw: str, scheme: str, cutout_version: str) -> Manifest:
    """Read the manifest of a draw and a scheme given by name.

    Raises
    ------
    MissingInputError
        When the draw or the scheme is not there, or no cutout of them is.
    """
    with engine.connect() as connection:
        draws = dict(connection.execute(select(Draw.name, Draw.draw_id)).all())
        schemes = dict(connection.execute(select(SplitScheme.name, SplitScheme.scheme_id)).all())
    if draw not in draws:
        raise MissingInputError(f"draw {draw!r} is not there ({_there(draws)}): run `stronglens draw` first")
    if scheme not in schemes:
        raise MissingInputError(
            f"split scheme {scheme!r} is not there ({_there(schemes)}): run `stronglens splits assign` first"
        )
    return read_manifest(engine, draws[draw], schemes[scheme], cutout_version)


def read_manifest(engine: Engine, draw_id: int, scheme_id: int, cutout_version: str) -> Manifest:
    """Read the manifest of a draw and a scheme given by key.

    Raises
    ------
    MissingInputError
        When it is empty.
    """
    with engine.connect() as connection:
        survey = connection.scalar(select(Draw.survey).where(Draw.draw_id == draw_id))
        found = connection.execute(
            select(
                *(VIEW.c[name] for name in COLUMNS),
                Cutout.bands,
                Cutout.n_pixels,
            )
            .join_from(VIEW, Cutout, Cutout.cutout_id == VIEW.c.cutout_id)
            .where(VIEW.c.draw_id == draw_id, VIEW.c.scheme_id == scheme_id, VIEW.c.version == cutout_version)
            .order_by(VIEW.c.cutout_id)
        ).all()
        if not found:
            raise MissingInputError(
                f"no usable cutout of version {cutout_version!r} for this draw and scheme "
                f"(versions there: {_there(_versions(connection, draw_id, scheme_id))}): run `stronglens splits "
                "assign`, `stronglens cutouts make` and `stronglens cutouts validate` first"
            )
    *values, bands, n_pixels = zip(*found, strict=True)
    return Manifest(
        draw_id=draw_id,
        scheme_id=scheme_id,
        cutout_version=cutout_version,
        survey=str(survey),
        **{name: as_column(name, list(held)) for name, held in zip(COLUMNS, values, strict=True)},
        layouts=frozenset(zip(bands, n_pixels, strict=True)),
    )


def as_column(name: str, values: list[Any]) -> npt.NDArray[Any]:
    """Return the values of a column as a manifest holds them."""
    kind = COLUMNS[name]
    if kind is np.str_:
        values = ["" if value is None else value for value in values]
    return np.array(values, dtype=kind)


def _versions(connection: Connection, draw_id: int, scheme_id: int) -> Sequence[str]:
    return connection.scalars(
        select(VIEW.c.version).distinct().where(VIEW.c.draw_id == draw_id, VIEW.c.scheme_id == scheme_id)
    ).all()


def _there(names: Sequence[str] | dict[str, int]) -> str:
    return ", ".join(sorted(names)) or "none"
