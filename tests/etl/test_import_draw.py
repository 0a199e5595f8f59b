"""Earlier draws brought in: the members of a draw survive a round trip, and what is not so is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError

from db.engine import connectable
from db.errors import MissingInputError
from etl.draw.rules import DrawConfig
from etl.draw.stage import draw_negatives
from etl.imports.draw import DrawImportConfig, import_draw
from etl.imports.errors import ManifestError
from etl.imports.pool import PoolImportConfig, import_pool
from etl.match import MatchConfig, match_lenses
from etl.splits import SplitConfig, assign_splits
from tests.builders import insert_lenses
from tests.conftest import RunCli
from tests.etl.test_import_pool import keys_of, table
from tests.manifests import WORDS, make_manifest

STRICT = DrawImportConfig(name="earlier")
LENIENT = DrawImportConfig(name="earlier", accept_differences=True)
RULES = DrawConfig(name="here", negatives_per_positive=20, mag_z_max=22)
N_LENSES = 14

MEMBERS = (
    "SELECT m.label, m.pool, m.lens_id, m.tier, m.ls_id, s.nobs_z_bin, s.type, m.category, m.inclusion_probability, "
    "m.weight, m.ra, m.dec, m.healpix_128 FROM sampling.draw_member m JOIN sampling.draw d USING (draw_id) "
    "LEFT JOIN sampling.stratum s USING (stratum_id) WHERE d.name = '{}' ORDER BY m.label, m.ls_id, m.lens_id"
)


@pytest.fixture(scope="module")
def pool(shared_data: Path) -> pd.DataFrame:
    manifest = make_manifest(shared_data, 1500, seed=12)
    return manifest.assign(nobs_g=np.int16(3), nobs_r=np.int16(3), ls_id=keys_of(manifest))


def fill(engine: Engine, pool: pd.DataFrame, folder: Path) -> None:
    """A pool, lenses on its first galaxies, and their match."""
    path = folder / "pool.parquet"
    pool.drop(columns="ls_id").to_parquet(path, index=False)
    import_pool(engine, path, PoolImportConfig())
    with engine.begin() as connection:
        insert_lenses(connection, pool.ra[:N_LENSES], pool.dec[:N_LENSES], ["A", "B"] * (N_LENSES // 2))
    match_lenses(engine, MatchConfig())


@pytest.fixture
def filled(engine: Engine, pool: pd.DataFrame, tmp_path: Path) -> Engine:
    fill(engine, pool, tmp_path)
    return engine


@pytest.fixture
def drawn(filled: Engine, pool: pd.DataFrame) -> pd.DataFrame:
    """The manifest of a draw that was made here, in the words of an earlier one."""
    draw_negatives(filled, RULES)
    members = table(filled, MEMBERS.format("here"))
    columns = ["galaxy_id", "ra", "dec", "type", "nobs_z", "flux_r", "psfsize_r", "healpix_128", "split", "ls_id"]
    frame = members.drop(columns=["ra", "dec", "healpix_128", "type"]).merge(pool[columns], on="ls_id")
    frame["type_bin"] = members.merge(pool[["ls_id"]], on="ls_id").type.fillna("OTHER")
    frame["nobs_z_bin"] = frame.nobs_z_bin.fillna("UNK").where(frame.label == 0)
    frame["pool"] = frame.pool.replace({"positive": "POS"})
    frame["confuser_category"] = frame.category.map(WORDS | {None: "none"})
    return frame.drop(columns=["ls_id", "lens_id", "category", "weight"])


def write(folder: Path, frame: pd.DataFrame, name: str = "draw.parquet") -> list[Path]:
    path = folder / name
    frame.to_parquet(path, index=False)
    return [path]


def test_a_draw_survives_the_way_out_and_into_an_empty_database(
    filled: Engine,
    drawn: pd.DataFrame,
    pool: pd.DataFrame,
    tmp_path: Path,
    template_database: str,
    new_database: Callable[[str], URL],
) -> None:
    before = table(filled, MEMBERS.format("here"))
    assert set(before.pool) == {"positive", "N1", "N2"}
    assert "EXP" in set(drawn.type[drawn.pool == "N2"])
    other = connectable(new_database(template_database))
    fill(other, pool, tmp_path)
    half = len(drawn) // 2
    paths = write(tmp_path, drawn[half:], "a.parquet") + write(tmp_path, drawn[:half], "b.parquet")
    result = import_draw(other, paths, STRICT)
    assert result.differences.n_different == 0
    compared = set(result.differences.columns)
    assert compared >= {
        "split",
        "healpix_128",
        "nobs_z_bin",
        "type_bin",
        "category",
        "matched positives",
        "tier",
    }
    assert "flux_r (catalog)" in compared
    assert result.differences.columns["category"].n_compared == (drawn.pool == "N2").sum()
    assert result.is_probability_known
    pd.testing.assert_frame_equal(table(other, MEMBERS.format("earlier")), before)
    strata = "SELECT nobs_z_bin, type, n_positives, n_drawn_n1, n_drawn_n2 FROM results.strata ORDER BY 1, 2"
    pd.testing.assert_frame_equal(table(other, strata), table(filled, strata))
    unknown = table(other, "SELECT n_eligible_n1, n_target_n2, shortfall_n1 FROM results.strata")
    assert unknown.isna().all(axis=None)
    draw = table(other, "SELECT * FROM sampling.draw").iloc[0]
    assert (draw.is_imported, draw.seed, draw.key_rule) == (True, None, None)
    assert draw.differences["split"][1] == 0
    assert not import_draw(other, paths, STRICT).is_new
    assert assign_splits(other, SplitConfig()).n_leaks == 0
    other.dispose()


def test_a_draw_that_does_not_say_how_likely_it_was_has_no_probabilities(
    filled: Engine, drawn: pd.DataFrame, tmp_path: Path
) -> None:
    negatives = drawn[drawn.label == 0].drop(columns=["inclusion_probability", "label"])
    result = import_draw(filled, write(tmp_path, negatives), STRICT)
    assert not result.is_probability_known
    probability = table(filled, MEMBERS.format("earlier")).inclusion_probability
    assert probability.isna().all()
    assert table(filled, "SELECT draw_name, n_positives FROM results.draws").n_positives.tolist() == [N_LENSES] * 2
    with filled.connect() as connection, pytest.raises(IntegrityError, match="has no inclusion probability"):
        _forget_probability(connection, "here")


def _forget_probability(connection: Connection, draw: str) -> None:
    statement = (
        "UPDATE sampling.draw_member SET inclusion_probability = NULL "
        "WHERE draw_id = (SELECT draw_id FROM sampling.draw WHERE name = :draw)"
    )
    connection.execute(text(statement), {"draw": draw})


def test_differences_are_named_and_accepted_only_on_request(
    filled: Engine, drawn: pd.DataFrame, pool: pd.DataFrame, tmp_path: Path
) -> None:
    frame = drawn.reset_index(drop=True)
    n1 = frame.index[(frame.pool == "N1") & (frame.type != "EXP")]
    n2 = frame.index[frame.confuser_category == "ring_proxy"]
    frame.loc[n1[:3], "split"] = frame.split[n1[:3]].map({"train": "val", "val": "test", "test": "train"})
    frame.loc[n1[3], "nobs_z_bin"] = "other"
    frame.loc[n1[4], "dec"] += 1 / 3600
    frame.loc[n2[0], "confuser_category"] = "blue_clumpy"
    frame = frame.drop(index=frame.index[frame.label == 1][0])
    with filled.begin() as connection:
        near = pool.set_index("galaxy_id").loc[frame.galaxy_id[n1[5]]]
        insert_lenses(connection, near.ra + 8 / 3600, near.dec, [None])
    paths = write(tmp_path, frame)
    with pytest.raises(MissingInputError, match="run `stronglens match` first"):
        import_draw(filled, paths, STRICT)
    match_lenses(filled, MatchConfig())
    with pytest.raises(ManifestError, match=r"split of 3 of .*known lens near by of 1 of .*--accept-differences"):
        import_draw(filled, paths, STRICT)
    assert table(filled, "SELECT name FROM sampling.draw").name.tolist() == ["here"]
    result = import_draw(filled, paths, LENIENT)
    different = {name: found.n_different for name, found in result.differences.columns.items() if found.n_different}
    assert different == {
        "split": 3,
        "nobs_z_bin": 1,
        "position (arcsec from the catalog's)": 1,
        "category": 1,
        "known lens near by": 1,
        "matched positives": 1,
    }
    assert result.n_left_out == 1
    ours = table(filled, MEMBERS.format("here"))
    theirs = table(filled, MEMBERS.format("earlier"))
    left_out = pool.set_index("galaxy_id").ls_id[frame.galaxy_id[n1[5]]]
    expected = ours[ours.ls_id != left_out].reset_index(drop=True)
    changed = pool.set_index("galaxy_id").ls_id[frame.galaxy_id[n2[0]]]
    assert theirs.category[theirs.ls_id == changed].tolist() == ["blue_clumpy"]
    same = theirs.ls_id != changed
    pd.testing.assert_frame_equal(theirs[same], expected[expected.ls_id != changed])


def test_a_draw_is_refused_when_its_name_is_taken(filled: Engine, drawn: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="draw here exists, drawn here: choose another --name"):
        import_draw(filled, write(tmp_path, drawn), DrawImportConfig(name="here"))
    import_draw(filled, write(tmp_path, drawn), STRICT)
    with pytest.raises(ManifestError, match="draw earlier exists, imported from other files"):
        import_draw(filled, write(tmp_path, drawn.iloc[1:]), STRICT)
    with pytest.raises(ManifestError, match="split scheme other does not exist"):
        import_draw(filled, write(tmp_path, drawn), DrawImportConfig(name="third", scheme="other"))


def test_members_that_cannot_be_are_refused_each_with_its_reason(
    filled: Engine, drawn: pd.DataFrame, tmp_path: Path
) -> None:
    frame = drawn.sort_values("label").reset_index(drop=True)
    n1, n2 = frame.index[frame.pool == "N1"][0], frame.index[frame.pool == "N2"][0]
    exp = frame.index[frame.type == "EXP"][0]
    bad: list[tuple[int, dict[str, object], str]] = [
        (n1, {"pool": "N3"}, "its pool is none of N1, N2, POS: 1"),
        (n1, {"pool": "POS"}, "label and pool say different things: 1"),
        (n1, {"label": 1}, "label and pool say different things: 1"),
        (n2, {"confuser_category": "merger"}, "N2 with a category that is none of ring, .*: 1"),
        (n2, {"confuser_category": None}, "N2 with a category that is none of ring, .*: 1"),
        (n1, {"confuser_category": "large"}, "N1 with a category: 1"),
        (n1, {"inclusion_probability": 0.0}, r"inclusion_probability is not in \(0, 1\]: 1"),
        (n1, {"inclusion_probability": np.nan}, r"inclusion_probability is not in \(0, 1\]: 1"),
        (exp, {"pool": "N1", "confuser_category": None}, "an EXP galaxy is no N1: 1"),
        (exp, {"type_bin": "OTHER"}, "its type_bin does not say which stratum an EXP galaxy stands in: 1"),
        (n1, {"ra": 400.0}, r"ra is not in \[0, 360\): 1"),
        (n1, {"galaxy_id": "0001m041_7"}, "no brick has that name: 1"),
        (n1, dict(frame.loc[n2, ["galaxy_id", "ra", "dec"]]), "its key repeats: 1"),
    ]
    for row, values, reason in bad:
        spoiled = frame.copy()
        for column, value in values.items():
            spoiled.loc[row, column] = value
        with pytest.raises(ManifestError, match=rf"1 row of {len(frame)} cannot be taken: {reason} \(row"):
            import_draw(filled, write(tmp_path, spoiled), LENIENT)
    free = set(range(60_000)) - set(frame.galaxy_id.str.partition("_")[2].astype(int))
    spoiled = frame.assign(galaxy_id=frame.galaxy_id.where(frame.index != n1, f"{frame.galaxy_id[n1][:8]}_{min(free)}"))
    with pytest.raises(ManifestError, match=r"1 of its negatives are not in catalog\.galaxy .*pool import"):
        import_draw(filled, write(tmp_path, spoiled), LENIENT)
    with pytest.raises(ManifestError, match="has no negatives"):
        import_draw(filled, write(tmp_path, frame.head(0).astype(frame.dtypes)), LENIENT)
    with pytest.raises(ManifestError, match="has no column pool, category"):
        import_draw(filled, write(tmp_path, frame.drop(columns=["pool", "confuser_category"])), LENIENT)
    assert table(filled, "SELECT name FROM sampling.draw").name.tolist() == ["here"]


def test_the_command_reports_what_it_took(filled: Engine, drawn: pd.DataFrame, tmp_path: Path, run_cli: RunCli) -> None:
    folder = tmp_path / "sampled"
    folder.mkdir()
    write(folder, drawn.assign(cutout_path="x.npz"))
    done = run_cli("draw", "import", str(folder), "--name", "earlier")
    assert done.returncode == 0, done.stderr
    counts = drawn.pool.value_counts()
    assert f"draw earlier: {counts.N1} N1, {counts.N2} N2, {N_LENSES} positive; 0 negatives left out" in done.stdout
    assert "columns not used: cutout_path" in done.stdout
    done = run_cli("draw", "import", str(folder), "--name", "here")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "draw here exists, drawn here" in done.stderr
