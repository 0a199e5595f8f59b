"""Every run leaves its row, however it ends."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import Engine, text

from db.config import StageConfig
from db.provenance import canonical_config, code_sha256, git_commit, recorded_run


class Rules(StageConfig):
    seed: int = 42
    shares: tuple[float, ...] = (0.7, 0.15)


def rows(engine: Engine) -> list[dict[str, object]]:
    with engine.connect() as connection:
        return [
            dict(row) for row in connection.execute(text("SELECT * FROM provenance.run ORDER BY run_id")).mappings()
        ]


def test_a_run_that_ends_well_has_its_end_and_its_code(engine: Engine) -> None:
    with recorded_run(engine, command="draw", config=Rules()) as run:
        (during,) = rows(engine)
        assert (during["status"], during["finished_at"]) == ("running", None)
    (row,) = rows(engine)
    assert row["run_id"] == run.run_id
    assert (row["status"], row["error"], row["command"]) == ("succeeded", None, "draw")
    assert row["finished_at"] > row["started_at"]
    assert row["code_sha256"] == code_sha256()
    assert row["git_commit"] == git_commit()
    assert re.fullmatch(r"[0-9a-f]{64}", str(row["code_sha256"]))


@pytest.mark.parametrize("error", [RuntimeError("it broke\nhere"), KeyboardInterrupt()])
def test_a_run_that_fails_keeps_its_reason_in_one_line_and_the_error_goes_on(
    engine: Engine, error: BaseException
) -> None:
    with pytest.raises(type(error)), recorded_run(engine, command="draw", config=Rules()):
        raise error
    (row,) = rows(engine)
    assert row["status"] == "failed"
    assert row["error"] == (" ".join(str(error).split()) or "KeyboardInterrupt")


def test_the_same_configuration_is_kept_once_whatever_the_order_of_its_keys(engine: Engine) -> None:
    for config in (Rules(), {"shares": [0.7, 0.15], "seed": 42}):
        with recorded_run(engine, command="draw", config=config):
            pass
    with engine.connect() as connection:
        bodies = connection.scalars(text("SELECT body FROM provenance.config")).all()
    assert bodies == [{"seed": 42, "shares": [0.7, 0.15]}]


def test_another_value_is_another_configuration() -> None:
    assert canonical_config(Rules())[0] != canonical_config(Rules(seed=43))[0]


def test_a_configuration_with_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_config({"x": float("nan")})
