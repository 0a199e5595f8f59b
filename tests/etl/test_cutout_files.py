"""The npz layout, against the published cutouts."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from etl.cutouts.files import SHAPE, Cutout, MetaValue, read_cutout, read_pixels, write_cutout
from etl.cutouts.meta import Gaps, Target, meta_of
from etl.cutouts.metrics import V1_METRICS
from etl.cutouts.source import SourceVersion
from etl.errors import CutoutError

TARGET = Target(0, "cutouts/positives/v1/0001m040_7.npz", "0001m040_7", 1, 0.1, -3.9, "B", 0.5, 8, "REX")

SOURCE = SourceVersion("coadd", "0001m040", "/coadds/coadd/000/0001m040", "a", ())


def some_cutout(seed: int = 1) -> Cutout:
    pixels = np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)
    meta: dict[str, MetaValue] = meta_of(TARGET, "0001m040", "ls-dr10-south", SOURCE, Gaps((0, 0, 0), 0, 600))
    return Cutout(pixels, meta | {f"meta_{name}_r": 0.5 for name in V1_METRICS} | {"meta_quality_ok": True})


def real_files(shared_data: Path) -> list[Path]:
    files = sorted((shared_data / "cutouts").glob("*.npz"))
    assert len(files) == 6
    return files


def test_our_file_has_the_keys_shapes_and_kinds_of_the_published_cutouts(shared_data: Path) -> None:
    ours = np.load(io.BytesIO(write_cutout(some_cutout())), allow_pickle=False)
    for path in real_files(shared_data):
        theirs = np.load(path, allow_pickle=False)
        assert ours.files == theirs.files
        for name in theirs.files:
            assert (ours[name].dtype.kind, ours[name].shape) == (theirs[name].dtype.kind, theirs[name].shape), name
        assert ours["cutout"].dtype == theirs["cutout"].dtype


def test_the_published_cutouts_are_read_as_numpy_reads_them(shared_data: Path) -> None:
    for path in real_files(shared_data):
        cutout, truth = read_cutout(path.read_bytes(), path.name), np.load(path)
        np.testing.assert_array_equal(cutout.pixels, truth["cutout"])
        np.testing.assert_array_equal(read_pixels(path.read_bytes()), truth["cutout"])
        assert {name: truth[name].item() for name in truth.files if name != "cutout"} == dict(cutout.meta)


def test_what_is_written_is_read_back_and_the_same_content_gives_the_same_bytes() -> None:
    cutout = some_cutout()
    data = write_cutout(cutout)
    again = read_cutout(data)
    np.testing.assert_array_equal(again.pixels, cutout.pixels)
    assert dict(again.meta) == dict(cutout.meta)
    assert write_cutout(again) == data
    assert write_cutout(some_cutout(seed=2)) != data


def saved(**arrays: object) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def test_other_layouts_are_refused_and_the_message_names_the_file() -> None:
    good = some_cutout()
    meta = dict(good.meta)
    single = io.BytesIO()
    np.save(single, good.pixels)
    bad = {
        "lacks cutout": saved(**meta),
        "lacks meta_layer, meta_ra": saved(
            cutout=good.pixels, **{k: v for k, v in meta.items() if k not in {"meta_ra", "meta_layer"}}
        ),
        "float64": saved(cutout=good.pixels.astype(float), **meta),
        "expected float32": saved(cutout=good.pixels[:64, :64], **meta),
        "holds extra": saved(cutout=good.pixels, extra=1, **meta),
        "meta_ra is": saved(cutout=good.pixels, **(meta | {"meta_ra": [1.0, 2.0]})),
        "meta_tier cannot be read": saved(cutout=good.pixels, **(meta | {"meta_tier": np.array({"a": 1})})),
        "single array": single.getvalue(),
        "not a readable npz": write_cutout(good)[:5000],
    }
    for part, data in bad.items():
        with pytest.raises(CutoutError, match=r"x\.npz") as caught:
            read_cutout(data, "x.npz")
        assert part in str(caught.value)
        assert "\n" not in str(caught.value)


def test_pickled_pixels_are_never_loaded() -> None:
    data = saved(cutout=np.array([{"a": 1}], dtype=object), **some_cutout().meta)
    for reader in (read_cutout, read_pixels):
        with pytest.raises(CutoutError, match="cutout cannot be read"):
            reader(data, "x.npz")


def test_damaged_pixels_are_refused() -> None:
    data = bytearray(write_cutout(some_cutout()))
    data[60_000] ^= 0xFF
    with pytest.raises(CutoutError, match="cutout cannot be read"):
        read_pixels(bytes(data), "x.npz")


def test_the_bytes_are_those_of_zipfile_and_numpy_save_also_for_signs_and_kinds_that_compare_equal() -> None:
    some = dict(some_cutout().meta)
    for odd in (0.0, -0.0, float("nan"), 1, True, 1.0, "", "é", "x" * 40, np.float64(2.5), -(2**60)):
        cutout = Cutout(some_cutout().pixels, some | {"meta_odd": odd})  # type: ignore[dict-item]
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
            for name, value in {"cutout": cutout.pixels, **cutout.meta}.items():
                saved_array = io.BytesIO()
                np.lib.format.write_array(saved_array, np.asarray(value), version=(1, 0))
                member = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
                member.external_attr = 0o600 << 16
                archive.writestr(member, saved_array.getvalue())
        assert write_cutout(cutout) == out.getvalue()
