"""Images held on a device, here the CPU: the arithmetic is the same on a GPU."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from torch import Tensor

from tests.plain_manifest import plain_manifest
from training import source as source_module
from training.images import CPU, ahead
from training.packs.layout import Layout
from training.packs.read import Pack, PackedImages, PackFile, PackFiles, open_pack
from training.preprocess import Preprocessing, preprocess, preprocess_packed, statistics
from training.progress import silent
from training.resident import ResidentImages, fits, resident_bytes
from training.scaling import scaled, statistics_on_device
from training.source import PackSource

MakePack = Callable[[np.ndarray, Layout], Pack]
HALF = Preprocessing(crop_px=32, annulus_inner_px=12, annulus_outer_px=16, pixel_dtype="float16")
FULL = HALF.model_copy(update={"pixel_dtype": "float32"})
N = 70


def nanomaggies(n: int = N, size: int = 101) -> np.ndarray:
    """Cutouts with a source, holes, a band without data, a band that does not vary, and infinite pixels."""
    pixels = np.random.default_rng(8).normal(0.1, 0.02, (n, size, size, 3)).astype(np.float32)
    middle = size // 2
    pixels[:, middle - 2 : middle + 3, middle - 2 : middle + 3] += 3
    pixels[1, middle - 14 : middle, middle + 8 :, 1] = np.nan
    pixels[2, ..., 0] = np.nan
    pixels[3, ..., 2] = 0.25
    pixels[4, middle, middle] = (np.inf, -np.inf, 70_000)
    pixels[5, middle + 13, middle] = np.inf  # in the annulus
    pixels[6, ..., 1] = np.nan
    pixels[6, middle + 13, middle, 1] = 1.0  # one pixel of the annulus is known
    return pixels


def definition(pixels: np.ndarray, rules: Preprocessing) -> np.ndarray:
    """The images of cropped pixels, in numpy's own words and float32 throughout."""
    values = np.moveaxis(pixels, -1, 1).astype(np.float32)
    values[~np.isfinite(values)] = np.nan
    ring = values[:, :, rules.annulus()]
    with np.errstate(all="ignore"):
        median = np.nanmedian(ring, axis=-1)[..., None, None]
        mad = np.nanmedian(np.abs(ring - median[..., 0]), axis=-1)[..., None, None]
        scale = np.where(mad > 0, mad, np.float32(np.inf))
        images = (values - median) / scale
        images = np.arcsinh(images) if rules.scaling == "asinh" else images.clip(-rules.clip_mads, rules.clip_mads)
    images[np.isnan(images)] = 0
    return images


@pytest.fixture
def make_pack(tmp_path: Path) -> MakePack:
    """Write pixels as a pack of shards, without a database."""

    def make(pixels: np.ndarray, layout: Layout) -> Pack:
        def kept(name: str, data: bytes) -> PackFile:
            (tmp_path / name).write_bytes(data)
            return PackFile(tmp_path / name, hashlib.sha256(data).hexdigest(), len(data))

        packed = layout.packed(pixels)
        shards = [
            kept(f"{shard}.npy", layout.header(shard) + packed[layout.rows(shard)].tobytes())
            for shard in range(layout.n_shards)
        ]
        sink = pa.BufferOutputStream()
        parquet.write_table(pa.table({"cutout_id": np.arange(len(pixels))}), sink)
        index = kept("index.parquet", sink.getvalue().to_pybytes())
        return open_pack(PackFiles("pack", layout, tuple(shards), index, "pack again"))

    return make


@pytest.mark.filterwarnings("ignore:All-NaN")
@pytest.mark.parametrize("rules", [HALF, FULL])
def test_every_way_gives_the_images_of_the_definition_bit_for_bit(rules: Preprocessing, make_pack: MakePack) -> None:
    pixels = nanomaggies()
    layout = Layout(40, rules.pixel_dtype, N, 32)
    pack = make_pack(pixels, layout)
    expected = definition(layout.packed(pixels)[:, 4:36, 4:36], rules)
    expected = expected + 0.0  # -0.0 and 0.0 are one number
    assert (expected[2, 0] == 0).all()
    assert (expected[3, 2] == 0).all()
    rows = np.arange(N)
    ways = {
        "from cutouts": torch.from_numpy(preprocess(pixels, rules)),
        "from packed pixels": torch.from_numpy(preprocess_packed(layout.packed(pixels), rules)),
        "read from the pack": PackedImages(pack, rows, rules)[:],
        "held on the device": ResidentImages.load(pack, rows, rules, CPU)[:],
    }
    for way, images in ways.items():
        assert images.shape == (N, 3, 32, 32), way
        assert images.dtype == torch.float32, way
        assert images.is_contiguous(memory_format=torch.channels_last), way
        np.testing.assert_array_equal(images.numpy(), expected, err_msg=way)


@pytest.mark.filterwarnings("ignore:All-NaN")
def test_asinh_is_that_of_numpy_to_its_last_digits_and_the_same_in_every_way(make_pack: MakePack) -> None:
    rules = HALF.model_copy(update={"scaling": "asinh"})
    pixels, layout = nanomaggies(), Layout(32, "float16", N, 32)
    pack = make_pack(pixels, layout)
    packed = PackedImages(pack, np.arange(N), rules)[:]
    np.testing.assert_allclose(packed.numpy(), definition(layout.packed(pixels), rules), rtol=1e-6, atol=1e-6)
    assert torch.equal(ResidentImages.load(pack, np.arange(N), rules, CPU)[:], packed)
    assert torch.equal(torch.from_numpy(preprocess(pixels, rules)), packed)


@pytest.mark.parametrize("rules", [HALF, FULL, Preprocessing(crop_px=33, annulus_inner_px=5, annulus_outer_px=9.5)])
def test_statistics_of_torch_are_those_of_numpy_bit_for_bit(rules: Preprocessing) -> None:
    pixels = Layout(rules.crop_px, rules.pixel_dtype, N, N).packed(nanomaggies())
    of_numpy, of_torch = statistics(pixels, rules), statistics_on_device(torch.from_numpy(pixels.copy()), rules)
    for one, other in zip(of_numpy, of_torch, strict=True):
        np.testing.assert_array_equal(one, other.numpy())


def test_rows_come_as_they_are_asked_for_and_kept_statistics_change_nothing(make_pack: MakePack) -> None:
    pack = make_pack(nanomaggies(), Layout(32, "float16", N, 32))
    rows = np.random.default_rng(3).permutation(N)[:50]
    whole = PackedImages(pack, np.arange(N), HALF)[:]
    packed, resident = PackedImages(pack, rows, HALF), ResidentImages.load(pack, rows, HALF, CPU)
    assert len(packed) == len(resident) == 50
    chance = torch.Generator().manual_seed(1)
    for _ in range(3):
        chosen = torch.randint(50, (20,), generator=chance)
        for wanted in (chosen, slice(4, 11), slice(None), chosen[:0]):
            places = rows[wanted if isinstance(wanted, slice) else wanted.numpy()]
            for images in (packed, resident):
                assert torch.equal(images[wanted], whole[torch.from_numpy(places)])


def test_an_image_is_the_same_whatever_it_is_scaled_together_with() -> None:
    for rules in (HALF, HALF.model_copy(update={"scaling": "asinh"}), Preprocessing(pixel_dtype="float16")):
        pixels = Layout(rules.crop_px, rules.pixel_dtype, 9, 9).packed(nanomaggies(9))
        together = preprocess_packed(pixels, rules)
        for row in range(9):
            np.testing.assert_array_equal(preprocess_packed(pixels[row : row + 1], rules)[0], together[row])


def test_pixels_that_must_not_be_written_are_left_alone() -> None:
    pixels = Layout(32, "float32", 9, 9).packed(nanomaggies(9)).copy()
    pixels.flags.writeable = False
    kept = pixels.copy()
    preprocess_packed(pixels, FULL)
    np.testing.assert_array_equal(pixels, kept)
    loose = torch.from_numpy(kept.copy())
    scaled(loose, statistics_on_device(loose, FULL), FULL)
    np.testing.assert_array_equal(loose.numpy(), kept)


class OnDevice:
    """Images that say that they lie on a device, and who asks for them."""

    device = torch.device("meta")

    def __init__(self) -> None:
        self.threads: list[str] = []

    def __len__(self) -> int:
        return 8

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        import threading

        self.threads.append(threading.current_thread().name)
        return torch.empty(2, 3, 4, 4, device=self.device)


def test_images_on_a_device_are_taken_there_without_a_thread() -> None:
    images = OnDevice()
    given = list(ahead(images, [slice(first, first + 2) for first in range(0, 8, 2)], torch.device("meta")))
    assert [rows.start for rows, _ in given] == [0, 2, 4, 6]
    assert set(images.threads) == {"MainThread"}


def test_a_pack_is_held_on_a_gpu_with_room_and_read_batch_by_batch_otherwise(
    make_pack: MakePack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = plain_manifest(N)
    source = PackSource(make_pack(nanomaggies(), Layout(32, "float16", N, 32)), HALF)
    assert isinstance(source.images(manifest, silent), PackedImages)
    asked: list[int] = []

    def with_room(n_bytes: int, _device: torch.device) -> bool:
        asked.append(n_bytes)
        return True

    monkeypatch.setattr(source_module, "fits", with_room)
    held = source.images(manifest, silent, CPU)
    assert isinstance(held, ResidentImages)
    assert asked == [held.pixels.nbytes + held.median.nbytes + held.mad.nbytes]
    monkeypatch.setattr(source_module, "fits", lambda *_: False)
    assert isinstance(source.images(manifest, silent, torch.device("cuda")), PackedImages)
    assert "pack leaves cuda too little memory" in caplog.text


def test_images_fit_when_four_fifths_of_the_free_memory_hold_them(monkeypatch: pytest.MonkeyPatch) -> None:
    one = resident_bytes(1, Preprocessing(pixel_dtype="float16"))
    assert one == 64 * 64 * 3 * 2 + 24
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (1000, 8000))
    gpu = torch.device("cuda")
    assert fits(800, gpu)
    assert not fits(801, gpu)
    assert not fits(1, CPU)
