"""A Parquet file of an earlier manifest, read in batches of bounded memory under our names and types."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from etl.imports.columns import Layout, recognise, require
from etl.imports.errors import ManifestError

BATCH_ROWS = 1 << 16
SUFFIX = ".parquet"


@dataclass(frozen=True)
class Manifest:
    """One file; its rows are read anew by each call of `batches`."""

    path: Path
    sha256: str
    n_bytes: int
    n_rows: int
    layout: Layout

    @property
    def name(self) -> str:
        """File name without its folder: what the ledger knows it by."""
        return self.path.name

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows, of our columns only; a NaN becomes a missing value.

        Raises
        ------
        ManifestError
            When a page cannot be read, or a value does not fit the type of its column.
        """
        with _readable(self.path), parquet.ParquetFile(self.path) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=list(self.layout.columns.values())):
                arrays = {
                    ours: self._cast(batch.column(theirs), ours, theirs) for ours, theirs in self.layout.columns.items()
                }
                yield pa.RecordBatch.from_pydict(arrays)

    def _cast(self, column: pa.Array, ours: str, theirs: str) -> pa.Array:
        wanted = self.layout.type_of(ours)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if _is_text(column.type) != _is_text(wanted) and not pa.types.is_null(column.type):
            raise ManifestError(f"{self.path}: column {theirs} is of type {column.type}, expected {wanted}")
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        try:
            return column.cast(wanted)
        except pa.ArrowInvalid as exc:
            raise ManifestError(f"{self.path}: column {theirs} does not fit {wanted}: {_one_line(exc)}") from exc


def find_manifests(places: Sequence[Path]) -> list[Path]:
    """List the Parquet files that paths and folders name; a folder stands for all in it, as Spark writes them.

    Raises
    ------
    ManifestError
        When a place names no file, or two files share a name.
    """
    found: dict[str, Path] = {}
    for place in places:
        paths = sorted(place.glob(f"*{SUFFIX}")) if place.is_dir() else [place]
        if not paths or not paths[0].is_file():
            raise ManifestError(f"{place}: no Parquet file there")
        for path in paths:
            other = found.setdefault(path.name, path)
            if other != path:
                raise ManifestError(f"two files are named {path.name}: {other} and {path}; rename one")
    return list(found.values())


def open_manifest(path: Path, wanted: Collection[str], required: Sequence[str]) -> Manifest:
    """Read what a file says of itself, and hash it.

    Raises
    ------
    ManifestError
        When it is not Parquet, cannot be read, or lacks required columns.
    """
    with _readable(path):
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        with parquet.ParquetFile(path) as file:
            names, n_rows = file.schema_arrow.names, file.metadata.num_rows
    layout = recognise(str(path), names, wanted)
    require(str(path), layout, required)
    return Manifest(path, sha256, path.stat().st_size, n_rows, layout)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as exc:
        raise ManifestError(f"{path}: cannot be read as Parquet: {_one_line(exc)}") from exc


def _is_text(kind: pa.DataType) -> bool:
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_binary)
    return any(is_kind(kind) for is_kind in texts)


def _one_line(exc: Exception) -> str:
    return " ".join(str(exc).split())
