"""The coadd files of one brick: where they are, in which state, and as files that cfitsio can open."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from etl.cutouts.files import BANDS
from etl.cutouts.source import SourceFile, SourceVersion
from etl.errors import CoaddError
from etl.storage import LocalStore, ObjectStat, Store

PIXELS = ("image", "invvar")
"""Kinds of files that a brick must have in each band."""

MAPS = ("psfsize", "nexp")
"""Kinds that it may have: the conditions are not known without them."""

_LAYOUTS = ("coadd/{group}/{brick}/", "{group}/{brick}/", "{brick}/", "")
"""Folders, below the place given, in which a brick's files are looked for; the first is the survey's own."""

_N_AT_ONCE = 6
"""Requests at once to a store that answers over a network."""

Which = tuple[str, str]
"""Kind and band of a file."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class BrickFiles:
    """The files of one brick by kind and band, and the state that they are in."""

    brickname: str
    keys: dict[Which, str]
    stats: dict[Which, ObjectStat]
    source: SourceVersion


def find_brick(store: Store, brickname: str) -> BrickFiles | None:
    """Look for the files of a brick; None where its r image is in none of the folders.

    Raises
    ------
    CoaddError
        When the r image is there and another file of pixels is not.
    """
    wanted = [(kind, band) for kind in (*PIXELS, *MAPS) for band in BANDS]
    names = {(kind, band): f"legacysurvey-{brickname}-{kind}-{band}.fits.fz" for kind, band in wanted}
    for layout in _LAYOUTS:
        folder = layout.format(group=brickname[:3], brick=brickname)
        if store.stat(folder + names["image", "r"]) is None:
            continue
        answers = _each(store, store.stat, [folder + names[which] for which in wanted])
        stats = {which: stat for which, stat in zip(wanted, answers, strict=True) if stat is not None}
        absent = [names[which] for which in wanted if which[0] in PIXELS and which not in stats]
        if absent:
            raise CoaddError(f"brick {brickname}: {', '.join(absent)} missing beside the r image; fetch them")
        keys = {which: folder + names[which] for which in stats}
        return BrickFiles(brickname, keys, stats, _source(store, brickname, folder, keys, stats))
    return None


def no_such_brick(brickname: str) -> CoaddError:
    """Return the error for a brick that `find_brick` does not find."""
    name = f"legacysurvey-{brickname}-image-r.fits.fz"
    return CoaddError(f"brick {brickname}: no {name} there; fetch its coadds or correct --coadds")


@contextmanager
def local_files(store: Store, files: BrickFiles, kinds: Sequence[str]) -> Iterator[dict[Which, Path]]:
    """Give paths of the files of some kinds, for cfitsio, which reads no object store.

    Raises
    ------
    CoaddError
        When a file changed its size between the look at it and its reading.
    """
    chosen = [which for which in files.keys if which[0] in kinds]
    if isinstance(store, LocalStore):
        yield {which: store.root / files.keys[which] for which in chosen}
        return
    with tempfile.TemporaryDirectory(prefix="stronglens-brick-") as folder:
        paths = {which: Path(folder) / "-".join((*which, "copy.fits.fz")) for which in chosen}

        def fetch(which: Which) -> None:
            data = store.get_bytes(files.keys[which])
            if len(data) != files.stats[which].n_bytes:
                name = store.uri(files.keys[which])
                expected = files.stats[which].n_bytes
                raise CoaddError(f"{name}: has {len(data)} bytes, {expected} a moment ago; run again when it is whole")
            paths[which].write_bytes(data)

        _each(store, fetch, chosen)
        yield paths


def _source(
    store: Store, brickname: str, folder: str, keys: dict[Which, str], stats: dict[Which, ObjectStat]
) -> SourceVersion:
    address = f"{store.address}/"
    files = tuple(SourceFile(address + keys[which], stats[which].n_bytes, stats[which].version) for which in keys)
    state = "\n".join(f"{file.uri.rpartition('/')[2]} {file.n_bytes} {file.version}" for file in files)
    version = hashlib.sha256(state.encode()).hexdigest()
    return SourceVersion("coadd", brickname, (address + folder).rstrip("/"), version, files)


def _each(store: Store, ask: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
    """Ask one after the other in a folder, several at once over a network."""
    if isinstance(store, LocalStore):
        return [ask(item) for item in items]
    with ThreadPoolExecutor(_N_AT_ONCE) as threads:
        return list(threads.map(ask, items))
