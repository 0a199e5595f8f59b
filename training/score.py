"""The stage `stronglens score`: a model's word on every cutout of its manifest."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from sqlalchemy import Engine, select
from torch import nn

from db.copy import copy_arrow, psycopg_connection
from db.lock import only_one
from db.models import Split
from db.models.sampling import SplitScheme
from db.models.training import Model, Score
from db.provenance import recorded_run
from db.settings import settings
from etl.storage import Store, open_store
from training import registry
from training.checkpoint import Checkpoint
from training.errors import CheckpointError, TrainingError
from training.images import Images
from training.manifest import Manifest, named_manifest, read_manifest
from training.model import build_network, choose_device, logits
from training.preprocess import Preprocessing, preprocess
from training.progress import Progress, silent
from training.source import Source, Wanted, open_source

CHUNK = 2048
"""Cutouts that are read, scored and committed together: 100 MB of pixels, a few seconds of work to repeat."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scorer:
    """A network with the preprocessing that belongs to it."""

    network: nn.Module
    preprocessing: Preprocessing

    def score_pixels(self, pixels: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Scores of raw cutouts in nanomaggies, shape (n, cutout_px, cutout_px, 3); shape (n,), in [0, 1].

        Raises
        ------
        PreprocessingError
            When the cutouts have another shape than the model's.
        """
        return self.score_images(torch.from_numpy(preprocess(pixels, self.preprocessing)))

    def score_images(self, images: Images) -> npt.NDArray[np.float64]:
        """Scores of cutouts that went through the model's preprocessing.

        The sigmoid is taken in double precision, so that the most confident scores stay apart.

        Raises
        ------
        TrainingError
            When the network answers with NaN.
        """
        scores = torch.sigmoid(logits(self.network, images).double()).numpy()
        if not np.isfinite(scores).all():
            raise TrainingError("the model answers NaN: its weights are damaged, train it again")
        return scores


@dataclass(frozen=True)
class ScoreResult:
    """What scoring did."""

    model_id: int
    name: str
    n_scored: int
    n_already: int


def open_scorer(engine: Engine, name_or_id: str | int, *, device: str = "auto") -> Scorer:
    """Load a trained model for scoring pixels that are in no manifest.

    Raises
    ------
    ModelNotFoundError, CheckpointError, PreprocessingError
        When the model cannot be used.
    """
    model = registry.find_model(engine, name_or_id)
    return _scorer(registry.load_checkpoint(model, _store()), device)


def score_model(
    engine: Engine,
    name_or_id: str | int,
    *,
    draw: str | None = None,
    split: Split | None = None,
    preprocessing: Preprocessing | None = None,
    source: Source = "auto",
    progress: Progress = silent,
) -> ScoreResult:
    """Score every cutout of a draw, under a model's split scheme and cutout version, that has no score of it.

    Scores are committed in chunks: after an interruption the next run goes on, and a repetition writes nothing.

    Parameters
    ----------
    draw
        Another draw than the one that the model was trained on, as `stronglens draw mine` looks through; None for that.
    split
        Only this split; None for all.
    preprocessing
        Refused unless it is the model's own; None takes the model's own.
    source
        Where pixels are read from; both places give the same scores.

    Raises
    ------
    ModelNotFoundError, CheckpointError, PreprocessingError
        When the model cannot be used.
    ManifestError, MissingInputError, PackError
        When the cutouts cannot.
    """
    model = registry.find_model(engine, name_or_id)
    if preprocessing is not None:
        registry.refuse_other_preprocessing(model, preprocessing)
    store = _store()
    manifest = _manifest(engine, model, draw)
    wanted = manifest if split is None else manifest.part(split)
    with only_one(engine, f"scores of model {model.name!r}"):
        missing = wanted.rows(~np.isin(wanted.cutout_id, _scored(engine, model)))
        if len(missing):
            scorer = _scorer(registry.load_checkpoint(model, store), "auto")
            missing.require_layout(scorer.preprocessing)
            config = {"model": model.name, "checkpoint_sha256": model.checkpoint_sha256, "draw": draw, "split": split}
            images = open_source(engine, Wanted(manifest, scorer.preprocessing, source), store, progress)
            with recorded_run(engine, command="score", config=config) as run:
                for first in range(0, len(missing), CHUNK):
                    chunk = missing.rows(slice(first, first + CHUNK))
                    scores = scorer.score_images(images.images(chunk, silent))
                    _write(engine, model, run.run_id, chunk, scores)
                    progress(f"scoring with {model.name}", first + len(chunk), len(missing))
    return ScoreResult(model.model_id, model.name, len(missing), len(wanted) - len(missing))


def _manifest(engine: Engine, model: Model, draw: str | None) -> Manifest:
    if draw is not None:
        with engine.connect() as connection:
            scheme = connection.scalar(select(SplitScheme.name).where(SplitScheme.scheme_id == model.scheme_id))
        return named_manifest(engine, draw, str(scheme), model.cutout_version)
    manifest = read_manifest(engine, model.draw_id, model.scheme_id, model.cutout_version)
    if manifest.digest() != model.manifest_sha256:
        _log.warning("the manifest of model %s has changed since it was trained", model.name)
    return manifest


def _scorer(checkpoint: Checkpoint, device: str) -> Scorer:
    network = build_network(checkpoint.architecture)
    try:
        network.load_state_dict(checkpoint.state)
    except (RuntimeError, TypeError) as exc:
        raise CheckpointError(
            f"checkpoint of {checkpoint.name!r}: its weights do not fit a {checkpoint.architecture}: train it again"
        ) from exc
    return Scorer(network.to(choose_device(device)).eval(), checkpoint.preprocessing)


def _store() -> Store:
    environment = settings()
    return open_store(environment.store, environment.s3_endpoint_url)


def _scored(engine: Engine, model: Model) -> npt.NDArray[np.int64]:
    with engine.connect() as connection:
        found = connection.scalars(select(Score.cutout_id).where(Score.model_id == model.model_id)).all()
    return np.array(found, dtype=np.int64)


def _write(engine: Engine, model: Model, run_id: int, chunk: Manifest, scores: npt.NDArray[np.float64]) -> None:
    rows = pa.table(
        {
            "model_id": pa.array(np.full(len(chunk), model.model_id), pa.int32()),
            "cutout_id": pa.array(chunk.cutout_id),
            "score": pa.array(scores),
            "run_id": pa.array(np.full(len(chunk), run_id), pa.int64()),
        }
    )
    with engine.begin() as connection:
        copy_arrow(psycopg_connection(connection), "training.score", rows)
