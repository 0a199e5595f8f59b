"""Time and cost of a load on a cluster, with the arithmetic shown; every rate is a line of `rates.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from db.config import StageConfig, load_config
from etl.emr.config import load_sizes
from etl.emr.errors import EmrError

RATES = Path(__file__).parent / "rates.yaml"


class Rates(StageConfig):
    """Measured and assumed rates; dollars are US dollars an hour of one machine, EC2 and EMR together."""

    n_files: int = Field(gt=0)
    n_rows_kept: int = Field(gt=0)
    kept_fraction: float = Field(gt=0, le=1)
    bytes_per_row: int = Field(gt=0)
    parsed_rows_per_s: float = Field(gt=0)
    copied_rows_per_s: float = Field(gt=0)
    indexed_rows_per_s: float = Field(gt=0)
    stream_bytes_per_s: float = Field(gt=0)
    start_s: float = Field(ge=0)
    dollars_per_hour: dict[str, float]


@dataclass(frozen=True)
class Plan:
    """Seconds and dollars of a load, and the lines that lead to them."""

    total_s: float
    dollars: float
    lines: tuple[str, ...]


def read_rates(path: Path | None = None) -> Rates:
    """Read the rates that are shipped, or a file of one's own.

    Raises
    ------
    ConfigError
        When a rate is missing or impossible.
    """
    return load_config(Rates, path or RATES)


def plan_load(preset_name: str, max_writers: int, rates: Rates) -> Plan:
    """Reckon a load of the whole survey.

    Files are read, parsed and written at the same time, so the slowest of the three decides.

    Raises
    ------
    EmrError
        When there is no such preset, or no price for its machine.
    """
    sizes = load_sizes()
    preset = sizes.preset(preset_name)
    for name in (preset.machine, preset.primary_machine):
        if name not in rates.dollars_per_hour:
            raise EmrError(f"no price for machine {name}: add it to dollars_per_hour")
    n_slots = sizes.n_slots(preset)
    n_tasks = min(n_slots, max_writers, rates.n_files)
    n_rows = rates.n_rows_kept / rates.kept_fraction
    n_bytes = n_rows * rates.bytes_per_row
    read_s = n_bytes / (n_tasks * rates.stream_bytes_per_s)
    parse_s = n_rows / (n_tasks * rates.parsed_rows_per_s)
    copy_s = rates.n_rows_kept / rates.copied_rows_per_s
    load_s = max(read_s, parse_s, copy_s)
    index_s = rates.n_rows_kept / rates.indexed_rows_per_s
    total_s = rates.start_s + load_s + index_s
    prices = rates.dollars_per_hour
    hourly = preset.workers * prices[preset.machine] + prices[preset.primary_machine]
    dollars = total_s / 3600 * hourly
    kept, terabytes, stream = f"{rates.n_rows_kept:,}", f"{n_bytes / 1e12:.2f} TB", rates.stream_bytes_per_s / 1e6
    steps = {
        "rows scanned": f"{kept} kept / {rates.kept_fraction} = {n_rows:,.0f} in {rates.n_files:,} files",
        "bytes scanned": f"{n_rows:,.0f} rows x {rates.bytes_per_row} = {terabytes}",
        "tasks at once": f"min({n_slots} slots, {max_writers} writers, {rates.n_files:,} files) = {n_tasks}",
        "read": f"{terabytes} / ({n_tasks} x {stream:.0f} MB/s) = {_minutes(read_s)}",
        "parse": f"{n_rows:,.0f} rows / ({n_tasks} x {rates.parsed_rows_per_s:,.0f} rows/s) = {_minutes(parse_s)}",
        "write": f"{kept} rows / {rates.copied_rows_per_s:,.0f} rows/s = {_minutes(copy_s)}",
        "load": f"the slowest of the three = {_minutes(load_s)}",
        "index": f"{kept} rows / {rates.indexed_rows_per_s:,.0f} rows/s = {_minutes(index_s)}",
        "time": f"{_minutes(rates.start_s)} start + load + index = {_minutes(total_s)}",
        "cluster": f"{preset.workers} x {preset.machine} + {preset.primary_machine} = ${hourly:.2f} an hour",
        "cost": f"{_minutes(total_s)} x ${hourly:.2f} an hour = ${dollars:.2f}",
    }
    lines = tuple(f"{name:15}{arithmetic}" for name, arithmetic in steps.items())
    return Plan(total_s, dollars, lines)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min"
