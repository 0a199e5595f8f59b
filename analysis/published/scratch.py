"""A model of somebody else, for as long as a transaction that is rolled back: rows to hang published scores on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, Select, column, insert, literal_column, select, table

from analysis.bootstrap import CellBootstrap
from analysis.evaluation.conditions import axes_of, count_conditions
from analysis.evaluation.metrics import metric_rows
from analysis.evaluation.samples import samples_of
from analysis.evaluation.write import replace_counts, replace_metrics
from analysis.operating import count_all
from analysis.scores import ScoredObjects
from db.models import Split
from db.models.evaluation import OperatingPoint
from db.models.sampling import Draw, SplitScheme
from db.models.training import Model
from db.provenance import RecordedRun, recorded_run

Row = dict[str, Any]
N_BOOTSTRAP = 2000


@contextmanager
def scratch(engine: Engine) -> Iterator[Scratch]:
    """Give a place for published results; of what is written there only the record of the run stays."""
    with recorded_run(engine, command="published check", config={}) as run, engine.connect() as connection:
        transaction = connection.begin()
        try:
            yield Scratch(connection, run)
        finally:
            transaction.rollback()


class Scratch:
    """Models of published scores, their thresholds and counts, written as those of our own models are."""

    def __init__(self, connection: Connection, run: RecordedRun) -> None:
        self.connection = connection
        self.run = run
        origin = {"name": f"published check, run {run.run_id}", "run_id": run.run_id, "seed": 0}
        draw = origin | {"survey": "dr10", "data_release": 10, "config_sha256": run.config_sha256}
        self._draw_id = self._key(Draw, Draw.draw_id, draw | {"n_lenses_known": 0, "n_galaxies": 0})
        scheme = origin | {"nside": 128, "train_below": 0.7, "val_below": 0.85, "guard_arcsec": 30.0}
        self._scheme_id = self._key(SplitScheme, SplitScheme.scheme_id, scheme)

    def model(self, name: str) -> int:
        """Add a model of which there are scores and nothing else; returns its key."""
        about = {"name": f"published: {name} (run {self.run.run_id})", "survey": "dr10", "kind": "ensemble"}
        sizes = {"n_parameters": 0, "n_train": 0, "n_val": 0}
        of = {"draw_id": self._draw_id, "scheme_id": self._scheme_id, "cutout_version": "published"}
        sealed = {"config_sha256": self.run.config_sha256, "manifest_sha256": "0" * 64, "run_id": self.run.run_id}
        row = about | sizes | of | sealed | {"architecture": "published", "status": "succeeded"}
        return self._key(Model, Model.model_id, row)

    def count(self, model_id: int, objects: ScoredObjects, thresholds: tuple[float, ...]) -> None:
        """Count objects of a test split at thresholds that a paper chose, by our functions and into our tables.

        A published threshold aims at no false-positive rate; its row is filed under a number of its own.
        """
        points = []
        for number, threshold in enumerate(thresholds, 1):
            row = {"model_id": model_id, "fpr_target": number / 1000, "split": Split.VAL, "threshold": threshold}
            row |= {"n_negatives": 0, "n_exceedances": 0}
            points.append((self._key(OperatingPoint, OperatingPoint.operating_point_id, row), threshold))
        bootstrap = CellBootstrap.draw(objects.healpix_128, N_BOOTSTRAP, 0)
        counts = [count_all(objects, threshold) for threshold in thresholds]
        pooled = axes_of(objects)[:1]
        conditions = count_conditions(objects, samples_of(objects), pooled, thresholds, bootstrap)
        replace_counts(self.connection, Split.TEST, points, counts, conditions)

    def measure(self, model_id: int, objects: ScoredObjects) -> None:
        """Take the areas under the ROC curve of a test split, by our functions and into our tables."""
        bootstrap = CellBootstrap.draw(objects.healpix_128, N_BOOTSTRAP, 0)
        replace_metrics(self.connection, model_id, Split.TEST, metric_rows(objects, False, bootstrap))

    def rows(self, view: str, model_id: int) -> list[Row]:
        """Read what a public view says of a model."""
        source = table(view, column("model_id"), schema="results")
        wanted: Select[Any] = select(literal_column("*")).select_from(source).where(source.c.model_id == model_id)
        return [dict(row) for row in self.connection.execute(wanted).mappings()]

    def _key(self, model: Any, key: Any, row: Row) -> int:
        return int(self.connection.execute(insert(model).values(**row).returning(key)).scalar_one())


def objects_of(**columns: Any) -> ScoredObjects:
    """Return objects of which only some columns are known; each is a cell of its own, since none tells its place."""
    n = len(columns["score"])
    kinds = {"str_": np.full(n, ""), "float64": np.full(n, np.nan), "int64": np.arange(n), "bool_": np.zeros(n, bool)}
    blank = {each.name: next(kinds[kind] for kind in kinds if kind in str(each.type)) for each in fields(ScoredObjects)}
    return ScoredObjects(**blank | {"split": np.full(n, "test")} | columns)
