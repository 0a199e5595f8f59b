"""Earlier pools brought in: every row checked, everything derivable derived again, nothing half-written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pydantic import ValidationError
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from db import migrate
from etl import bricks
from etl.draw.rules import ConfuserRules, DrawConfig
from etl.imports.derived import category_of
from etl.imports.errors import ManifestError
from etl.imports.manifest import find_manifests
from etl.imports.pool import PoolImportConfig, import_pool
from tests.builders import insert_galaxies
from tests.conftest import RunCli
from tests.manifests import derive, make_manifest

STRICT = PoolImportConfig()
LENIENT = PoolImportConfig(accept_differences=True)

Write = Callable[..., Path]


@pytest.fixture
def manifest(shared_data: Path) -> pd.DataFrame:
    return make_manifest(shared_data, 400)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a manifest, under a name of its own."""

    def to_parquet(frame: pd.DataFrame, name: str = "pool.parquet") -> Path:
        path = tmp_path / name
        frame.to_parquet(path, index=False)
        return path

    return to_parquet


def table(engine: Engine, statement: str) -> pd.DataFrame:
    with engine.connect() as connection:
        rows = connection.execute(text(statement))
        return pd.DataFrame(rows.all(), columns=list(rows.keys()))


def keys_of(frame: pd.DataFrame, release: int = 10_000) -> np.ndarray:
    """Keys by plain arithmetic, the brick found by position."""
    numbers = bricks.brick_of(frame.ra, frame.dec)
    return np.array([release * 2**40 + int(n) * 2**16 + int(o) for n, o in zip(numbers, frame.objid, strict=True)])


def test_a_pool_comes_in_with_all_its_columns(engine: Engine, manifest: pd.DataFrame, write: Write) -> None:
    path = write(manifest)
    result = import_pool(engine, path, STRICT)
    assert (result.status, result.n_rows, result.n_new) == ("loaded", 400, 400)
    assert result.differences.n_different == 0
    assert set(result.differences.columns) == {"healpix_128", "nobs_z_bin", "type_bin", "split", "pool", "category"}
    assert result.ignored == ("healpix_64", "sweep_file", "row_index", "pipeline_version")
    assert "nobs_g" in result.absent

    frame = manifest.assign(ls_id=keys_of(manifest)).sort_values("ls_id").reset_index(drop=True)
    found = table(engine, "SELECT * FROM catalog.galaxy ORDER BY ls_id")
    assert found.ls_id.tolist() == frame.ls_id.tolist()
    same = {name: name for name in ("ra", "dec", "type", "nobs_z", "flux_g", "flux_r", "flux_z", "flux_w1", "maskbits")}
    same |= {
        "psfsize_r": "psf_fwhm_r_arcsec",
        "ebv": "ebv_mag",
        "shape_r": "shape_r_arcsec",
        "psfdepth_z": "psfdepth_z",
    }
    for theirs, ours in (same | {"healpix_128": "healpix_128", "sersic": "sersic", "galdepth_g": "galdepth_g"}).items():
        assert np.array_equal(found[ours].astype(frame[theirs].dtype), frame[theirs]), theirs
    assert found.is_imported.all()
    assert found[["nobs_g", "nobs_r", "flux_i", "flux_ivar_r"]].isna().all(axis=None)
    named = table(engine, "SELECT brickname FROM catalog.brick")
    assert set(named.brickname) == set(manifest.brickname)
    entry = table(engine, "SELECT * FROM catalog.sweep_file").iloc[0]
    assert (entry.kind, entry.status, entry.n_read, entry.n_kept, entry.n_not_selected) == (
        "import",
        "loaded",
        400,
        400,
        0,
    )
    assert entry.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert entry.differences["split"] == [400, 0]


def test_the_same_file_again_changes_nothing_and_another_under_its_name_is_refused(
    engine: Engine, manifest: pd.DataFrame, write: Write
) -> None:
    import_pool(engine, write(manifest), STRICT)
    before = table(engine, "SELECT xmin::text, * FROM catalog.galaxy ORDER BY ls_id")
    assert import_pool(engine, write(manifest), STRICT).status == "skipped"
    with pytest.raises(ManifestError, match="another file of this name was imported"):
        import_pool(engine, write(manifest.head(300)), STRICT)
    pd.testing.assert_frame_equal(table(engine, "SELECT xmin::text, * FROM catalog.galaxy ORDER BY ls_id"), before)


def test_files_that_share_galaxies_bring_each_in_once(engine: Engine, manifest: pd.DataFrame, write: Write) -> None:
    import_pool(engine, write(manifest.iloc[:250], "a.parquet"), STRICT)
    result = import_pool(engine, write(manifest.iloc[150:], "b.parquet"), STRICT)
    assert (result.n_rows, result.n_new) == (250, 150)
    assert result.differences.columns["flux_r (catalog)"].n_compared == 100
    assert result.differences.n_different == 0
    assert set(table(engine, "SELECT ls_id FROM catalog.galaxy").ls_id) == set(keys_of(manifest))


def test_a_galaxy_of_a_sweep_is_compared_and_never_overwritten(
    engine: Engine, manifest: pd.DataFrame, write: Write
) -> None:
    known = manifest.iloc[:50]
    with engine.begin() as connection:
        columns = {name: known[name].to_numpy() for name in ("type", "flux_g", "flux_r", "flux_z")}
        columns |= {"nobs_z": known.nobs_z.to_numpy(np.int16), "ls_id": keys_of(known)}
        columns |= {name: known[name].to_numpy() for name in ("flux_w1", "shape_e1", "shape_e2", "sersic")}
        insert_galaxies(connection, known.ra, known.dec, **columns)
    changed = manifest.copy()
    changed.loc[3, "flux_r"] *= 1.001
    changed.loc[4, "dec"] += 0.6 / 3600
    changed.loc[5, "dec"] += 0.4 / 3600
    changed = derive(changed)[["galaxy_id", "ra", "dec", "type", "nobs_z", "flux_g", "flux_r", "flux_z"]]
    path = write(changed)
    with pytest.raises(ManifestError, match=r"position .* of 1 of 50 rows .*; flux_r \(catalog\) of 1 of 50 rows"):
        import_pool(engine, path, STRICT)
    assert len(table(engine, "SELECT FROM catalog.galaxy")) == 50
    before = table(engine, "SELECT * FROM catalog.galaxy ORDER BY ls_id")
    result = import_pool(engine, path, LENIENT)
    assert (result.n_new, result.differences.n_different) == (350, 2)
    after = table(engine, "SELECT * FROM catalog.galaxy WHERE NOT is_imported ORDER BY ls_id")
    pd.testing.assert_frame_equal(after, before)
    stored = table(engine, "SELECT differences FROM catalog.sweep_file WHERE kind = 'import'").differences[0]
    assert stored["flux_r (catalog)"] == [50, 1]
    assert stored["type (catalog)"] == [50, 0]


def test_derived_columns_that_differ_are_named_and_ours_are_stored(
    engine: Engine, manifest: pd.DataFrame, write: Write
) -> None:
    changed = manifest.copy()
    cells = changed.healpix_128.to_numpy().copy()
    changed.loc[:6, "healpix_128"] += 1
    changed.loc[7, "nobs_z_bin"] = "invalid"
    changed["split"] = changed.split.replace({"val": "test", "test": "val"})
    changed.loc[9, "confuser_category"] = "merger"
    n_swapped = int((manifest.split != "train").sum())
    with pytest.raises(ManifestError, match=rf"split of {n_swapped} of 400 rows .*--accept-differences"):
        import_pool(engine, write(changed), STRICT)
    assert table(engine, "SELECT FROM catalog.galaxy").empty
    assert table(engine, "SELECT FROM catalog.sweep_file").empty
    assert table(engine, "SELECT error FROM provenance.run").error[0].count("\n") == 0
    found = import_pool(engine, write(changed), LENIENT).differences
    assert {name: item.n_different for name, item in found.columns.items()} == {
        "healpix_128": 7,
        "nobs_z_bin": 1,
        "type_bin": 0,
        "split": n_swapped,
        "pool": 0,
        "category": 1,
    }
    assert found.columns["category"].examples == [
        f"{manifest.galaxy_id[9]}: merger in the file, {_ours(manifest.confuser_category[9])} here"
    ]
    stored = table(engine, "SELECT ls_id, healpix_128 FROM catalog.galaxy").set_index("ls_id").healpix_128
    assert stored.loc[keys_of(manifest)].tolist() == cells.tolist()


def _ours(word: str | None) -> str:
    return "nothing" if word is None else word.removesuffix("_proxy").removesuffix("_galaxy")


BAD_ROWS: list[tuple[str, Any, str]] = [
    ("galaxy_id", "0001m04_17", "its key is not brickname_objid: 1"),
    ("galaxy_id", None, "its key is not brickname_objid: 1"),
    ("galaxy_id", "0001m041_17", "no brick has that name: 1"),
    ("galaxy_id", "{brick}_70000", "objid does not fit 16 bits: 1"),
    ("galaxy_id", "{other}", "its key repeats: 1"),
    ("objid", 65_000, "objid is not that of galaxy_id: 1"),
    ("brickname", "0001m040", "brickname is not that of galaxy_id: 1"),
    ("ra", 360.0, r"ra is not in \[0, 360\): 1"),
    ("ra", np.nan, r"ra is not in \[0, 360\): 1"),
    ("dec", 91.0, r"dec is not in \[-90, 90\]: 1"),
    ("dec", np.inf, r"dec is not in \[-90, 90\]: 1"),
    ("dec", "+0.3", "its position is outside its brick: 1"),
    ("type", "PSF", "type is none of SER, DEV, REX, EXP: 1"),
    ("flux_r", np.nan, "flux_r is missing: 1"),
    ("flux_z", np.inf, "flux_z is infinite: 1"),
    ("psfsize_g", -np.inf, "psf_fwhm_g_arcsec is infinite: 1"),
    ("nobs_z", -1, "nobs_z is negative: 1"),
]


def test_a_bad_row_refuses_the_file_even_where_differences_are_accepted(
    engine: Engine, manifest: pd.DataFrame, write: Write
) -> None:
    for column, value, reason in BAD_ROWS:
        path = write(_with_bad_row(manifest.head(40).copy(), column, value))
        with pytest.raises(ManifestError, match=rf"pool.parquet: 1 row of 40 cannot be taken: {reason} \(row 7 \("):
            import_pool(engine, path, LENIENT)
    assert table(engine, "SELECT FROM catalog.galaxy").empty
    assert table(engine, "SELECT FROM catalog.sweep_file").empty
    failed = table(engine, "SELECT error FROM provenance.run WHERE status = 'failed'")
    assert len(failed) == len(BAD_ROWS)
    assert not failed.error.str.contains("\n").any()


def _with_bad_row(frame: pd.DataFrame, column: str, value: Any) -> pd.DataFrame:
    """Spoil row 7; a position goes along with a key that is another row's."""
    if value == "+0.3":
        value = frame.dec[7] + 0.3
    elif isinstance(value, str):
        value = value.format(brick=frame.brickname[7], other=frame.galaxy_id[3])
    if value == frame.galaxy_id[3]:
        frame.loc[7, ["ra", "dec"]] = frame.loc[3, ["ra", "dec"]].to_numpy()
    if column == "galaxy_id":
        frame = frame.drop(columns=["brickname", "objid"])
    frame.loc[7, column] = value
    return frame


BAD_FILES: list[tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = [
    (lambda f: f.drop(columns=["flux_g", "dec"]), "has no column dec, flux_g"),
    (lambda f: f.drop(columns=["galaxy_id", "objid"]), r"has no column galaxy_id \(or brickname and objid\)"),
    (lambda f: f.assign(flux_r=f.flux_r.astype(str)), "column flux_r is of type .*string, expected float"),
    (lambda f: f.assign(galaxy_id=f.objid), "column galaxy_id is of type int32, expected string"),
    (lambda f: f.assign(nobs_z=f.nobs_z + 0.5), "column nobs_z does not fit int16"),
    (lambda f: f.assign(nobs_z=np.int64(2) ** 40), "column nobs_z does not fit int16"),
    (lambda f: f.assign(psf_fwhm_g_arcsec=1.0), "columns psfsize_g and psf_fwhm_g_arcsec are both psf_fwhm_g_arcsec"),
]


def test_a_file_with_other_columns_is_refused(engine: Engine, manifest: pd.DataFrame, write: Write) -> None:
    for change, reason in BAD_FILES:
        with pytest.raises(ManifestError, match=reason):
            import_pool(engine, write(change(manifest)), LENIENT)
    assert table(engine, "SELECT FROM catalog.galaxy").empty


@pytest.mark.parametrize("release", [9012, 9990, 11_000])
def test_only_galaxies_of_dr10_are_imported(release: int) -> None:
    with pytest.raises(ValidationError, match="release"):
        PoolImportConfig(release=release)


def test_what_is_not_parquet_is_refused_and_what_is_not_there_too(
    engine: Engine, manifest: pd.DataFrame, write: Write, tmp_path: Path
) -> None:
    path = write(manifest)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ManifestError, match=r"pool\.parquet: cannot be read as Parquet"):
        import_pool(engine, path, STRICT)
    for place in (tmp_path / "none.parquet", tmp_path / "folder"):
        (tmp_path / "folder").mkdir(exist_ok=True)
        with pytest.raises(ManifestError, match="no Parquet file there"):
            find_manifests([place])


def test_a_pool_without_optional_columns_comes_in_and_only_its_galaxies_may_lack_them(
    engine: Engine, manifest: pd.DataFrame, write: Write
) -> None:
    bare = manifest[["brickname", "objid", "ra", "dec", "type", "nobs_z", "flux_g", "flux_r", "flux_z", "psfsize_r"]]
    bare = bare.assign(psfsize_r=np.where(np.arange(400) < 10, np.nan, bare.psfsize_r), flux_z=-1.0)
    result = import_pool(engine, write(bare.rename(columns=str.upper)), PoolImportConfig(release=10_001))
    assert (result.n_new, result.differences.columns) == (400, {})
    found = table(engine, "SELECT * FROM catalog.galaxy")
    assert set(found.ls_id) == set(keys_of(bare, 10_001))
    assert found.psf_fwhm_r_arcsec.isna().sum() == 10
    with engine.connect() as connection, pytest.raises(IntegrityError, match="complete_unless_imported"):
        connection.execute(text("UPDATE catalog.galaxy SET is_imported = false"))


def test_an_empty_manifest_comes_in_and_brings_nothing(engine: Engine, manifest: pd.DataFrame, write: Write) -> None:
    result = import_pool(engine, write(manifest.head(0).astype(manifest.dtypes)), STRICT)
    assert (result.status, result.n_rows, result.n_new) == ("loaded", 0, 0)


def test_categories_are_those_of_the_draw(engine: Engine, shared_data: Path, write: Write) -> None:
    manifest = make_manifest(shared_data, 3000, seed=8)
    blue = np.arange(3000) % 5 == 0
    manifest = derive(manifest.assign(flux_g=manifest.flux_g.where(~blue, manifest.flux_r * np.float32(0.8))))
    import_pool(engine, write(manifest), STRICT)
    statement = text(
        "SELECT ls_id, (ARRAY['', 'ring', 'edge_on', 'large', 'blue_clumpy'])[1 + sampling.confuser_code(ascii(type), "
        "flux_g, flux_r, sersic, shape_r_arcsec, shape_e1 ^ 2 + shape_e2 ^ 2, :ring_sersic_min, :ring_flux_r_min, "
        ":edge_on_ellipticity_min, :edge_on_shape_r_min_arcsec, :large_shape_r_min_arcsec, :large_flux_r_min, "
        ":blue_flux_ratio_min, :blue_flux_r_min)] FROM catalog.galaxy"
    )
    parameters = DrawConfig().sql_parameters()
    with engine.connect() as connection:
        wanted = {name: parameters[name] for name in statement.compile().params}
        in_sql = dict(tuple(row) for row in connection.execute(statement, wanted))
    batch = pa.RecordBatch.from_pandas(manifest.rename(columns={"shape_r": "shape_r_arcsec"}), preserve_index=False)
    ours = category_of(batch, ConfuserRules())
    assert set(ours) == {"", "ring", "edge_on", "large", "blue_clumpy"}
    assert [in_sql[key] for key in keys_of(manifest).tolist()] == ours.tolist()


def test_the_command_takes_folders_and_reports_each_file(
    engine: Engine, manifest: pd.DataFrame, write: Write, tmp_path: Path, run_cli: RunCli
) -> None:
    write(manifest.iloc[:200], "part-0.parquet")
    write(manifest.iloc[200:].assign(split="train"), "part-1.parquet")
    done = run_cli("pool", "import", str(tmp_path))
    assert done.returncode == 1
    assert "part-0.parquet: 200 galaxies, 200 new, 0 in the catalog before" in done.stdout
    assert "part-1.parquet: differs from what we derive or have in split of " in done.stderr
    assert "Traceback" not in done.stderr
    done = run_cli("pool", "import", str(tmp_path), "--accept-differences")
    assert done.returncode == 0, done.stderr
    assert "part-0.parquet: imported before, nothing to do" in done.stdout
    assert "part-1.parquet: 200 galaxies, 200 new" in done.stdout
    assert "columns not used: healpix_64, sweep_file, row_index, pipeline_version" in done.stdout
    assert len(table(engine, "SELECT FROM catalog.galaxy")) == 400


def test_an_upgrade_that_was_interrupted_while_it_validated_goes_through_again(engine: Engine) -> None:
    migrate.downgrade(engine, "0013")
    with engine.begin() as connection:
        connection.execute(text("UPDATE public.alembic_version SET version_num = '0012'"))
        connection.execute(text("ALTER TABLE catalog.galaxy DROP CONSTRAINT ck_galaxy_complete_unless_imported"))
    migrate.upgrade(engine)
    assert migrate.current(engine) == migrate.head()
    rule = "SELECT convalidated FROM pg_constraint WHERE conname = 'ck_galaxy_complete_unless_imported'"
    assert table(engine, rule).convalidated.tolist() == [True]


def test_a_pool_that_was_imported_keeps_the_schema_from_going_back(
    engine: Engine, manifest: pd.DataFrame, write: Write
) -> None:
    import_pool(engine, write(manifest), STRICT)
    with pytest.raises(Exception, match="no place for imported pools and draws"):
        migrate.downgrade(engine, "0012")
    assert len(table(engine, "SELECT FROM catalog.galaxy")) == 400
