"""Every reason for which a cutout is quarantined: found in its file, and never in a sound one."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from db.models.imaging import REASONS
from etl.cutouts.files import Cutout, read_cutout, write_cutout
from etl.cutouts.make import StoreAddress
from etl.cutouts.stored import stored_arrays
from etl.storage import LocalStore
from etl.validation.measure import Batch, measure_batch
from etl.validation.reading import Promise

META = {"meta_galaxy_id": "x", "meta_ra": 1.0, "meta_dec": 2.0, "meta_size": 101, "meta_pixel_scale": 0.262}
META |= {"meta_layer": "mock", "meta_bands_requested": "grz"}
FLUX = (20.0, 60.0, 110.0)
Spoil = Callable[[np.ndarray], None]


def pixels() -> np.ndarray:
    """A galaxy with the colours of `FLUX`, and noise."""
    y, x = np.mgrid[-50:51, -50:51]
    light = np.exp(-np.hypot(x, y) / 4)[..., None] * np.array(FLUX) / 100
    return (light + np.random.default_rng(7).normal(0, 0.01, (101, 101, 3))).astype(np.float32)


def npz(**arrays: object) -> bytes:
    out = io.BytesIO()
    np.savez(out, **{name: np.asarray(value) for name, value in arrays.items()})
    return out.getvalue()


def judged(folder: Path, files: dict[str, bytes | None], flux: object = FLUX, **promise: object) -> dict[str, object]:
    """Reason by file name, of files whose rows record the very bytes that lie there."""
    store = LocalStore(folder)
    promises = []
    for name, data in files.items():
        if data is not None:
            store.put_bytes(name, data)
        digest = hashlib.sha256(data or b"").hexdigest()
        promises.append(replace(Promise(name, digest, "mock", "grz", 101, 0.262), **promise))
    batch = Batch(np.arange(len(files)), tuple(promises), np.array([flux] * len(files), float))
    table = measure_batch(StoreAddress(str(folder)), batch)
    columns = [name for name in table.columns if name not in ("reason", "detail")]
    is_sound = table["reason"].isna()
    assert table.loc[is_sound, columns].notna().all(axis=None)
    assert table.loc[~is_sound, columns].isna().all(axis=None)
    assert all(name in detail for name, detail in zip(files, table["detail"], strict=True) if detail)
    return dict(zip(files, table["reason"], strict=True))


def spoiled(change: Spoil) -> bytes:
    image = pixels()
    change(image)
    return write_cutout(Cutout(image, META))


def nan_rows(image: np.ndarray) -> None:
    image[:6, :, 0] = np.nan


def half_zero(image: np.ndarray) -> None:
    image[..., 0] = 0
    image[0, :, 0] = np.nan


def clip(image: np.ndarray) -> None:
    np.clip(image, None, 0.5, out=image)


IN_PIXELS: dict[str, tuple[str, Spoil]] = {
    "infinite": ("infinite", lambda image: image.__setitem__((3, 3, 1), np.inf)),
    "minus_infinite": ("infinite", lambda image: image.__setitem__((3, 3, 1), -np.inf)),
    "no_data": ("no_data", lambda image: image.__setitem__((..., 2), np.nan)),
    "too_many_nan": ("too_many_nan", nan_rows),
    "centre_nan": ("centre_nan", lambda image: image.__setitem__((50, 58, 0), np.nan)),
    "all_zero": ("all_zero", lambda image: image.__setitem__((..., 0), 0)),
    "zero_where_it_is_not_nan": ("all_zero", half_zero),
    "constant": ("constant", lambda image: image.__setitem__((..., 1), 0.3)),
    "clipped": ("saturated", clip),
    "too_bright": ("saturated", lambda image: image.__setitem__((50, 50, 1), 201)),
    "swapped": ("band_order", lambda image: image.__setitem__(..., image[..., [2, 1, 0]].copy())),
}


def test_faults_in_the_pixels_are_found_each_by_its_name_and_beside_sound_ones(tmp_path: Path) -> None:
    files = {f"{name}.npz": spoiled(change) for name, (_, change) in IN_PIXELS.items()}
    files["one_nan_at_the_rim.npz"] = spoiled(lambda image: image.__setitem__((0, 0, 0), np.nan))
    files["sound.npz"] = write_cutout(Cutout(pixels(), META))
    found = judged(tmp_path, files)
    assert found.pop("sound.npz") is None
    assert found.pop("one_nan_at_the_rim.npz") is None
    assert found == {f"{name}.npz": reason for name, (reason, _) in IN_PIXELS.items()}


def test_faults_of_the_file_are_found_each_by_its_name_and_nothing_is_unpickled(tmp_path: Path) -> None:
    sound, image = write_cutout(Cutout(pixels(), META)), pixels()
    trap = np.array([_Trap()], dtype=object)
    files = {
        "gone.npz": (None, "missing"),
        "empty.npz": (b"", "unreadable"),
        "text.npz": (b"not an npz", "unreadable"),
        "truncated.npz": (sound[:-500], "unreadable"),
        "cut_in_the_pixels.npz": (sound[:60_000], "unreadable"),
        "pickled_pixels.npz": (npz(cutout=np.full((101, 101, 3), None), **META), "pickled"),
        "pickled_meta.npz": (npz(cutout=image, **META, meta_tier=trap), "pickled"),
        "bare_pickle.npz": (b"\x80\x04N.", "pickled"),
        "small.npz": (npz(cutout=image[:64, :64], **META), "wrong_shape"),
        "channels_first.npz": (npz(cutout=image.transpose(2, 0, 1), **META), "wrong_shape"),
        "doubles.npz": (npz(cutout=image.astype(float), **META), "wrong_dtype"),
        "integers.npz": (npz(cutout=image.astype(np.int16), **META), "wrong_dtype"),
        "array.npz": (_npy(image), "unreadable"),
        "names.npz": (npz(cutout=image, other=1, **META), "unreadable"),
        "compressed_and_sound.npz": (_compressed(image), None),
    }
    found = judged(tmp_path, {name: data for name, (data, _) in files.items()})
    assert found == {name: reason for name, (_, reason) in files.items()}
    assert not _Trap.was_sprung


def test_bytes_that_are_not_those_recorded_are_altered(tmp_path: Path) -> None:
    data = write_cutout(Cutout(pixels(), META))
    assert judged(tmp_path, {"a.npz": data}, sha256="0" * 64) == {"a.npz": "altered"}
    flipped = bytearray(data)
    flipped[5000] ^= 1  # one bit of one pixel: its own checksum is not looked at, that of the row is
    store = LocalStore(tmp_path)
    store.put_bytes("b.npz", bytes(flipped))
    promise = Promise("b.npz", hashlib.sha256(data).hexdigest(), "mock", "grz", 101, 0.262)
    table = measure_batch(StoreAddress(str(tmp_path)), Batch(np.array([1]), (promise,), np.full((1, 3), np.nan)))
    assert table["reason"].tolist() == ["altered"]


@pytest.mark.parametrize(
    ("promise", "reason"),
    [
        ({"layer": "ls-dr10-south"}, "wrong_layer"),
        ({"bands": "griz"}, "wrong_bands"),
        ({"n_pixels": 64}, "wrong_grid"),
        ({"pixel_scale_arcsec": 0.25}, "wrong_grid"),
    ],
)
def test_a_file_that_says_other_things_than_its_row_is_found(
    tmp_path: Path, promise: dict[str, object], reason: str
) -> None:
    assert judged(tmp_path, {"a.npz": write_cutout(Cutout(pixels(), META))}, **promise) == {"a.npz": reason}


def test_every_reason_is_tested_here() -> None:
    of_files = {"missing", "unreadable", "pickled", "wrong_shape", "wrong_dtype", "altered"}
    of_meta = {"wrong_layer", "wrong_bands", "wrong_grid"}
    assert {reason for reason, _ in IN_PIXELS.values()} | of_files | of_meta == set(REASONS)


def test_the_real_cutouts_are_sound_but_for_the_layer_that_they_say(tmp_path: Path, shared_data: Path) -> None:
    files = {path.name: path.read_bytes() for path in sorted((shared_data / "cutouts").glob("*.npz"))}
    assert len(files) == 6
    layers = {str(read_cutout(data).meta["meta_layer"]) for data in files.values()}
    assert layers == {"ls-dr10"}
    assert set(judged(tmp_path, files, flux=(np.nan,) * 3, layer="ls-dr10").values()) == {None}
    assert set(judged(tmp_path, files, layer="ls-dr10-south").values()) == {"wrong_layer"}


def test_the_fast_reading_gives_the_pixels_that_numpy_gives_or_nothing() -> None:
    image = pixels()
    ours, numpys = write_cutout(Cutout(image, META)), npz(cutout=image, **META)
    for data in (ours, numpys):
        found = stored_arrays(data, ("cutout", "meta_layer", "meta_size"))
        assert found is not None
        np.testing.assert_array_equal(found["cutout"], np.load(io.BytesIO(data))["cutout"])
        assert (found["meta_layer"].item(), found["meta_size"].item()) == ("mock", 101)
    for data in (ours[:-1], ours + b"x", ours[: len(ours) // 2], b"", b"PK", _compressed(image), _doubled(image)):
        assert stored_arrays(data, ("cutout",)) is None


class _Trap:
    """Its unpickling would be noticed."""

    was_sprung = False

    def __reduce__(self) -> tuple[object, ...]:
        return _spring, ()


def _spring() -> None:
    _Trap.was_sprung = True


def _npy(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, image)
    return out.getvalue()


def _compressed(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, cutout=image, **META)
    return out.getvalue()


def _doubled(image: np.ndarray) -> bytes:
    out = io.BytesIO(npz(cutout=image, **META))
    with zipfile.ZipFile(out, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("cutout.npy", _npy(image + 1))
    return out.getvalue()


@pytest.mark.parametrize("is_deflated", [False, True])
def test_any_damage_is_a_reason_and_never_an_end_of_the_run(tmp_path: Path, is_deflated: bool) -> None:
    """Bytes flipped anywhere, most of all in headers and directory, where parsers trust them."""
    whole = _compressed(pixels()) if is_deflated else write_cutout(Cutout(pixels(), META))
    rng = np.random.default_rng(12)
    files = {}
    for number in range(400):
        data = bytearray(whole)
        where = rng.integers(0, 400, 3) if number % 2 else len(data) - 1 - rng.integers(0, 1500, 3)
        for at in where:
            data[at] ^= int(rng.integers(1, 256))
        files[f"{number}.npz"] = bytes(data)
    digest = hashlib.sha256(whole).hexdigest()
    found = judged(tmp_path, files, sha256=digest)
    assert None not in found.values()
    assert len(set(found.values())) > 1
