"""The manifest of a snapshot: every column of `results.manifest`, one row per cutout, by cutout_id."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pyarrow import parquet
from sqlalchemy import Engine, column, inspect, select, table

from training.manifest import COLUMNS, Manifest, as_column
from training.snapshot.layout import Description

ROWS_AT_ONCE = 20_000
UNITS = {
    "ra": "deg, ICRS",
    "dec": "deg, ICRS",
    "healpix_128": "HEALPix cell, nside 128, NESTED",
    "weight": "1, of the training loss",
    "inclusion_probability": "1",
    "psf_fwhm_z_arcsec": "arcsec",
}
_ARROW = {
    "BIGINT": pa.int64(),
    "BOOLEAN": pa.bool_(),
    "DOUBLE PRECISION": pa.float64(),
    "INTEGER": pa.int32(),
    "REAL": pa.float32(),
    "SMALLINT": pa.int16(),
    "TEXT": pa.string(),
}


def write_manifest_file(engine: Engine, manifest: Manifest, path: Path) -> None:
    """Write the rows of a manifest; units are in the metadata of the columns."""
    with engine.connect() as connection:
        columns = inspect(connection).get_columns("manifest", schema="results")
        names = [str(about["name"]) for about in columns]
        fields = [
            pa.field(name, _ARROW[str(about["type"])], metadata={"unit": UNITS[name]} if name in UNITS else None)
            for name, about in zip(names, columns, strict=True)
        ]
        of = {"draw_id": manifest.draw_id, "scheme_id": manifest.scheme_id, "version": manifest.cutout_version}
        view = table("manifest", *map(column, names), schema="results")
        rows = select(view).where(*(view.c[name] == value for name, value in of.items())).order_by(view.c.cutout_id)
        schema = pa.schema(fields)
        with parquet.ParquetWriter(path, schema) as writer:
            for part in connection.execution_options(yield_per=ROWS_AT_ONCE).execute(rows).partitions():
                values = zip(*part, strict=True)
                arrays = [
                    pa.array(column_values, field.type) for column_values, field in zip(values, schema, strict=True)
                ]
                writer.write_batch(pa.record_batch(arrays, schema))


def read_manifest_file(path: Path, description: Description) -> Manifest:
    """Read the rows that training needs from a snapshot's manifest."""
    rows = parquet.read_table(path, columns=list(COLUMNS))
    columns = {name: as_column(name, rows[name].to_pylist()) for name in COLUMNS}
    return Manifest(
        draw_id=description.draw_id,
        scheme_id=description.scheme_id,
        cutout_version=description.cutout_version,
        survey=description.survey,
        layouts=frozenset({(description.pack.bands, description.cutout_px)}),
        **columns,
    )
