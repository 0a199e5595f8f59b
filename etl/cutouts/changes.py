"""Whether the coadds are still as they were when cutouts of a version were cut from them.

A version of a set of cutouts is cut from one state of each brick. A brick whose files have changed since gives no more
cutouts to that version, and takes none of its own away: it is refused by name, and a new version is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from sqlalchemy import Connection, select

from db.models.imaging import Cutout, CutoutSource, PixelSource
from etl.bricks import brick_of, brick_of_name, centre_of, name_of
from etl.cutouts.brick import changed_since
from etl.cutouts.coadd import CoaddSource
from etl.cutouts.targets import DrawRef
from etl.distribute import Distribute
from etl.errors import CoaddError

States = Mapping[str, frozenset[str]]
"""Versions that were recorded, by the address of the source."""

_BRICKS_PER_PIECE = 64
_PROBES_RA_DEG, _PROBES_DEC_DEG = np.arange(-0.3, 0.31, 0.1), np.array([-0.25, 0.0, 0.25])


@dataclass(frozen=True)
class Recorded:
    """The states that a version of a set was cut from, by name of the brick."""

    by_brick: Mapping[str, States]

    def around(self, bricknames: Sequence[str]) -> dict[str, States]:
        """Give those of each brick and its neighbours."""
        if not self.by_brick:
            return {name: {} for name in bricknames}
        return {
            name: {uri: versions for one in names for uri, versions in self.by_brick.get(one, {}).items()}
            for name, names in _with_neighbours(bricknames).items()
        }


def recorded_states(connection: Connection, draw: DrawRef, version: str) -> Recorded:
    """Return the states of the coadds that cutouts of a version, of the draw's survey and layer, were cut from."""
    rows = connection.execute(
        select(PixelSource.name, PixelSource.uri, PixelSource.version)
        .join(CutoutSource, CutoutSource.pixel_source_id == PixelSource.pixel_source_id)
        .join(Cutout, Cutout.cutout_id == CutoutSource.cutout_id)
        .where(
            PixelSource.kind == "coadd",
            Cutout.survey == draw.survey,
            Cutout.layer == draw.layer,
            Cutout.version == version,
        )
        .distinct()
    )
    found: dict[str, dict[str, frozenset[str]]] = {}
    for name, uri, state in rows:
        of_brick = found.setdefault(name, {})
        of_brick[uri] = of_brick.get(uri, frozenset()) | {state}
    return Recorded(found)


def changed_bricks(
    source: CoaddSource,
    recorded: Recorded,
    version: str,
    distribute: Distribute,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Look at the files of every brick that was cut; return one line for each that changed or is gone.

    Only bricks that were cut from this very place are looked at: elsewhere a file has another time of change.
    """
    known = [(name, uri, versions) for name, of in recorded.by_brick.items() for uri, versions in of.items()]
    here = [item for item in known if item[1].startswith(f"{source.address}/")]
    pieces = [tuple(here[first : first + _BRICKS_PER_PIECE]) for first in range(0, len(here), _BRICKS_PER_PIECE)]
    lines: list[str] = []
    with distribute(partial(_changed, source, version), pieces) as results:
        for number, found in enumerate(results, start=1):
            lines += found
            if on_progress is not None:
                on_progress(min(number * _BRICKS_PER_PIECE, len(here)), len(here))
    return lines


def _changed(source: CoaddSource, version: str, piece: Sequence[tuple[str, str, frozenset[str]]]) -> list[str]:
    lines = []
    for name, uri, versions in piece:
        try:
            state = source.state(name)
        except CoaddError as exc:
            lines.append(str(exc))
            continue
        if state is None:
            lines.append(f"brick {name}: its coadds, that {version} was cut from, are gone from {uri}")
        elif state.uri != uri or state.version not in versions:
            lines.append(changed_since(name, version))
    return lines


def _with_neighbours(bricknames: Sequence[str]) -> dict[str, list[str]]:
    """Name each brick and those around it; a name that is none of the survey's has no neighbours."""
    names = np.asarray(bricknames, dtype=np.str_)
    brickid = brick_of_name(names)
    ra, dec = centre_of(np.maximum(brickid, 1))
    step = 1 / np.maximum(np.cos(np.radians(dec)), 0.01)
    probe_ra = (ra[:, None, None] + _PROBES_RA_DEG[None, :, None] * step[:, None, None]) % 360
    probe_dec = np.clip(dec[:, None, None] + _PROBES_DEC_DEG[None, None, :], -90, 90)
    found = brick_of(*(grid.reshape(-1) for grid in np.broadcast_arrays(probe_ra, probe_dec)))
    near = name_of(found).reshape(len(names), _PROBES_RA_DEG.size * _PROBES_DEC_DEG.size)
    return {
        str(name): sorted({str(name), *(of.tolist() if is_real else ())})
        for name, of, is_real in zip(names, near, (brickid > 0).tolist(), strict=True)
    }
