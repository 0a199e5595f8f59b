"""Cutouts that exist already, taken in: real published pixels, and files with every fault that has a name."""

from __future__ import annotations

import csv
import hashlib
import io
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from moto.server import ThreadedMotoServer
from pyarrow import parquet
from sqlalchemy import Engine, insert, select, text
from typer.testing import CliRunner

from db.config import load_config
from db.errors import ConfigError
from db.models.catalog import Galaxy, LensMatch
from db.models.imaging import Cutout as CutoutRow
from db.models.imaging import CutoutSource, PixelSource
from db.models.sampling import DrawMember
from etl import bricks
from etl.cutouts.commands import app
from etl.cutouts.config import CutoutConfig
from etl.cutouts.files import SHAPE, Cutout, read_cutout, write_cutout
from etl.cutouts.make import StoreAddress, make_cutouts
from etl.cutouts.register.errors import RegisterError
from etl.cutouts.register.stage import RegisterConfig, RegisterSummary, register_cutouts, write_report
from etl.cutouts.targets import DrawRef, load_targets
from etl.distribute import in_processes
from etl.errors import EtlError
from etl.storage import LocalStore, open_store
from tests.builders import ARCSEC, insert_draw, insert_galaxies, insert_lenses
from tests.etl.cutout_service_server import cutout_service
from tests.etl.test_cutout_service import good, insert_members, source

RunCli = Callable[..., subprocess.CompletedProcess[str]]
LAYER = "ls-dr10-south"
BRICK = "0001m040"
RA, DEC = 0.10618843138217926, -3.9557716846466064


def ls_id(galaxy_id: str, release: int = 10_000) -> int:
    brick, objid = galaxy_id.split("_")
    return (release << 40) | (int(bricks.brick_of_name([brick])[0]) << 16) | int(objid)


def a_file(galaxy_id: str = f"{BRICK}_7", seed: int = 1, pixels: np.ndarray | None = None, **meta: Any) -> bytes:
    """A negative's file as the service's users write it; `meta` lays over, None takes a name out."""
    made = np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32) if pixels is None else pixels
    url = f"https://www.legacysurvey.org/viewer/fits-cutout?ra={RA}&dec={DEC}&size=101&layer={LAYER}&bands=grz"
    values: dict[str, Any] = {"galaxy_id": galaxy_id, "ra": RA, "dec": DEC, "cutout_type": "negative", "size": 101}
    values |= {"pixel_scale": 0.262, "timestamp": "2026-02-08T22:13:40", "cutout_url": url, "layer": LAYER}
    values |= {"bands_requested": "grz", "brickname": galaxy_id.partition("_")[0]}
    named = {f"meta_{name}": value for name, value in (values | meta).items() if value is not None}
    out = io.BytesIO()
    np.savez(out, cutout=made, **named)
    return out.getvalue()


def written(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def insert_pool(engine: Engine, ids: list[str], ra: list[float], dec: list[float], **columns: Any) -> list[int]:
    with engine.begin() as connection:
        keys = insert_galaxies(connection, ra, dec, ls_id=np.array([ls_id(name) for name in ids]), **columns)
    return [int(key) for key in keys]


def insert_matched(engine: Engine, ra: float, dec: float, galaxy: int | None) -> int:
    with engine.begin() as connection:
        (lens_id,) = insert_lenses(connection, ra, dec, ["B"])
        if galaxy is not None:
            row = {"lens_id": lens_id, "survey": "dr10", "data_release": 10, "ls_id": galaxy, "separation_arcsec": 0.1}
            connection.execute(insert(LensMatch).values(row))
    return lens_id


def take(engine: Engine, place: Path | str, store: Path | str, **settings: Any) -> RegisterSummary:
    config = RegisterConfig(place=str(place), **({"n_workers": 1} | settings))
    return register_cutouts(engine, config, StoreAddress(str(store)))


def rows(engine: Engine) -> pd.DataFrame:
    with engine.connect() as connection:
        return pd.DataFrame(connection.execute(select(*CutoutRow.__table__.c).order_by(CutoutRow.ra)).mappings().all())


def real_files(shared_data: Path) -> dict[str, bytes]:
    """The published cutouts, said to be of the survey's own layer."""
    files = {}
    for path in sorted((shared_data / "cutouts").glob("*.npz")):
        cutout = read_cutout(path.read_bytes(), path.name)
        url = str(cutout.meta["meta_cutout_url"]).replace("layer=ls-dr10&", f"layer={LAYER}&")
        files[path.name] = write_cutout(
            Cutout(cutout.pixels, {**cutout.meta, "meta_layer": LAYER, "meta_cutout_url": url})
        )
    assert len(files) == 6
    return files


def test_the_published_cutouts_are_of_the_merged_layer_and_only_listed(
    engine: Engine, shared_data: Path, tmp_path: Path
) -> None:
    summary = take(engine, shared_data / "cutouts", tmp_path / "store")
    assert {(odd.kind.value, odd.reason) for odd in summary.not_taken} == {
        ("other layer", "its layer is ls-dr10, expected ls-dr10-south")
    }
    assert len(summary.not_taken) == summary.n_files == 6
    assert rows(engine).empty
    assert not (tmp_path / "store").exists()


def test_real_positives_are_linked_to_the_lenses_of_their_galaxies_and_copied_byte_for_byte(
    engine: Engine, shared_data: Path, tmp_path: Path
) -> None:
    files = real_files(shared_data)
    meta = {name: read_cutout(data).meta for name, data in files.items()}
    ids = [str(one["meta_galaxy_id"]) for one in meta.values()]
    ra, dec = ([float(one[name]) for one in meta.values()] for name in ("meta_ra", "meta_dec"))
    depth = np.arange(1.0, 7.0, dtype=np.float32)
    psf = np.array([1.1, 1.2, 0.0, 1.4, 1.5, 1.6], dtype=np.float32)
    galaxies = insert_pool(
        engine, ids, ra, dec, psfdepth_r=depth, psf_fwhm_g_arcsec=psf, nobs_z=np.arange(4, 10, dtype=np.int16)
    )
    lenses = [insert_matched(engine, r, d + 3 * ARCSEC, g) for r, d, g in zip(ra, dec, galaxies, strict=True)]
    place, store = written(tmp_path / "theirs", files), tmp_path / "store"
    summary = take(engine, place, store)
    assert (summary.n_files, summary.n_present, summary.n_copied, summary.not_taken) == (6, 0, 6, [])
    assert dict(summary.n_by_status) == {"ok": 6}
    made = rows(engine).set_index("lens_id").loc[lenses]
    assert made["ls_id"].isna().all()
    assert made["is_registered"].all()
    assert made["sha256"].tolist() == [hashlib.sha256(data).hexdigest() for data in files.values()]
    assert made["uri"].tolist() == [f"store:cutouts/positives/v1/{name}.npz" for name in ids]
    assert made["n_bytes"].tolist() == [len(data) for data in files.values()]
    assert made["brickname"].tolist() == [name.split("_")[0] for name in ids]
    assert made["ra"].tolist() == ra
    assert made["psfdepth_r"].tolist() == depth.tolist()
    assert made["nexp_z"].tolist() == [4, 5, 6, 7, 8, 9]
    np.testing.assert_allclose(made["psf_fwhm_g_arcsec"].astype(float), np.where(psf > 0, psf, np.nan), rtol=1e-6)
    for column, value in {"conditions_source": "sweep", "layer": LAYER, "source": "service", "version": "v1"}.items():
        assert (made[column] == value).all()
    for name, data in zip(ids, files.values(), strict=True):
        assert (store / "cutouts" / "positives" / "v1" / f"{name}.npz").read_bytes() == data
    with engine.connect() as connection:
        sources = connection.execute(
            select(CutoutRow.lens_id, PixelSource.kind, PixelSource.uri, PixelSource.version)
            .join(CutoutSource, CutoutSource.cutout_id == CutoutRow.cutout_id)
            .join(PixelSource, PixelSource.pixel_source_id == CutoutSource.pixel_source_id)
        ).all()
    assert {tuple(row) for row in sources} == {
        (lens, "service", one["meta_cutout_url"], f"fetched {one['meta_timestamp']}")
        for lens, one in zip(lenses, meta.values(), strict=True)
    }
    again = take(engine, place, store)
    assert (again.n_present, again.n_copied, again.not_taken, dict(again.n_by_status)) == (6, 0, [], {})
    assert len(rows(engine)) == 6


def test_negatives_in_the_store_are_recorded_where_they_are_in_any_folder(engine: Engine, tmp_path: Path) -> None:
    ids = [f"{BRICK}_{number}" for number in (7, 8)]
    galaxies = insert_pool(engine, ids, [RA, RA + 1.4 * ARCSEC], [DEC, DEC])
    holed = np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)
    holed[:2, :, 1] = np.nan
    files = {"a/b/one.npz": a_file(ids[0]), "a/two.npz": a_file(ids[1], pixels=holed)}
    written(tmp_path / "store" / "old", files)
    (tmp_path / "store" / "old" / "notes.txt").write_text("no cutout")
    summary = take(engine, tmp_path / "store" / "old", tmp_path / "store")
    assert (summary.n_files, summary.n_copied, summary.not_taken) == (2, 0, [])
    made = rows(engine).set_index("ls_id").loc[galaxies]
    assert made["uri"].tolist() == ["store:old/a/b/one.npz", "store:old/a/two.npz"]
    assert made["status"].tolist() == ["ok", "partial"]
    assert made["nan_fraction"].tolist() == pytest.approx([0, 2 / 101])
    assert made["lens_id"].isna().all()
    assert {path.name for path in (tmp_path / "store").rglob("*.npz")} == {"one.npz", "two.npz"}
    other = take(engine, tmp_path / "store" / "old", tmp_path / "store", version="v2")
    assert {odd.kind.value for odd in other.not_taken} == {"conflict"}
    assert "is the cutout of another object or version" in other.not_taken[0].reason


def without_centre() -> np.ndarray:
    pixels = np.ones(SHAPE, np.float32)
    pixels[50, 57, 2] = np.nan
    return pixels


ODD: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "other layer": (lambda: a_file(layer="ls-dr10"), "other layer", "its layer is ls-dr10"),
    "layer of the address": (
        lambda: a_file(cutout_url="https://x.org/viewer/fits-cutout?layer=ls-dr9&bands=grz"),
        "other layer",
        "but ls-dr9 was asked for",
    ),
    "shape": (lambda: a_file(pixels=np.ones((64, 64, 3), np.float32)), "unreadable", "(64, 64, 3)"),
    "doubles": (lambda: a_file(pixels=np.ones(SHAPE)), "unreadable", "float64"),
    "pickled": (lambda: a_file(pixels=np.array([{"a": 1}], dtype=object)), "unreadable", "cutout cannot be read"),
    "pickled meta": (lambda: a_file(tier=np.array({"a": 1})), "unreadable", "meta_tier cannot be read"),
    "truncated": (lambda: a_file()[:70_000], "unreadable", "not a readable npz"),
    "empty": (lambda: b"", "unreadable", "not a readable npz"),
    "no layer": (lambda: a_file(layer=None), "unreadable", "lacks meta_layer"),
    "bands": (lambda: a_file(bands_requested="gri"), "layout", "its bands are gri"),
    "bands of the address": (
        lambda: a_file(cutout_url=f"https://x.org/viewer/fits-cutout?layer={LAYER}&bands=rgz"), "layout", "bands rgz",
    ),
    "scale": (lambda: a_file(pixel_scale=0.5), "layout", "a pixel is 0.5 arcsec"),
    "scale in words": (lambda: a_file(pixel_scale="small"), "layout", "meta_pixel_scale is 'small'"),
    "size": (lambda: a_file(size=64), "layout", "meta_size is 64"),
    "no source": (lambda: a_file(cutout_url="somewhere"), "layout", "names neither"),
    "characters that no text of the database holds": (
        lambda: a_file(timestamp="20\x0026"), "layout", "meta_timestamp '20\\x0026' cannot be recorded",
    ),
    "no kind": (lambda: a_file(cutout_type=None), "layout", "meta_cutout_type is None"),
    "no key": (lambda: a_file(galaxy_id="NGC_1", brickname=None), "layout", "expected brickname_objid"),
    "other brick": (lambda: a_file(brickname="0001m060"), "layout", "meta_brickname is 0001m060"),
    "off the sky": (lambda: a_file(ra=360.0), "layout", "is not on the sky"),
    "too few pixels": (
        lambda: a_file(pixels=np.where(np.arange(101)[:, None, None] < 6, np.nan, np.ones(SHAPE)).astype(np.float32)),
        "quality",
        "5.9% of the pixels lack data in g",
    ),
    "a band of zeros": (
        lambda: a_file(pixels=np.ones(SHAPE, np.float32) * np.array([1, 0, 1], np.float32)), "quality",
        "10201 pixels are exactly 0, not NaN",
    ),
    "another grid": (lambda: a_file(pixel_scale=0.26205), "layout", "a pixel is 0.26205 arcsec, expected 0.262"),
    "centre": (lambda: a_file(pixels=without_centre()), "quality", "of the centre lack data in z"),
    "infinite": (lambda: a_file(pixels=np.full(SHAPE, np.inf, np.float32)), "quality", "infinite"),
    "unknown galaxy": (
        lambda: a_file(f"{BRICK}_70"), "no object", f"galaxy {BRICK}_70 is not in the pool (releases 10000)",
    ),
    "objid beyond the key": (lambda: a_file(f"{BRICK}_70000"), "no object", "is not in the pool"),
    "far": (lambda: a_file(dec=DEC + 1.6 * ARCSEC), "far", "lies 1.60 arcsec from galaxy"),
    "no lens": (lambda: a_file(cutout_type="positive"), "no object", f"no lens has the match {BRICK}_7"),
}  # fmt: skip


def test_what_cannot_be_taken_in_is_listed_with_its_reason_and_the_rest_is_taken(
    engine: Engine, tmp_path: Path
) -> None:
    insert_pool(engine, [f"{BRICK}_7", f"{BRICK}_8"], [RA, RA], [DEC, DEC])
    files = {f"{number:02d}.npz": make() for number, (make, _, _) in enumerate(ODD.values())}
    place = written(tmp_path / "theirs", files | {"good.npz": a_file(f"{BRICK}_8"), "a\n.npz": a_file(f"{BRICK}_8")})
    summary = take(engine, place, tmp_path / "store")
    badly_named = summary.not_taken.pop(0)
    assert (badly_named.file, badly_named.kind.value) == ("'a\\n.npz'", "layout")
    assert [odd.file for odd in summary.not_taken] == list(files)
    for odd, (name, (_, kind, words)) in zip(summary.not_taken, ODD.items(), strict=True):
        assert (odd.kind.value, words in odd.reason, "\n" in odd.reason) == (kind, True, False), (name, odd)
    assert len(rows(engine)) == 1
    assert len(list((tmp_path / "store").rglob("*.npz"))) == 1


def test_an_empty_pool_places_nothing(engine: Engine, tmp_path: Path) -> None:
    files = {"one.npz": a_file(), "two.npz": a_file(cutout_type="positive")}
    summary = take(engine, written(tmp_path / "theirs", files), tmp_path / "store")
    assert [(odd.file, odd.kind.value) for odd in summary.not_taken] == [(name, "no object") for name in files]
    assert "(releases none)" in summary.not_taken[0].reason


def test_another_cutout_of_the_same_object_is_a_conflict_and_nothing_is_written_over(
    engine: Engine, tmp_path: Path
) -> None:
    ids = [f"{BRICK}_{number}" for number in (7, 8, 9)]
    insert_pool(engine, ids, [RA] * 3, [DEC] * 3)
    first = written(tmp_path / "first", {"7.npz": a_file(ids[0])})
    assert dict(take(engine, first, tmp_path / "store").n_by_status) == {"ok": 1}
    strange = tmp_path / "store" / "cutouts" / "negatives" / "v1" / f"{ids[1]}.npz"
    strange.write_bytes(b"another")
    same = a_file(ids[2])
    files = {"7.npz": a_file(ids[0], seed=2), "8.npz": a_file(ids[1])}
    files |= {"9.npz": same, "9 again.npz": same, "9 other.npz": a_file(ids[2], seed=5)}
    summary = take(engine, written(tmp_path / "second", files), tmp_path / "store")
    found = {odd.file: (odd.kind.value, odd.reason) for odd in summary.not_taken}
    assert set(found) == {"7.npz", "8.npz", "9 other.npz"}
    assert {kind for kind, _ in found.values()} == {"conflict"}
    assert "v1 of 0001m040_7 is recorded already (another file, SHA-256" in found["7.npz"][1]
    assert "another file lies in the store" in found["8.npz"][1]
    assert "of the same object" in found["9 other.npz"][1]
    assert (summary.n_present, dict(summary.n_by_status)) == (1, {"ok": 1})
    assert strange.read_bytes() == b"another"
    made = rows(engine)
    assert sorted(made["sha256"]) == sorted(hashlib.sha256(data).hexdigest() for data in (a_file(ids[0]), same))
    assert dict(take(engine, tmp_path / "second", tmp_path / "store", version="v2").n_by_status) == {"ok": 3}


def test_a_run_that_was_stopped_after_copying_is_taken_up(engine: Engine, tmp_path: Path) -> None:
    insert_pool(engine, [f"{BRICK}_7"], [RA], [DEC])
    data = a_file()
    written(tmp_path / "store" / "cutouts" / "negatives" / "v1", {f"{BRICK}_7.npz": data})
    place = written(tmp_path / "theirs", {"x.npz": data})
    summary = take(engine, place, tmp_path / "store")
    assert (dict(summary.n_by_status), summary.not_taken) == ({"ok": 1}, [])
    assert rows(engine)["uri"].tolist() == [f"store:cutouts/negatives/v1/{BRICK}_7.npz"]


def test_a_list_of_hashes_finds_altered_unlisted_and_absent_files(engine: Engine, tmp_path: Path) -> None:
    ids = [f"{BRICK}_{number}" for number in (7, 8, 9)]
    insert_pool(engine, ids, [RA] * 3, [DEC] * 3)
    files = {f"a/{name}.npz": a_file(name) for name in ids}
    place = written(tmp_path / "theirs", files)
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    listed = {f"a/{ids[0]}.npz": sums[f"a/{ids[0]}.npz"].upper(), f"a/{ids[1]}.npz": "0" * 64, "a/gone.npz": "1" * 64}
    (tmp_path / "sums.csv").write_text("sha256,name\n" + "".join(f"{v},{k}\n" for k, v in listed.items()))
    summary = take(engine, place, tmp_path / "store", manifest=tmp_path / "sums.csv")
    assert {odd.file: odd.kind.value for odd in summary.not_taken} == {
        f"a/{ids[1]}.npz": "altered",
        f"a/{ids[2]}.npz": "unlisted",
        "a/gone.npz": "absent",
    }
    assert dict(summary.n_by_status) == {"ok": 1}
    short = {name.removeprefix("a/"): value for name, value in sums.items()}
    table = pa.table({"name": list(short), "sha256": list(short.values())})
    parquet.write_table(table, tmp_path / "sums.parquet")
    again = take(engine, place, tmp_path / "store", manifest=tmp_path / "sums.parquet")
    assert (again.n_present, dict(again.n_by_status), again.not_taken) == (1, {"ok": 2}, [])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("file,sha256\na,b\n", "has no column name"),
        ("name,sha256\na.npz,123\n", "a.npz has no SHA-256"),
        (f"name,sha256\na,{'0' * 64}\na,{'0' * 64}\n", "1 names are there more than once"),
        ("", "cannot be read"),
    ],
)
def test_a_list_that_cannot_be_used_is_one_line(tmp_path: Path, body: str, words: str) -> None:
    from etl.cutouts.register.checksums import read_checksums

    (tmp_path / "sums.csv").write_text(body)
    with pytest.raises(RegisterError) as caught:
        read_checksums(tmp_path / "sums.csv")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_positives_find_their_lens_by_match_or_by_place_and_have_the_keys_of_cutouts_made_here(
    engine: Engine, tmp_path: Path
) -> None:
    """One lens with a galaxy of its own, two that share one, one without a match, one whose match is another."""
    ids = [f"{BRICK}_{number}" for number in (7, 8, 9, 10)]
    far = np.array([0, 20, 40, 60]) * ARCSEC
    galaxies = insert_pool(engine, ids, [RA] * 4, list(DEC + far))
    own = insert_matched(engine, RA, DEC, galaxies[0])
    sharing = [insert_matched(engine, RA, DEC + far[1] + offset * ARCSEC, galaxies[1]) for offset in (0.2, -3)]
    free = insert_matched(engine, RA, DEC + far[2] + 5.5 * ARCSEC, None)
    elsewhere = insert_matched(engine, RA, DEC + far[3], galaxies[2])
    at = {"cutout_type": "positive"}
    files = {
        "own.npz": a_file(ids[0], **at),
        "shared.npz": a_file(ids[1], dec=DEC + far[1], **at),
        "free.npz": a_file(f"{BRICK}_DESI-1", dec=DEC + far[2] + 5.0 * ARCSEC, **at),
        "elsewhere.npz": a_file(ids[3], dec=DEC + far[3], **at),
        "too far.npz": a_file(f"{BRICK}_DESI-2", dec=DEC + far[2] + 7 * ARCSEC, **at),
        "off.npz": a_file(ids[0], seed=2, dec=DEC + 1.6 * ARCSEC, **at),
    }
    summary = take(engine, written(tmp_path / "theirs", files), tmp_path / "store")
    found = {odd.file: odd.reason for odd in summary.not_taken}
    assert set(found) == {"elsewhere.npz", "too far.npz", "off.npz"}
    assert "lies 1.60 arcsec from galaxy" in found["off.npz"]
    assert f"whose match is not galaxy {ids[3]}" in found["elsewhere.npz"]
    made = rows(engine).set_index("lens_id")
    assert set(made.index) == {own, sharing[0], free}
    assert elsewhere not in made.index
    assert made.loc[own, "conditions_source"] == "sweep"
    assert made.loc[free, "conditions_source"] is None
    with engine.begin() as connection:
        draw_id, _ = insert_draw(connection)
        for lens_id, galaxy in ((own, galaxies[0]), (sharing[0], galaxies[1]), (free, None)):
            place = {"ra": RA, "dec": DEC, "healpix_128": 1}
            member = {"draw_id": draw_id, "label": 1, "lens_id": lens_id, "ls_id": galaxy, "pool": "positive"}
            connection.execute(insert(DrawMember).values(**member, **place, tier="B", weight=0.5))
        connection.execute(
            text("INSERT INTO catalog.brick VALUES ('dr10', 10, :id, :name)"),
            {"id": int(bricks.brick_of_name([BRICK])[0]), "name": BRICK},
        )
        targets = load_targets(connection, DrawRef(draw_id, "d", "dr10", 10), "v1").set_index("lens_id")
    for lens_id in made.index:
        assert made.loc[lens_id, "uri"] == "store:" + targets.loc[lens_id, "key"] == targets.loc[lens_id, "uri"]


def test_a_positive_may_be_centred_on_its_galaxy_or_on_its_lens(engine: Engine, tmp_path: Path) -> None:
    ids, far = [f"{BRICK}_7", f"{BRICK}_8"], 30 * ARCSEC
    galaxies = insert_pool(engine, ids, [RA] * 2, [DEC, DEC + far])
    lenses = [
        insert_matched(engine, RA, dec + 4 * ARCSEC, g) for g, dec in zip(galaxies, (DEC, DEC + far), strict=True)
    ]
    at = {"cutout_type": "positive"}
    files = {"galaxy.npz": a_file(ids[0], **at), "lens.npz": a_file(ids[1], dec=DEC + far + 4 * ARCSEC, **at)}
    assert take(engine, written(tmp_path / "theirs", files), tmp_path / "store").not_taken == []
    assert rows(engine)["lens_id"].sort_values().tolist() == lenses


def test_of_two_releases_the_nearest_galaxy_is_the_one(engine: Engine, tmp_path: Path) -> None:
    galaxy = f"{BRICK}_7"
    keys = np.array([ls_id(galaxy), ls_id(galaxy, 10_001), ls_id(galaxy, 10_003)])
    with engine.begin() as connection:
        insert_galaxies(connection, [RA] * 3, DEC + np.array([1.0, 0.3, 9.0]) * ARCSEC, ls_id=keys)
    take(engine, written(tmp_path / "theirs", {"x.npz": a_file(galaxy)}), tmp_path / "store")
    assert rows(engine)["ls_id"].tolist() == [keys[1]]


def test_batches_and_worker_processes_give_the_same_rows(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etl.cutouts.register.stage.PIECE_FILES", 3)
    monkeypatch.setattr("etl.cutouts.register.stage.BATCH_FILES", 5)
    ids = [f"{BRICK}_{number}" for number in range(14)]
    insert_pool(engine, ids, [RA] * 14, [DEC] * 14)
    files = {f"{number:02d}.npz": a_file(name, seed=number) for number, name in enumerate(ids)}
    # A second file of an object in a later batch, and one that is the same file again.
    files |= {"x.npz": a_file(ids[0], seed=99), "y.npz": files["01.npz"]}
    told: list[tuple[int, int]] = []
    config = RegisterConfig(place=str(written(tmp_path / "theirs", files)), n_workers=2)
    address = StoreAddress(str(tmp_path / "store"))
    summary = register_cutouts(engine, config, address, lambda *n: told.append(n), in_processes(2))
    assert told[-1] == (16, 16)
    assert (summary.n_present, dict(summary.n_by_status)) == (1, {"ok": 14})
    assert [(odd.file, odd.kind.value) for odd in summary.not_taken] == [("x.npz", "conflict")]
    store = LocalStore(tmp_path / "store")
    for row in rows(engine).itertuples():
        assert hashlib.sha256(store.get_bytes(row.uri)).hexdigest() == row.sha256


def test_what_was_taken_in_is_never_fetched_again(engine: Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        galaxies = insert_members(connection, 3)
        centres = {key: (ra, dec) for key, ra, dec in connection.execute(select(Galaxy.ls_id, Galaxy.ra, Galaxy.dec))}
    names = {key: f"{BRICK}_{key & 0xFFFF}" for key in galaxies}
    files = {f"{name}.npz": a_file(name, ra=centres[key][0], dec=centres[key][1]) for key, name in names.items()}
    del files[f"{names[galaxies[1]]}.npz"]
    assert dict(take(engine, written(tmp_path / "theirs", files), tmp_path / "store").n_by_status) == {"ok": 2}
    with cutout_service(good) as service:
        config = CutoutConfig(draw="d", source="service", service=source(service).config)
        summary = make_cutouts(engine, config, StoreAddress(str(tmp_path / "store")))
    assert (summary.n_present, summary.n_by_status["ok"], summary.failed) == (2, 1, [])
    assert [float(asked.query["ra"]) for asked in service.asked] == [centres[galaxies[1]][0]]
    assert rows(engine).set_index("ls_id")["is_registered"].loc[galaxies].tolist() == [True, False, True]


@pytest.fixture
def object_store(store_credentials: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in store_credentials.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="group")
    yield f"http://{host}:{port}"
    server.stop()


def test_a_bucket_is_a_place_and_files_in_the_store_stay_where_they_are(
    engine: Engine, object_store: str, tmp_path: Path
) -> None:
    ids = [f"{BRICK}_{number}" for number in (7, 8)]
    insert_pool(engine, ids, [RA] * 2, [DEC] * 2)
    bucket = open_store("s3://group", object_store)
    data = [a_file(name) for name in ids]
    bucket.put_bytes("old/one.npz", data[0])
    bucket.put_bytes("work/old/two.npz", data[1])
    address = StoreAddress("s3://group/work", object_store)
    elsewhere = register_cutouts(engine, RegisterConfig(place="s3://group/old", n_workers=1), address)
    inside = register_cutouts(engine, RegisterConfig(place="s3://group/work/old", n_workers=1), address)
    assert (elsewhere.n_copied, inside.n_copied, elsewhere.not_taken, inside.not_taken) == (1, 0, [], [])
    made = rows(engine).set_index("ls_id")
    assert made.loc[ls_id(ids[0]), "uri"] == f"s3://group/work/cutouts/negatives/v1/{ids[0]}.npz"
    assert made.loc[ls_id(ids[1]), "uri"] == "s3://group/work/old/two.npz"
    assert bucket.get_bytes(f"work/cutouts/negatives/v1/{ids[0]}.npz") == data[0]
    with pytest.raises(EtlError, match="holds no"):
        register_cutouts(engine, RegisterConfig(place="s3://group/nothing"), address)


def test_the_command_says_what_it_took_and_lists_the_rest(
    engine: Engine, run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_pool(engine, [f"{BRICK}_7"], [RA], [DEC])
    place = written(tmp_path / "theirs", {"7.npz": a_file(), "8.npz": a_file(layer="ls-dr10")})
    store = {"STRONGLENS_STORE": str(tmp_path / "store")}
    done = run_cli("cutouts", "register", str(place), **store)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "2 files, 0 were registered before; taken in now: 1 ok",
        "copied into the store: 1",
    ]
    assert "not taken in, other layer: 1 files, such as 8.npz: its layer is ls-dr10" in done.stderr
    monkeypatch.setenv("STRONGLENS_STORE", str(tmp_path / "store"))
    listed = CliRunner().invoke(app, ["register", str(place), "--report", str(tmp_path / "odd.csv")])
    assert listed.exit_code == 0, listed.output
    assert listed.stdout.splitlines() == [
        "2 files, 1 were registered before; taken in now: none",
        "copied into the store: 0",
        f"not taken in: 1, listed in {tmp_path / 'odd.csv'}",
    ]
    with (tmp_path / "odd.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"file": "8.npz", "kind": "other layer", "reason": "its layer is ls-dr10, expected ls-dr10-south"}
        ]


def test_places_and_reports_that_cannot_be_used_are_one_line(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place, words in ((tmp_path / "nowhere", "is no folder"), (tmp_path / "empty", "holds no *.npz")):
        with pytest.raises(RegisterError, match="give the folder") as caught:
            take(engine, place, tmp_path / "store")
        assert words in str(caught.value)
    with pytest.raises(RegisterError, match="cannot be written"):
        write_report(tmp_path / "no" / "odd.csv", [])
    with pytest.raises(ConfigError, match="key 'version'"):
        load_config(RegisterConfig, None, place="x", version="v 1")
