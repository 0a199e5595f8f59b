"""What the columns of an earlier manifest may be called, and what they become here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa

from etl.imports.errors import ManifestError
from etl.sweeps.columns import GALAXY_FLOATS, GALAXY_INTEGERS, GALAXY_SCHEMA

KEYS = ("galaxy_id", "brickname", "objid", "brickid", "release")
"""Columns that a galaxy's key is built from."""

MEASURED = (*GALAXY_FLOATS.values(), *GALAXY_INTEGERS.values())
"""Columns of ``catalog.galaxy`` that were measured; the first letters of the sweep's names are their other names."""

ALWAYS_MEASURED = ("nobs_z", "flux_g", "flux_r", "flux_z")
"""The measured columns that every manifest must have."""

DERIVED = ("healpix_128", "nobs_z_bin", "type_bin", "split", "pool", "category")
"""Columns that follow from others: derived again and compared."""

_OTHER_NAMES = {
    "healpix_128": ("healpix_nside128",),
    "category": ("confuser_category",),
    "type": ("tractor_type",),
    "inclusion_probability": ("inclusion_prob",),
}

_TYPES: dict[str, pa.DataType] = {
    **{name: GALAXY_SCHEMA.field(name).type for name in ("ra", "dec", "type", *MEASURED)},
    **dict.fromkeys(
        ("galaxy_id", "brickname", "nobs_z_bin", "type_bin", "split", "pool", "category", "tier"), pa.string()
    ),
    **dict.fromkeys(("objid", "brickid", "release", "healpix_128", "label"), pa.int64()),
    "inclusion_probability": pa.float64(),
}
"""Every column that an import reads, and the type it is read as."""


@dataclass(frozen=True)
class Layout:
    """Which column of a file is which of ours.

    Attributes
    ----------
    columns
        The file's name of each of our columns that it has.
    ignored
        The file's other columns, in its order.
    """

    columns: dict[str, str]
    ignored: tuple[str, ...]

    def has(self, *names: str) -> bool:
        """Tell whether the file has all of these columns of ours."""
        return all(name in self.columns for name in names)

    def type_of(self, name: str) -> pa.DataType:
        """Return the type that one of our columns is read as."""
        return _TYPES[name]


def recognise(file: str, names: Sequence[str], wanted: Collection[str]) -> Layout:
    """Find our columns among a file's, whatever the case of their letters.

    Parameters
    ----------
    file
        What the file is called in messages.
    names
        Its columns.
    wanted
        Those of our columns that the import has a use for.

    Raises
    ------
    ManifestError
        When two of its columns are one of ours.
    """
    ours = {other: name for name in wanted for other in (name, *_OTHER_NAMES.get(name, ()))}
    ours |= {fits.lower(): name for fits, name in (GALAXY_FLOATS | GALAXY_INTEGERS).items() if name in wanted}
    columns: dict[str, str] = {}
    ignored = []
    for theirs in names:
        name = ours.get(theirs.lower())
        if name is None:
            ignored.append(theirs)
        elif name in columns:
            raise ManifestError(f"{file}: columns {columns[name]} and {theirs} are both {name}; drop one of them")
        else:
            columns[name] = theirs
    return Layout(columns, tuple(ignored))


def require(file: str, layout: Layout, names: Sequence[str]) -> None:
    """Refuse a file that lacks columns; a key may be `galaxy_id`, or `brickname` and `objid`.

    Raises
    ------
    ManifestError
        Naming all that are missing.
    """
    missing = [name for name in names if not layout.has(name)]
    if not layout.has("galaxy_id") and not layout.has("brickname", "objid"):
        missing.insert(0, "galaxy_id (or brickname and objid)")
    if missing:
        raise ManifestError(f"{file}: has no column {', '.join(missing)}; an import cannot do without")
