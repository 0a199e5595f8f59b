"""The stage `stronglens score`: a model's word on the cutouts of its manifest, or on those beside it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Engine, select

from db.lock import only_one
from db.models import Split
from db.models.sampling import SplitScheme
from db.models.training import Model
from db.provenance import recorded_run
from db.settings import settings
from etl.cutouts.held_out import is_list_current, list_held_out
from etl.storage import Store, open_store
from training import registry
from training.errors import TrainingError
from training.images import Images
from training.manifest import Manifest, named_manifest, read_manifest
from training.preprocess import Preprocessing
from training.progress import Progress, silent
from training.scoring.beside import beside_draw
from training.scoring.scorer import Scorer, scorer_of
from training.scoring.write import Answers, read_written, write_answers
from training.source import Source, Wanted, open_source

__all__ = ["Cutouts", "ScoreResult", "Scorer", "open_scorer", "score_model"]

CHUNK = 2048
"""Cutouts that are read, scored and committed together: 100 MB of pixels, a few seconds of work to repeat."""

CHUNK_ON_GPU = 32_768
"""The same where a GPU scores: 1.6 GB, less than a second of work."""

Cutouts = Literal["draw", "pool", "held_out"]
"""What to score: a draw's manifest, all that lies beside the model's draw, or the held-out lenses among that."""

_log = logging.getLogger(__name__)


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
    TrainingError
        When it is an ensemble.
    """
    model = _network_model(engine, name_or_id)
    return scorer_of(registry.load_checkpoint(model, _store()), device)


def score_model(
    engine: Engine,
    name_or_id: str | int,
    *,
    draw: str | None = None,
    split: Split | None = None,
    cutouts: Cutouts = "draw",
    with_embeddings: bool = False,
    preprocessing: Preprocessing | None = None,
    source: Source = "auto",
    progress: Progress = silent,
) -> ScoreResult:
    """Score those cutouts, of the model's version, that have no score of it.

    Scores are committed in chunks: after an interruption the next run goes on, and a repetition writes nothing.

    Parameters
    ----------
    draw
        Another draw than the one that the model was trained on, as `stronglens draw mine` looks through; None for that.
    split
        Only this split of the model's scheme; None for all.
    cutouts
        Whether to score a draw, or what lies beside that of the model: then `draw` is None.
    with_embeddings
        Keep the network's penultimate activations too; a cutout that has a score but lacks these gets them.
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
    TrainingError
        When the model is an ensemble, or another draw and cutouts beside the model's are asked for at once.
    """
    if draw is not None and cutouts != "draw":
        raise TrainingError(f"draw {draw!r}: cutouts beside the model's own draw are asked for, so name no other draw")
    model = _network_model(engine, name_or_id)
    if preprocessing is not None:
        registry.refuse_other_preprocessing(model, preprocessing)
    config = {"model": model.name, "checkpoint_sha256": model.checkpoint_sha256, "draw": draw, "split": split}
    if cutouts != "draw":
        config["cutouts"] = cutouts
    if with_embeddings:
        config["embeddings"] = "penultimate"
    with only_one(engine, f"scores of model {model.name!r}"):
        if cutouts != "draw":
            _update_held_out(engine, model, config)
        manifest = _manifest(engine, model, draw, cutouts)
        wanted = manifest if split is None else manifest.part(split)
        there = read_written(engine, model.model_id)
        missing = wanted.rows(there.lacking(wanted.cutout_id, embeddings=with_embeddings))
        if len(missing):
            store = _store()
            scorer = scorer_of(registry.load_checkpoint(model, store), "auto")
            missing.require_layout(scorer.preprocessing)
            images = open_source(engine, Wanted(manifest, scorer.preprocessing, source), store, progress)
            n_rows = CHUNK if scorer.device.type == "cpu" else CHUNK_ON_GPU
            with recorded_run(engine, command="score", config=config) as run:
                for first in range(0, len(missing), n_rows):
                    chunk = missing.rows(slice(first, first + n_rows))
                    pixels = images.images(chunk, silent, scorer.device)
                    answers = _answers(scorer, chunk, pixels, with_embeddings=with_embeddings)
                    write_answers(engine, model.model_id, run.run_id, answers, there)
                    progress(f"scoring with {model.name}", first + len(chunk), len(missing))
    return ScoreResult(model.model_id, model.name, len(missing), len(wanted) - len(missing))


def _network_model(engine: Engine, name_or_id: str | int) -> Model:
    model = registry.find_model(engine, name_or_id)
    if model.kind == "ensemble":
        raise TrainingError(
            f"model {model.name!r} is an ensemble, which has no network of its own: score its members, then run "
            "`stronglens ensemble make` again"
        )
    return model


def _update_held_out(engine: Engine, model: Model, config: dict[str, str | None]) -> None:
    """Say anew which lenses the model's draw holds out, where that has changed."""
    with engine.connect() as connection:
        if is_list_current(connection, model.draw_id):
            return
    with recorded_run(engine, command="score", config=config) as run, engine.begin() as connection:
        list_held_out(connection, model.draw_id, run.run_id)


def _answers(scorer: Scorer, chunk: Manifest, pixels: Images, *, with_embeddings: bool) -> Answers:
    if with_embeddings:
        return Answers(chunk.cutout_id, *scorer.score_and_embed(pixels))
    return Answers(chunk.cutout_id, scorer.score_images(pixels), None)


def _manifest(engine: Engine, model: Model, draw: str | None, cutouts: Cutouts) -> Manifest:
    if cutouts != "draw":
        return beside_draw(engine, model, only_held_out=cutouts == "held_out")
    if draw is not None:
        with engine.connect() as connection:
            scheme = connection.scalar(select(SplitScheme.name).where(SplitScheme.scheme_id == model.scheme_id))
        return named_manifest(engine, draw, str(scheme), model.cutout_version)
    manifest = read_manifest(engine, model.draw_id, model.scheme_id, model.cutout_version)
    if manifest.digest() != model.manifest_sha256:
        _log.warning("the manifest of model %s has changed since it was trained", model.name)
    return manifest


def _store() -> Store:
    environment = settings()
    return open_store(environment.store, environment.s3_endpoint_url)
