"""`python -m tests.bench.pool`: measure, print the table, write the JSON, exit 1 when a limit was missed."""

from __future__ import annotations

import datetime as dt
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from sqlalchemy import Engine

from db.embedded import EmbeddedServer
from db.errors import DbError
from db.provenance import code_sha256, git_commit
from db.settings import CHECKOUT
from etl.errors import EtlError
from etl.sweeps.spark import find_java
from tests.bench import report
from tests.bench.limits import Measure
from tests.bench.machine import machine
from tests.bench.pool.bench_server import DiskWatch, NotEnoughError, bench_server, pool_engine
from tests.bench.pool.full_scale import measure_scale
from tests.bench.pool.jdbc import find_driver
from tests.bench.pool.machine import server_settings, table_sizes, versions
from tests.bench.pool.order import measure_order
from tests.bench.pool.rates import Sizes, measure_rates, warm_session
from tests.bench.pool.searches import measure_searches

PARTS = ("ratios", "scale", "search", "order")
FOLDER = CHECKOUT / "build" / "bench"
_TMPFS = Path("/dev/shm")  # noqa: S108 - memory, so that input costs the disk nothing
_INPUT_BYTES = 6 << 30

Part = Callable[[], dict[str, Any]]


def main(
    rows: Annotated[
        int, typer.Option(help="Galaxies of the full-scale part; the survey has 114,000,000.")
    ] = 10_000_000,
    only: Annotated[str, typer.Option(help=f"Parts to run, comma-separated: {', '.join(PARTS)}.")] = ",".join(PARTS),
    keep: Annotated[
        bool, typer.Option(help="Keep the loaded server, so that search and order can be run again.")
    ] = False,
) -> None:
    """Measure the pool. Needs a machine that does nothing else."""
    wanted = [part.strip() for part in only.split(",")]
    if unknown := [part for part in wanted if part not in PARTS]:
        raise typer.BadParameter(f"{', '.join(unknown)}: expected some of {', '.join(PARTS)}")
    out = Console()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # clean up when killed politely, too
    target = FOLDER / f"pool-{rows}.json"
    try:
        find_java()
        if "ratios" in wanted:
            find_driver()
        body = _run(rows, wanted, target, out, keep=keep)
    except (NotEnoughError, DbError, EtlError) as exc:
        out.print(f"[red]{exc}[/red]")
        raise typer.Exit(1) from exc
    report.show(body, out)
    out.print(f"written: {target} and {target.with_suffix('.md').name}")
    if missed := report.missed(body):
        out.print(f"[red]limits missed: {'; '.join(missed)}[/red]")
        raise typer.Exit(1)


def _run(rows: int, wanted: list[str], target: Path, out: Console, *, keep: bool) -> dict[str, Any]:
    home = FOLDER / f"home-{rows}"
    home.mkdir(parents=True, exist_ok=True)
    with (
        _input_folder() as folder,
        bench_server(home, 0 if wanted == ["ratios"] else rows, keep=keep) as server,
        DiskWatch(server.places.root, folder) as watch,
    ):
        with pool_engine(server) as engine:
            body = report.load(target) | {
                "title": f"The pool at {rows:,} rows",
                "rows": rows,
                "commit": git_commit(),
                "code_sha256": code_sha256(),
                "started_at": _now(),
                "machine": machine(home) | {"input_folder": str(folder)},
                "versions": versions(engine),
                "settings": server_settings(engine),
            }
            body.setdefault("parts", {})
        for name in PARTS:
            if name in wanted:
                out.rule(name)
                database = "rates" if name == "ratios" else "pool"
                with pool_engine(server, database) as engine:
                    part = _part(name, rows, server, engine, folder, watch, out)
                    body["parts"][name] = part | {"bytes": table_sizes(engine)}
                report.save(target, body)
    return body


def _part(
    name: str, rows: int, server: EmbeddedServer, engine: Engine, folder: Path, watch: DiskWatch, out: Console
) -> dict[str, Any]:
    started_at, start = _now(), time.perf_counter()
    more: dict[str, Any] = {}
    if name == "ratios":
        measures = measure_rates(server, engine, folder, Sizes(), out)
    elif name == "scale":
        with warm_session(engine, folder, out) as (session, started):
            measures, more = measure_scale(engine, session, rows, folder, watch, out)
        measures = [started, *measures]
    elif name == "search":
        measures, more["plans"] = measure_searches(engine, rows, out)
    else:
        measures = measure_order(server, engine, rows, out)
    _empty_folder(folder)
    seconds = time.perf_counter() - start
    rows_ = [measure.as_dict() for measure in [*measures, Measure("this part took", seconds, "s")]]
    return {"started_at": started_at, "commit": git_commit(), "seconds": seconds, "measures": rows_} | more


@contextmanager
def _input_folder() -> Iterator[Path]:
    """A folder for sweep files: in memory where there is room for them, else on disk."""
    has_room = _TMPFS.is_dir() and shutil.disk_usage(_TMPFS).free > _INPUT_BYTES
    with tempfile.TemporaryDirectory(prefix="stronglens-bench-", dir=_TMPFS if has_room else FOLDER) as folder:
        yield Path(folder)


def _empty_folder(folder: Path) -> None:
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    typer.run(main)
