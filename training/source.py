"""Where the images of a manifest are read from: its npz files, or a pack of it. Both give the same tensors."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from sqlalchemy import Engine

from etl.storage import LocalStore, Store
from training.dataset import load_images
from training.errors import PackError
from training.images import CPU, Images
from training.manifest import Manifest
from training.packs import records
from training.packs.read import Pack, PackedImages, open_pack
from training.preprocess import Preprocessing
from training.progress import Progress, silent
from training.resident import ResidentImages, fits, resident_bytes

Source = Literal["auto", "npz", "pack"]
"""``auto``: the pack of this manifest where a complete one fits and lies on this machine, otherwise the npz files."""

_log = logging.getLogger(__name__)


class ImageSource(Protocol):
    """Gives the images of parts of a manifest."""

    def images(self, manifest: Manifest, progress: Progress, device: torch.device = CPU) -> Images:
        """Preprocessed images, in the order of the manifest, for a network on `device`."""


@dataclass(frozen=True)
class NpzSource:
    """The npz files: read, verified and preprocessed into memory."""

    store: Store
    rules: Preprocessing

    def images(self, manifest: Manifest, progress: Progress, device: torch.device = CPU) -> Images:
        """Read them all now, to a GPU with room for them."""
        images = torch.from_numpy(load_images(manifest, self.rules, self.store, progress))
        return images.to(device) if fits(images.nbytes, device) else images


@dataclass(frozen=True)
class PackSource:
    """A pack: held whole on a GPU where it fits, otherwise rows are read when they are asked for."""

    pack: Pack
    rules: Preprocessing

    def require_fit(self) -> None:
        """Check that the pack holds the pixels that the preprocessing takes.

        Raises
        ------
        PackError
            When it holds smaller crops or another type of pixel.
        """
        layout, rules = self.pack.layout, self.rules
        if layout.dtype != rules.pixel_dtype or layout.crop_px < rules.crop_px:
            raise PackError(
                f"{self.pack.name} holds crops of {layout.crop_px} px as {layout.dtype}, the preprocessing takes "
                f"{rules.crop_px} px as {rules.pixel_dtype}: change the recipe's crop_px or pixel_dtype, or pack again"
            )

    def images(self, manifest: Manifest, progress: Progress, device: torch.device = CPU) -> Images:
        """Find their rows, and read them to a GPU with room for them."""
        rows = self.pack.rows_of(manifest)
        if fits(resident_bytes(len(rows), self.rules), device):
            return ResidentImages.load(self.pack, rows, self.rules, device, progress)
        if device.type != "cpu":
            _log.warning("%s leaves %s too little memory: it is read batch by batch", self.pack.name, device)
        return PackedImages(self.pack, rows, self.rules)


@dataclass(frozen=True)
class Wanted:
    """What images are wanted: of which manifest, preprocessed how, from where."""

    manifest: Manifest
    rules: Preprocessing
    source: Source


def open_source(engine: Engine, wanted: Wanted, store: Store, progress: Progress = silent) -> ImageSource:
    """Open the source of a manifest's images; a pack is verified first.

    Raises
    ------
    PackError
        When a pack is wanted and there is none that fits, or one of its files is missing, truncated or altered.
    """
    if wanted.source == "npz":
        return NpzSource(store, wanted.rules)
    rows = [row for row in records.packs_of(engine, wanted.manifest) if row.status == "complete"]
    fitting = [row for row in rows if row.dtype == wanted.rules.pixel_dtype and row.crop_px >= wanted.rules.crop_px]
    if fitting and isinstance(store, LocalStore):
        return PackSource(open_pack(records.files_of(engine, fitting[0], store), progress), wanted.rules)
    if wanted.source == "pack":
        raise PackError(_why_none(wanted.rules, [f"{row.crop_px} px {row.dtype}" for row in rows], bool(fitting)))
    if rows:
        why = _why_none(wanted.rules, [f"{row.crop_px} px {row.dtype}" for row in rows], bool(fitting))
        _log.warning("reading npz files, 49 kB of memory a cutout: %s", why)
    return NpzSource(store, wanted.rules)


def _why_none(rules: Preprocessing, there: list[str], is_elsewhere: bool) -> str:
    if is_elsewhere:
        return "the pack lies in a bucket and is read from a folder only: copy it with `stronglens store sync`"
    options = f"--crop {rules.crop_px} --dtype {rules.pixel_dtype}"
    return (
        f"no pack of this manifest holds crops of {rules.crop_px} px as {rules.pixel_dtype} (packs of it: "
        f"{', '.join(there) or 'none'}): run `stronglens store pack {options}` for its draw, or use --source npz"
    )
