"""`stronglens evaluate`, `agreement`, `purity`, `discover` and `demo`; others are in the rooms of their stages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from analysis.experiment.commands import crossval, experiment
from analysis.published.commands import app as published


def register(app: typer.Typer) -> None:
    """Add the commands of the analysis."""
    app.command("evaluate")(evaluate)
    app.command("agreement")(agreement)
    app.command("purity")(purity)
    app.add_typer(published, name="published")
    app.command("discover")(discover)
    app.command("crossval")(crossval)
    app.add_typer(experiment, name="experiment")
    app.command("demo")(demo)


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name or number of a scored model.")],
    config: Annotated[Path | None, typer.Option(help="YAML file with targets and bootstrap settings.")] = None,
    test: Annotated[
        str | None, typer.Option(metavar="REASON", help="Read the locked test split too; the reason is put on record.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Evaluate again although nothing changed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows of the views as JSON.")] = False,
) -> None:
    """Choose thresholds on val, count recall and false positives, and print what the views say.

    The test split is read only with --test REASON; what was read of it before is shown again without a new reading.
    """
    import json

    from analysis.evaluation.config import EvaluateConfig
    from analysis.evaluation.stage import evaluate_model
    from analysis.report import read_report, show, wide_console
    from db.config import load_config
    from db.engine import open_engine

    engine = open_engine()
    done = evaluate_model(engine, model, load_config(EvaluateConfig, config), test_reason=test, again=again)
    report = read_report(engine, model)
    if as_json:
        about = {"model": report.model_name, "evaluated_now": done.evaluated, "about_test": done.about_test}
        typer.echo(json.dumps(about | report.rows, indent=2))
    else:
        console = wide_console()
        show(report, console)
        console.print(done.about_test, highlight=False, markup=False)


def agreement(
    models: Annotated[list[str], typer.Argument(metavar="MODEL", help="Names or numbers of evaluated models.")],
    test: Annotated[
        str | None, typer.Option(metavar="REASON", help="Read the locked test split too; the reason is put on record.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Compare again although nothing changed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows of results.model_diversity as JSON.")] = False,
) -> None:
    """Count on which objects models err together, each at its own threshold for one false-positive rate."""
    import json

    from analysis.agreement import compare_models
    from analysis.agreement_report import read_agreement, render_agreement
    from analysis.report import wide_console
    from db.engine import open_engine

    engine = open_engine()
    done = compare_models(engine, models, test_reason=test, again=again)
    rows = read_agreement(engine, done.model_ids)
    if as_json:
        typer.echo(json.dumps({"models": done.model_names, "model_diversity": rows}, indent=2))
    else:
        wide_console().print(render_agreement(rows))


def purity(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name or number of an evaluated model.")],
    prior: Annotated[float, typer.Option(help="Share of galaxies that are lenses; about 1e-4 in the sky.")] = 1e-4,
    galaxies: Annotated[float, typer.Option(help="Galaxies to search, for the numbers of candidates.")] = 1e6,
    cost: Annotated[float, typer.Option(help="Cost of following up one candidate, in any unit.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows of the views as JSON.")] = False,
) -> None:
    """Print what each operating point yields in a survey: purity, candidates, follow-up cost per lens."""
    import json

    from analysis.purity import Search, read_purity, render
    from analysis.report import wide_console
    from db.engine import open_engine

    found = read_purity(open_engine(), model, Search(prior, galaxies, cost))
    if as_json:
        typer.echo(json.dumps({"model": found.model_name, "purity_at": found.rows, "purity": found.by_prior}, indent=2))
    else:
        wide_console().print(render(found))


def discover(
    model: Annotated[str, typer.Option(metavar="MODEL", help="Name or number of a scored model.")],
    fraction: Annotated[
        float | None, typer.Option(help="Fraction of the survey's galaxies to look at [0.0001].")
    ] = None,
    prevalence: Annotated[
        float | None, typer.Option(help="Lenses among the survey's galaxies, for probabilities [0.0001].")
    ] = None,
    test: Annotated[
        str | None, typer.Option(metavar="REASON", help="Read the locked test split too; the reason is put on record.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all candidates to this CSV file.")] = None,
    show: Annotated[int, typer.Option(min=0, help="Candidates to print.")] = 20,
) -> None:
    """List galaxies in the survey's top fraction by score that lie near no known lens, as new candidates.

    The quantile is that of the survey: objects that the model was not taught count for as many galaxies as they stand
    for. Known lenses are matched anew. A second run replaces the candidates of the first.
    """
    from analysis.discover import DiscoverConfig, discover
    from analysis.discovery.report import candidates_table, read_discoveries, write_csv
    from analysis.report import wide_console
    from db.config import load_config
    from db.engine import open_engine

    engine = open_engine()
    config = load_config(DiscoverConfig, None, fraction=fraction, prevalence=prevalence)
    summary = discover(engine, model, config, test_reason=test)
    with engine.connect() as connection:
        rows = read_discoveries(connection, summary.model_id)
    for line in summary.lines():
        typer.echo(line)
    if rows and show:
        wide_console().print(candidates_table(rows, show))
    if csv is not None:
        write_csv(csv, rows)
        typer.echo(f"{len(rows):,} candidates in {csv}")


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
