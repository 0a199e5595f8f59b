"""An open pack: its files verified, its rows read as they are asked for."""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pyarrow import parquet
from torch import Tensor

from training.errors import PackError
from training.manifest import Manifest
from training.packs.layout import Layout, Packed, row_bytes
from training.preprocess import Preprocessing, central, statistics
from training.progress import Progress, silent
from training.scaling import scaled

_PIECE = 4 << 20


@dataclass(frozen=True)
class PackFile:
    """One file of a pack on this machine."""

    path: Path
    sha256: str
    n_bytes: int


@dataclass(frozen=True)
class PackFiles:
    """The files of a pack on this machine, and what they hold."""

    name: str
    layout: Layout
    shards: tuple[PackFile, ...]
    index: PackFile
    remedy: str


class Pack:
    """Cutouts by row, in the order of their ids."""

    def __init__(self, files: PackFiles, cutout_id: npt.NDArray[np.int64]) -> None:
        self.name = files.name
        self.layout = files.layout
        self.cutout_id = cutout_id
        self._files = files
        self._handles = [os.open(shard.path, os.O_RDONLY) for shard in files.shards]
        weakref.finalize(self, _close, self._handles)

    def rows_of(self, manifest: Manifest) -> npt.NDArray[np.int64]:
        """Rows that hold the cutouts of a manifest, which is a part of the pack's.

        Raises
        ------
        PackError
            When the pack lacks one of them.
        """
        rows = np.searchsorted(self.cutout_id, manifest.cutout_id)
        rows[rows == len(self.cutout_id)] = 0
        if lacking := np.count_nonzero(self.cutout_id[rows] != manifest.cutout_id):
            raise PackError(f"{self.name}: lacks {lacking} cutouts of the manifest; pack the manifest again")
        return rows

    def take(self, rows: npt.NDArray[np.int64]) -> Packed:
        """Pixels of some rows, shape (k, crop_px, crop_px, 3), contiguous in memory.

        Rows that follow each other are one read. For rows in random order plain reads take 1.5 times as long as a
        memory map, and do not count the pages of the whole pack as this process's memory.

        Raises
        ------
        PackError
            When a file got shorter since it was opened.
        """
        taken = np.empty((len(rows), *self.layout.row_shape), self.layout.pixel_type)
        buffer, size = taken.reshape(-1).view(np.uint8).data, row_bytes(self.layout.crop_px, self.layout.dtype)
        header = self.layout.header_bytes
        shard, inside = np.divmod(rows, self.layout.shard_rows)
        is_first = (np.diff(rows, prepend=-2) != 1) | (inside == 0)
        first = np.flatnonzero(is_first)
        end_of_run = np.append(first, len(rows))[1:]
        runs = (shard[first], inside[first], first, end_of_run)
        for number, place, begin, end in zip(*(part.tolist() for part in runs), strict=True):
            target = buffer[begin * size : end * size]
            if os.preadv(self._handles[number], [target], header + place * size) != len(target):
                raise PackError(
                    f"{self._files.shards[number].path}: got shorter while it was read; {self._files.remedy}"
                )
        return taken


class PackedImages:
    """Some rows of a pack, preprocessed when they are asked for.

    Statistics of a row are kept from the first time on (24 bytes), since they take most of the work.
    """

    def __init__(self, pack: Pack, rows: npt.NDArray[np.int64], rules: Preprocessing) -> None:
        self.pack = pack
        self.rows = rows
        self.rules = rules
        self._is_known = np.zeros(len(rows), bool)
        self._median, self._mad = (np.empty((len(rows), 3), np.float32) for _ in range(2))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: slice | Tensor, /) -> Tensor:
        wanted = np.arange(len(self))[chosen] if isinstance(chosen, slice) else chosen.numpy()
        pixels = central(self.pack.take(self.rows[wanted]), self.rules.crop_px)
        unknown = ~self._is_known[wanted]
        if unknown.any():
            where = wanted[unknown]
            self._median[where], self._mad[where] = statistics(pixels[unknown], self.rules)
            self._is_known[where] = True
        known = torch.from_numpy(self._median[wanted]), torch.from_numpy(self._mad[wanted])
        return scaled(torch.from_numpy(pixels), known, self.rules)


def open_pack(files: PackFiles, progress: Progress = silent) -> Pack:
    """Verify the SHA-256 of every file of a pack and open its shards.

    Raises
    ------
    PackError
        When a file is missing, truncated or altered.
    """
    every = (files.index, *files.shards)
    n_done, n_total = 0, sum(file.n_bytes for file in every)

    def count(n_read: int) -> None:
        nonlocal n_done
        n_done += n_read
        progress("verifying the pack (MB)", n_done // 1_000_000, n_total // 1_000_000)

    for file in every:
        verify_file(file, files.remedy, count)
    for shard, file in enumerate(files.shards):
        header = files.layout.header(shard)
        with file.path.open("rb") as stream:
            if file.n_bytes != files.layout.n_bytes(shard) or stream.read(len(header)) != header:
                raise PackError(f"{file.path}: does not hold the rows that {files.name} records; {files.remedy}")
    ids = parquet.read_table(files.index.path, columns=["cutout_id"])["cutout_id"].to_numpy()
    if len(ids) != files.layout.n_cutouts or len(files.shards) != files.layout.n_shards:
        raise PackError(f"{files.name}: its index or its shards are not those that are recorded; {files.remedy}")
    return Pack(files, ids.astype(np.int64))


def verify_file(file: PackFile, remedy: str, count: Callable[[int], None] = lambda _: None) -> None:
    """Read a file and compare its size and SHA-256 with what is recorded; `count` gets the bytes of each read.

    Raises
    ------
    PackError
        When it is missing, truncated or altered; the message ends with `remedy`.
    """
    try:
        n_bytes = file.path.stat().st_size
        if n_bytes != file.n_bytes:
            raise PackError(f"{file.path}: holds {n_bytes} bytes instead of {file.n_bytes}; {remedy}")
        digest = hashlib.sha256()
        with file.path.open("rb", buffering=0) as stream:
            while piece := stream.read(_PIECE):
                digest.update(piece)
                count(len(piece))
    except OSError as exc:
        raise PackError(f"{file.path}: cannot be read ({os.strerror(exc.errno or 0)}); {remedy}") from exc
    if digest.hexdigest() != file.sha256:
        raise PackError(
            f"{file.path}: altered since it was written (SHA-256 {digest.hexdigest()[:12]}, recorded "
            f"{file.sha256[:12]}); {remedy}"
        )


def _close(handles: list[int]) -> None:
    for handle in handles:
        os.close(handle)
