"""The published files, read strictly."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from analysis.errors import PublishedFileError

CONFIDENT = Path("published/d06/confident_lens_scores.json")
BASELINE = Path("published/resnet18_baseline_eval.json")
CONFUSERS = Path("published/resnet18_baseline_fpr_by_confuser.json")
LABELLED = Path("scores/meta_features_split.parquet")
NETWORKS = ("p_resnet", "p_effnet", "p_meta")
"""Columns of the labelled scores; p_avg is the mean of the first two, and p_meta seems to be made of them as well."""

Floats = npt.NDArray[np.float64]


class _Published(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


Read = TypeVar("Read", bound=_Published)


class _Lens(_Published):
    score: float = Field(ge=0, le=1)


class ConfidentLenses(_Published):
    """Scores of confident lenses by the network of a published injection study."""

    real_lenses: tuple[_Lens, ...] = Field(min_length=1)

    @property
    def scores(self) -> Floats:
        """Shape (n,)."""
        return np.array([lens.score for lens in self.real_lenses])


class _ReliabilityCurve(_Published):
    bin_edges: tuple[float, ...]
    bin_acc: tuple[float, ...]
    bin_conf: tuple[float, ...]
    bin_counts: tuple[int, ...]

    @model_validator(mode="after")
    def _same_bins(self) -> _ReliabilityCurve:
        lengths = {len(self.bin_edges) - 1, len(self.bin_acc), len(self.bin_conf), len(self.bin_counts)}
        if len(lengths) != 1:
            raise ValueError("its bins have other numbers of edges, rates, means and counts")
        return self


class _Overall(_Published):
    auc: float
    ece: float
    recall: float = Field(alias="recall_at_0.5")


class _Tier(_Published):
    n_pos: int
    recall: float = Field(alias="recall_at_0.5", ge=0, le=1)

    @property
    def k(self) -> int:
        """Positives at or above the threshold."""
        return round(self.recall * self.n_pos)


class Baseline(_Published):
    """Evaluation of the published ResNet-18 on its test split: recall by tier, and the bins of its reliability."""

    n_samples: int
    overall: _Overall
    reliability_curve: _ReliabilityCurve
    by_stratum: dict[str, _Tier]


class _Counted(_Published):
    n: int = Field(gt=0)
    fp: int = Field(ge=0)


class Confusers(_Published):
    """False positives of the same network at 0.5, by pool and kind of confuser."""

    threshold: float
    overall_negatives: _Counted
    by_pool: dict[str, _Counted]
    by_confuser_category: dict[str, _Counted]


@dataclass(frozen=True)
class LabelledScores:
    """Labelled objects with the scores of three networks; arrays of shape (n,), `scores` by column."""

    label: npt.NDArray[np.int64]
    split: npt.NDArray[np.str_]
    scores: dict[str, Floats]
    mean_of_two: Floats


def read_json(folder: Path, name: Path, kind: type[Read]) -> Read:
    """Read one of the JSON files.

    Raises
    ------
    PublishedFileError
        When it is absent, no JSON, or lacks what is needed of it.
    """
    path = folder / name
    try:
        return kind.model_validate(json.loads(path.read_bytes()))
    except OSError as exc:
        raise PublishedFileError(f"{path}: cannot be read ({exc.strerror}): {_WHERE}") from exc
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise PublishedFileError(f"{path}: {place + ': ' if place else ''}{first['msg']}: {_WHERE}") from exc
    except ValueError as exc:
        raise PublishedFileError(f"{path}: is not JSON ({exc}): {_WHERE}") from exc


def read_labelled(folder: Path) -> LabelledScores:
    """Read the labelled scores of three networks.

    Raises
    ------
    PublishedFileError
        When the file is absent, damaged, lacks a column, or holds scores outside [0, 1].
    """
    path = folder / LABELLED
    try:
        table = parquet.read_table(path, columns=["label", "split", *NETWORKS, "p_avg"])
    except (OSError, pa.ArrowException) as exc:
        raise PublishedFileError(f"{path}: cannot be read ({str(exc).splitlines()[0]}): {_WHERE}") from exc
    columns: dict[str, Any] = {name: table[name].to_numpy() for name in table.column_names}
    scores = {name: columns[name].astype(np.float64) for name in (*NETWORKS, "p_avg")}
    for name, values in scores.items():
        if not ((values >= 0) & (values <= 1)).all():
            raise PublishedFileError(f"{path}: {name} holds values outside [0, 1]: {_WHERE}")
    if not np.isin(columns["label"], (0, 1)).all():
        raise PublishedFileError(f"{path}: label holds values other than 0 and 1: {_WHERE}")
    mean_of_two = scores.pop("p_avg")
    return LabelledScores(columns["label"].astype(np.int64), columns["split"].astype(np.str_), scores, mean_of_two)


_WHERE = "give the folder of real data with --data DIR"
