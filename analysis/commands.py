"""`stronglens evaluate` and `stronglens demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of the analysis."""
    app.command("evaluate")(evaluate)
    app.command("demo")(demo)


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name or number of a scored model.")],
    config: Annotated[Path | None, typer.Option(help="YAML file with targets and bootstrap settings.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Read the test split again although nothing changed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows of the views as JSON.")] = False,
) -> None:
    """Choose thresholds on val, count recall and false positives, and print what the views say."""
    import json

    from analysis.evaluate import EvaluateConfig, evaluate_model
    from analysis.report import read_report, show, wide_console
    from db.config import load_config
    from db.engine import open_engine

    engine = open_engine()
    evaluate_model(engine, model, load_config(EvaluateConfig, config), again=again)
    report = read_report(engine, model)
    if as_json:
        typer.echo(json.dumps({"model": report.model_name, **report.rows}, indent=2))
    else:
        show(report, wide_console())


def demo(
    config: Annotated[Path | None, typer.Option(help="YAML file with the demo's settings.")] = None,
) -> None:
    """Run the whole path on the mock sky: catalogs, sky, pool, draw, splits, cutouts, training, scores, results."""
    from analysis.demo import DemoConfig, run_demo
    from analysis.report import wide_console
    from db import migrate
    from db.config import load_config
    from db.engine import open_engine

    migrate.upgrade(open_engine(check_schema=False))
    run_demo(open_engine(), load_config(DemoConfig, config), wide_console())
