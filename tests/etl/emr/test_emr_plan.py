"""The arithmetic of the runbook."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from db.errors import ConfigError
from db.provenance import CHECKOUT
from etl.emr.commands import app
from etl.emr.errors import EmrError
from etl.emr.plan import RATES, plan_load, read_rates


def test_every_plan_in_the_runbook_is_what_the_command_prints() -> None:
    text = (CHECKOUT / "docs" / "runbook.md").read_text()
    shown = re.findall(r"```console\n\$ stronglens emr (plan .*)\n((?:.*\n)+?)```", text)
    assert len(shown) == 3
    for command, output in shown:
        assert CliRunner().invoke(app, shlex.split(command)).stdout == output, command


def rates_with(folder: Path, **changed: object) -> Path:
    path = folder / "rates.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(RATES.read_text()) | changed))
    return path


def test_the_slowest_of_reading_parsing_and_writing_decides(tmp_path: Path) -> None:
    plain = {"start_s": 0, "n_rows_kept": 1_000_000, "kept_fraction": 0.1, "bytes_per_row": 100, "n_files": 4}
    speeds = {"indexed_rows_per_s": 1e12, "stream_bytes_per_s": 1e12, "parsed_rows_per_s": 1e12}
    fast = plain | speeds | {"copied_rows_per_s": 1e12}
    # 10 million rows of 100 bytes; four files, so four tasks, although there are 8 slots and 16 writers.
    for slow, seconds in (
        ({"stream_bytes_per_s": 1e6}, 250.0),
        ({"parsed_rows_per_s": 1e4}, 250.0),
        ({"copied_rows_per_s": 1e4}, 100.0),
        ({"stream_bytes_per_s": 1e6, "copied_rows_per_s": 1e4, "indexed_rows_per_s": 1e5}, 260.0),
    ):
        made = plan_load("test", 16, read_rates(rates_with(tmp_path, **(fast | slow))))
        assert made.total_s == pytest.approx(seconds, rel=1e-3), slow
        assert made.dollars == pytest.approx(3 * 0.24 * seconds / 3600, rel=1e-3)


def test_a_rate_that_is_missing_or_impossible_and_a_machine_without_a_price_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rates\.yaml: key 'n_files' is 0"):
        read_rates(rates_with(tmp_path, n_files=0))
    rates = read_rates(rates_with(tmp_path, dollars_per_hour={"m5.xlarge": 0.24}))
    with pytest.raises(EmrError, match=r"no price for machine m5\.2xlarge"):
        plan_load("large-xlarge", 16, rates)
    with pytest.raises(EmrError, match="no preset 'huge'; there are test, small"):
        plan_load("huge", 16, rates)
