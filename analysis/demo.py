"""The whole path on the mock sky, one stage after the other: what `stronglens demo` runs.

Every stage is the one that its own command runs; nothing is passed between them but rows and files. A stage that fails
leaves the earlier ones as they are, and the next run goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import Engine

from analysis.demo_results import Shown, show_results
from analysis.evaluation.config import EvaluateConfig
from analysis.evaluation.stage import evaluate_model
from db.config import StageConfig, load_config
from db.settings import CHECKOUT, settings
from etl.cutouts.make import StoreAddress
from training.config import TrainConfig

RECIPES = CHECKOUT / "training" / "configs"


class DemoConfig(StageConfig):
    """Names and recipes of the demo; the sky, the draw and the splits take their defaults."""

    sky: Path | None = None
    """Folder of the mock sky; None: `mock` in STRONGLENS_HOME."""
    sky_config: Path | None = None
    draw: str = "default"
    scheme: str = "default"
    cutout_version: str = "v1"
    recipe: Path = RECIPES / "demo.yaml"
    control_epochs: int = 2
    """Epochs of the control, the same recipe trained on shuffled labels."""


@dataclass(frozen=True)
class _Stage:
    """How a stage shows its progress and what it says at its end."""

    console: Console
    title: str

    @contextmanager
    def running(self) -> Iterator[Callable[..., None]]:
        """Show a bar while the stage runs; what is yielded takes (done, total) or (task, done, total)."""
        columns = (TextColumn(f"{self.title:<16}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
        is_watched = self.console.is_terminal
        with Progress(
            *columns, TimeElapsedColumn(), console=self.console, transient=True, disable=not is_watched
        ) as bars:
            bar = bars.add_task("", total=None)

            def report(*step: Any) -> None:
                *names, done, total = step
                bars.update(bar, description=names[0] if names else "", completed=done, total=total)

            yield report


def run_demo(engine: Engine, config: DemoConfig, console: Console) -> None:
    """Run every stage and print what the database then says.

    Raises
    ------
    StronglensError
        As the stages do.
    """
    steps: list[tuple[str, Callable[[Engine, DemoConfig, Callable[..., None]], str]]] = [
        ("catalogs", _catalogs),
        ("mock sky", _sky),
        ("sweeps", _sweeps),
        ("match", _match),
        ("draw", _draw),
        ("splits", _splits),
        ("cutouts", _cutouts),
        ("validation", _validation),
        ("pack", _pack),
        ("training", _training),
        ("control", _control),
        ("scores", _scores),
        ("evaluation", _evaluation),
    ]
    for title, stage in steps:
        started = time.monotonic()
        with _Stage(console, title).running() as report:
            said = stage(engine, config, report)
        console.print(f"[bold]{title:<12}[/] {time.monotonic() - started:6.1f} s  {said}", highlight=False)
    model, control = _model_names(config)
    show_results(engine, Shown(model, control, _sky_folder(config)), console)


def _catalogs(engine: Engine, _config: DemoConfig, _report: Callable[..., None]) -> str:
    from etl.catalogs.load import load_lenscat

    done = load_lenscat(engine)
    return (
        f"{done.n_ledger_rows:,} catalog rows, {done.n_tier_a + done.n_tier_b:,} positives = "
        f"{done.n_tier_a:,} A + {done.n_tier_b:,} B"
    )


def _sky_folder(config: DemoConfig) -> Path:
    return config.sky or settings().home / "mock"


def _sky(engine: Engine, config: DemoConfig, report: Callable[..., None]) -> str:
    from etl.mock.config import SkyConfig
    from etl.mock.stage import make_sky

    sky = make_sky(engine, _sky_folder(config), load_config(SkyConfig, config.sky_config), report)
    return f"{sky.n_patches:,} patches, {sky.n_tier_a:,} A + {sky.n_tier_b:,} B candidates, {sky.n_rows:,} sources"


def _sweeps(engine: Engine, config: DemoConfig, report: Callable[..., None]) -> str:
    from etl.errors import SweepFileError
    from etl.sweeps.config import SweepLoadConfig
    from etl.sweeps.load import LoadOptions, load_sweeps
    from etl.sweeps.source import find_sources

    sources = find_sources([str(_sky_folder(config) / "sweep")], settings().s3_endpoint_url)
    done = load_sweeps(engine, sources, SweepLoadConfig(), LoadOptions(on_progress=report))
    refused = done.with_status("refused")
    if refused:
        raise SweepFileError(f"{refused[0].name}: {refused[0].reason} ({len(refused)} files refused)")
    return f"{len(done.with_status('loaded')):,} files loaded, {len(done.with_status('skipped')):,} were there"


def _match(engine: Engine, _config: DemoConfig, _report: Callable[..., None]) -> str:
    from etl.match import MatchConfig, match_lenses

    mock = next(done for done in match_lenses(engine, MatchConfig()) if done.survey == "mock")
    return f"{mock.n_positives_matched:,} positives matched, {mock.n_neighbours:,} galaxies near a known lens"


def _draw(engine: Engine, config: DemoConfig, _report: Callable[..., None]) -> str:
    from etl.draw.rules import DrawConfig
    from etl.draw.stage import draw_negatives

    done = draw_negatives(engine, DrawConfig(name=config.draw, survey="mock"))
    drawn = ", ".join(f"{n:,} {pool}" for pool, n in sorted(done.n_by_pool.items()))
    return f"{drawn}; {done.news}" if done.news else drawn


def _splits(engine: Engine, config: DemoConfig, _report: Callable[..., None]) -> str:
    from etl.splits import SplitConfig, assign_splits

    done = assign_splits(engine, SplitConfig(name=config.scheme))
    members = ", ".join(f"{split} {done.members.get(split, 0):,}" for split in ("train", "val", "test"))
    return f"{members}; {done.n_guard_drops:,} left out by the guard, {done.n_leaks} leaks"


def _address() -> StoreAddress:
    return StoreAddress(settings().store, settings().s3_endpoint_url)


def _cutouts(engine: Engine, config: DemoConfig, report: Callable[..., None]) -> str:
    from etl.cutouts.config import CutoutConfig
    from etl.cutouts.make import make_cutouts
    from etl.errors import CoaddError

    stage = CutoutConfig(draw=config.draw, coadds=str(_sky_folder(config)), version=config.cutout_version)
    done = make_cutouts(engine, stage, _address(), report)
    if done.failed:
        raise CoaddError(f"{done.failed[0]} ({len(done.failed)} bricks failed)")
    made = ", ".join(f"{n:,} {status}" for status, n in done.n_by_status.items())
    return f"{done.n_targets:,} members, {done.n_present:,} had theirs; made now: {made}"


def _validation(engine: Engine, config: DemoConfig, report: Callable[..., None]) -> str:
    from etl.validation.validate import ValidationConfig, validate_cutouts

    stage = ValidationConfig(draw=config.draw, version=config.cutout_version)
    done = validate_cutouts(engine, stage, _address(), report)
    failed = [gate.rule for gate in done.gates if not gate.is_passed]
    return f"{done.verdict}" + (f": {', '.join(failed)} (see results.shortcut_audit)" if failed else "")


def _pack(engine: Engine, config: DemoConfig, report: Callable[..., None]) -> str:
    from training.packs.write import PackConfig, write_pack

    rules = _recipe(config).preprocessing
    stage = PackConfig(
        draw=config.draw,
        scheme=config.scheme,
        cutout_version=config.cutout_version,
        crop_px=rules.crop_px,
        dtype=rules.pixel_dtype,
    )
    done = write_pack(engine, stage, report)
    size = f"{done.n_cutouts:,} cutouts in {done.n_shards} shards, {done.n_bytes / 1e6:,.0f} MB"
    return f"{size}; {done.n_written} written now"


def _recipe(config: DemoConfig) -> TrainConfig:
    return load_config(TrainConfig, config.recipe, draw=config.draw, scheme=config.scheme)


def _control_recipe(config: DemoConfig) -> TrainConfig:
    """The same recipe, shorter, on labels that say nothing."""
    overrides = {"name": f"{_recipe(config).name}-shuffled", "shuffle_labels": True, "epochs": config.control_epochs}
    return load_config(TrainConfig, config.recipe, draw=config.draw, scheme=config.scheme, **overrides)


def _train(engine: Engine, recipe: TrainConfig, report: Callable[..., None]) -> str:
    from training.train import train_model

    done = train_model(engine, recipe, report)
    if done.was_there:
        return f"model {done.name} was there, best epoch {done.best_epoch}"
    best = next(epoch for epoch in done.epochs if epoch.epoch == done.best_epoch)
    n_images = sum(epoch.n_images for epoch in done.epochs)
    return f"model {done.name}: {n_images:,} image-steps, best epoch {best.epoch}, val AUC {best.val_auc:.3f}"


def _training(engine: Engine, config: DemoConfig, report: Callable[..., None]) -> str:
    return _train(engine, _recipe(config), report)


def _control(engine: Engine, config: DemoConfig, report: Callable[..., None]) -> str:
    return _train(engine, _control_recipe(config), report)


def _model_names(config: DemoConfig) -> tuple[str, str]:
    return _recipe(config).name, _control_recipe(config).name


def _scores(engine: Engine, config: DemoConfig, report: Callable[..., None]) -> str:
    from training.score import score_model

    done = [score_model(engine, name, progress=report) for name in _model_names(config)]
    return f"{sum(part.n_scored for part in done):,} written, {sum(part.n_already for part in done):,} were there"


def _evaluation(engine: Engine, config: DemoConfig, _report: Callable[..., None]) -> str:
    done = [evaluate_model(engine, name, EvaluateConfig(), test_reason="demo") for name in _model_names(config)]
    return ", ".join(f"{part.model_name} {'evaluated' if part.was_evaluated else 'was evaluated'}" for part in done)
