"""Where a set of cutouts lies: a folder, or a prefix of a bucket."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from etl.cutouts.register.errors import RegisterError
from etl.storage import LocalStore, Store, open_store

SUFFIX = ".npz"


@dataclass(frozen=True)
class Place:
    """Files below `prefix` of the store at `root`; a folder's store is the folder around it."""

    root: str
    prefix: str
    endpoint_url: str | None

    @property
    def store(self) -> Store:
        """The store that the files are read from, by their names behind `prefix`."""
        return open_store(self.root, self.endpoint_url)

    def names(self) -> list[str]:
        """List the npz files at any depth, by their keys below the place, sorted.

        Raises
        ------
        RegisterError
            When there is none.
        """
        keys = self.store.keys(self.prefix)
        names = sorted(key.removeprefix(self.prefix) for key in keys if key.endswith(SUFFIX))
        if not names:
            there = f"{self.root}/{self.prefix}".rstrip("/")
            raise RegisterError(f"{there}: holds no *{SUFFIX}; give the folder or prefix of the cutouts")
        return names

    def uris_in(self, store: Store, names: pd.Series) -> pd.Series:
        """Return the addresses that files have in a store that they lie in; None for those that do not."""
        own = self.store
        base = f"{Path(own.root, self.prefix)}/" if isinstance(own, LocalStore) else own.uri(self.prefix)
        inside = f"{store.address}/"
        full = base + names
        uris = pd.Series(None, names.index, dtype=object)
        is_inside = full.str.startswith(inside)
        uris[is_inside] = full[is_inside].str.removeprefix(inside).map(store.uri)
        return uris


def find_place(place: str, endpoint_url: str | None) -> Place:
    """Understand what a user calls the place.

    Raises
    ------
    RegisterError
        When it is no folder.
    """
    if "://" in place:
        return Place(place, "", endpoint_url)
    folder = Path(place).expanduser().resolve()
    if not folder.is_dir():
        raise RegisterError(f"{place}: is no folder; give the folder or s3://bucket/prefix of the cutouts")
    return Place(str(folder.parent), f"{folder.name}/", endpoint_url)
