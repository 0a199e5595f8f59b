"""`stronglens emr`: launch jobs on a cluster, follow them, end them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from etl.emr.cluster import ClusterState

app = typer.Typer(help="Stages on an EMR cluster (see docs/runbook.md).", no_args_is_help=True)

Region = Annotated[str, typer.Option(help="Region of the cluster.")]
ClusterId = Annotated[str, typer.Argument(metavar="CLUSTER", help="Id of the cluster, j-...")]
REGION = "us-east-2"


def register(root: typer.Typer) -> None:
    """Add `emr` to the command line."""
    root.add_typer(app, name="emr")


@app.command(context_settings={"ignore_unknown_options": True})
def launch(
    preset: Annotated[str, typer.Option(help="Size: test, small, medium, large, large-xlarge, or one of --config.")],
    job: Annotated[str, typer.Argument(metavar="JOB", help="sweeps, cutouts or validate.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PLACE]...", help="s3:// files, folders or globs, and options of the job."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file: bucket, subnet, security groups, database.")] = None,
    job_config: Annotated[Path | None, typer.Option(help="YAML file with the job's own settings.")] = None,
    bucket: Annotated[str | None, typer.Option(help="s3://bucket/prefix for code and logs.")] = None,
    subnet: Annotated[str | None, typer.Option(help="Subnet of the cluster.")] = None,
    region: Annotated[str | None, typer.Option(help=f"Region of cluster and bucket [{REGION}].")] = None,
    release: Annotated[str | None, typer.Option(help="Release of EMR [emr-7.13.0].")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the whole request, and touch nothing.")] = False,
) -> None:
    """Start a cluster that runs one job and ends; options of `sweeps load` may follow the job."""
    import json

    from rich.console import Console

    from db.engine import open_engine
    from etl.emr.config import load_emr_config
    from etl.emr.launch import launch_cluster, prepare
    from etl.emr.preflight import problems
    from etl.emr.request import job_flow

    settings = load_emr_config(config, bucket=bucket, subnet_id=subnet, region=region, release=release)
    prepared = prepare(settings, preset, job, words or [], job_config)
    if dry_run:
        typer.echo(json.dumps(job_flow(prepared), indent=2))
        return
    console = Console(stderr=True)
    with console.status("checking credentials, bucket, network and quota"):
        found = problems(prepared)
    for line in found:
        typer.echo(f"preflight: {line}", err=True)
    if found:
        raise typer.Exit(1)
    engine = open_engine()  # the preflight has seen that it is the cluster's
    with console.status("uploading the code, asking for the cluster"):
        cluster_id = launch_cluster(engine, prepared)
    engine.dispose()
    typer.echo(f"{cluster_id}: {job} with preset {preset} in {settings.region}, code {prepared.code.sha256}")
    typer.echo(f"follow it with: stronglens emr wait {cluster_id} --region {settings.region}")


@app.command()
def plan(
    preset: Annotated[str, typer.Option(help="Size of the cluster.")],
    max_writers: Annotated[int, typer.Option(help="As in `sweeps load`.", min=1)] = 16,
    rates: Annotated[Path | None, typer.Option(help="YAML file with rates and prices [etl/emr/rates.yaml].")] = None,
) -> None:
    """Reckon time and cost of loading the whole survey, showing the arithmetic; asks nobody."""
    from etl.emr.plan import plan_load, read_rates

    for line in plan_load(preset, max_writers, read_rates(rates)).lines:
        typer.echo(line)


@app.command()
def status(cluster: ClusterId, region: Region = REGION) -> None:
    """Print the state of a cluster and of its steps."""
    from etl.emr.cluster import cluster_state

    _print_state(cluster_state(cluster, region))


@app.command()
def wait(
    cluster: ClusterId,
    region: Region = REGION,
    every: Annotated[float, typer.Option(help="Seconds between two questions.", min=0.05)] = 30.0,
) -> None:
    """Wait until the steps have ended; exits 1, with the reason and the log's last lines, when one failed."""
    from rich.console import Console

    from etl.emr.cluster import wait_for_end
    from etl.emr.logs import last_words

    console = Console(stderr=True)
    seen: list[str] = []
    with console.status(f"{cluster}: asking") as shown:

        def tell(now: ClusterState) -> None:
            line = f"{cluster}: {now.state}" + "".join(f", {step.name} {step.state}" for step in now.steps)
            shown.update(f"{line} (every {every:g} s)")
            if [line] != seen[-1:]:
                seen.append(line)
                console.print(line, highlight=False)

        end = wait_for_end(cluster, region, every, tell)
    _print_state(end)
    if end.is_success:
        return
    if end.failed_step is not None:
        for line in last_words(end, end.failed_step.step_id, region):
            typer.echo(f"  {line}", err=True)
    raise typer.Exit(1)


@app.command()
def logs(
    cluster: ClusterId,
    step: Annotated[str | None, typer.Option(help="Id of the step [the last].")] = None,
    stream: Annotated[str, typer.Option(help="stdout (the job), stderr (Spark) or controller.")] = "stdout",
    region: Region = REGION,
) -> None:
    """Print what a step wrote."""
    from typing import get_args

    from etl.emr.cluster import cluster_state
    from etl.emr.errors import EmrError
    from etl.emr.logs import Stream, step_log

    wanted = next((one for one in get_args(Stream) if one == stream), None)
    if wanted is None:
        raise EmrError(f"--stream {stream}: expected {', '.join(get_args(Stream))}")
    state = cluster_state(cluster, region)
    known = [one.step_id for one in state.steps]
    if not known or (step is not None and step not in known):
        raise EmrError(f"cluster {cluster} has no step {step or 'yet'}; it has: {', '.join(known) or 'none'}")
    typer.echo(step_log(state, step or known[-1], wanted, region), nl=False)


@app.command()
def terminate(cluster: ClusterId, region: Region = REGION) -> None:
    """End a cluster now; what it has loaded stays, a file in the middle of loading rolls back."""
    from etl.emr.cluster import terminate as end

    end(cluster, region)
    typer.echo(f"{cluster}: asked to terminate")


@app.command("list")
def list_clusters(
    region: Region = REGION,
    days: Annotated[int, typer.Option(help="How far back.", min=1)] = 7,
) -> None:
    """List the clusters that this tool launched."""
    from etl.emr.cluster import our_clusters

    found = our_clusters(region, days)
    if not found:
        typer.echo(f"no cluster of the last {days} days in {region}")
    for one in found:
        created = one["Status"]["Timeline"]["CreationDateTime"]
        typer.echo(f"{one['Id']}  {created:%Y-%m-%d %H:%M}  {one['Status']['State']:22}  {one['Name']}")


def _print_state(state: ClusterState) -> None:
    typer.echo(f"{state.cluster_id}  {state.name}  {state.state}" + (f": {state.reason}" if state.reason else ""))
    for step in state.steps:
        typer.echo(f"  {step.step_id}  {step.name}  {step.state}" + (f": {step.reason}" if step.reason else ""))
