"""The files of the fault test, what astropy and hashlib say of them, and whether the database says the same."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from astropy.io import fits

N_FILES = 10
N_ROWS = 8000


@dataclass(frozen=True)
class Version:
    """One content that a file has at a time: key and reddening of its pool galaxies, in the order of the keys."""

    path: Path
    keys: np.ndarray
    ebv: np.ndarray
    n_read: int
    sha256: str


class Files:
    """A folder of sweep files that come in two versions; `now` tells which one each file has."""

    def __init__(self, folder: Path, sweep_files: Any) -> None:
        self.folder = folder / "sweeps"
        self.folder.mkdir()
        self._versions: dict[str, list[Version]] = {}
        self.now: dict[str, int] = {}
        for number in range(N_FILES):
            suffix = ".fits.gz" if number == 3 else ".fits"
            name = f"sweep-{5 * number:03d}m005-{5 * number + 5:03d}p000{suffix}"
            first = _sweep(sweep_files, number, N_ROWS)
            # Keeps most of the galaxies, changed, lacks some, and has new ones; every other file keeps its size.
            n_new = N_ROWS // 4 if number % 2 else N_ROWS // 3
            second = np.concatenate([first[N_ROWS // 4 :], _sweep(sweep_files, number + 100, n_new, number)])
            second["EBV"] += 7
            self._versions[name] = []
            for label, sweep in (("first", first), ("second", second)):
                (folder / label).mkdir(exist_ok=True)
                path = sweep_files.write(folder / label / name, sweep)
                self._versions[name].append(_version(path, sweep_files.is_pool_galaxy(path)))
            self.now[name] = 1
            self.change(name)

    def change(self, name: str) -> None:
        """Give a file its other content."""
        self.now[name] = 1 - self.now[name]
        shutil.copyfile(self._versions[name][self.now[name]].path, self.folder / name)

    def check(self, connection: psycopg.Connection[Any], changed: set[str]) -> None:
        """Compare pool, ledger and queue with the files; `changed` are those that this round had to load.

        The pool is compared as a multiset of keys: without its primary key nothing else would notice a duplicate.
        """
        current = {name: versions[self.now[name]] for name, versions in self._versions.items()}
        keys = np.concatenate([version.keys for version in current.values()])
        ebv = np.concatenate([version.ebv for version in current.values()])
        rows = connection.execute("SELECT ls_id, ebv_mag FROM catalog.galaxy ORDER BY ls_id").fetchall()
        found = np.array([row[0] for row in rows], dtype=np.int64)
        order = np.argsort(keys)
        np.testing.assert_array_equal(found, keys[order], "keys of the pool")
        np.testing.assert_array_equal(np.array([row[1] for row in rows], dtype=np.float32), ebv[order], "values")
        ledger = connection.execute(
            "SELECT f.name, f.status, f.n_read, f.n_kept, f.n_bytes, f.sha256, count(g.ls_id) "
            "FROM catalog.sweep_file f LEFT JOIN catalog.galaxy g USING (sweep_file_id) "
            "GROUP BY f.sweep_file_id ORDER BY f.name"
        ).fetchall()
        assert ledger == [
            (name, "loaded", one.n_read, len(one.keys), one.path.stat().st_size, one.sha256, len(one.keys))
            for name, one in sorted(current.items())
        ]
        tasks = connection.execute(
            "SELECT t.name, t.status, r.status FROM catalog.sweep_task t JOIN provenance.run r USING (run_id)"
        ).fetchall()
        assert sorted(name for name, status, _ in tasks if status == "loaded") == sorted(changed), "loaded once each"
        # Only what a killed driver left behind has not ended, and only one without its JVM says that it failed.
        ends = {"loaded", "skipped"}
        known = {"succeeded": ends, "running": ends | {"waiting", "running"}, "failed": ends | {"failed"}}
        assert [task for task in tasks if task[1] not in known[task[2]]] == []


def _sweep(sweep_files: Any, seed: int, n_rows: int, number: int | None = None) -> np.ndarray:
    number = seed if number is None else number
    made = sweep_files.make(n_rows, seed=seed + 1, ra=5 * number + 2.5)
    made["FLUX_Z"] = np.where(made["FLUX_Z"] > 3, 9, 0.1)  # most are bright enough
    made["TYPE"] = np.where(made["TYPE"] == b"DUP", b"PSF", made["TYPE"])
    return np.asarray(made)


def _version(path: Path, is_galaxy: np.ndarray) -> Version:
    with fits.open(path) as hdus:
        table = hdus[1].data
        release, brick, objid = (np.asarray(table[name], dtype=np.int64) for name in ("RELEASE", "BRICKID", "OBJID"))
        keys = (release * 2**40 + brick * 2**16 + objid)[is_galaxy]
        ebv = np.asarray(table["EBV"], dtype=np.float32)[is_galaxy]
    order = np.argsort(keys)
    return Version(path, keys[order], ebv[order], len(release), hashlib.sha256(path.read_bytes()).hexdigest())
