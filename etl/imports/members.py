"""The negatives of an earlier draw, read from its manifest and compared with the catalog."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import ARRAY, BigInteger, Connection, any_, literal, select

from db.models.catalog import LensNeighbour
from db.models.sampling import CONFUSER_CATEGORIES, STRATUM_TYPES
from etl.imports.batches import CheckedBatch
from etl.imports.columns import MEASURED
from etl.imports.derived import CATEGORY_INPUTS, Rules, nobs_z_bin_of, said, texts
from etl.imports.findings import Differences, Mask, RowProblems, Texts
from etl.imports.known import compare_known, known_galaxies

POSITIVE_POOLS = ("POS", "POSITIVE")

_FREE = ("healpix_128", "nobs_z_bin", "type_bin", "split")
"""Derived columns that do not depend on who was drawn."""


@dataclass(frozen=True)
class NegativeReader:
    """Reads negatives batch by batch, noting rows that cannot be taken and values that differ."""

    connection: Connection
    rules: Rules
    problems: RowProblems
    found: Differences

    def read(self, batch: CheckedBatch) -> tuple[pd.DataFrame, Texts]:
        """Return the negatives of a batch that are in the catalog, and the names of those that are not.

        Returns
        -------
        pandas.DataFrame
            ls_id, ra, dec, nobs_z_bin and type of the stratum, pool, category (empty: none), inclusion_probability
            (NaN: not known) and is_near_lens; position and stratum are those of the catalog's galaxy.
        numpy.ndarray
            Names of the missing.
        """
        self.problems.note(batch.numbers, batch.keys.names, _wrong_words(batch.rows))
        measured = [name for name in MEASURED if name in batch.rows.schema.names]
        columns = list(dict.fromkeys(["ra", "dec", "type", "nobs_z", *CATEGORY_INPUTS, *measured]))
        ls_id = batch.keys.ls_id
        galaxies = known_galaxies(self.connection, ls_id[ls_id >= 0], columns)
        is_known = np.isin(ls_id, galaxies.index.to_numpy(np.int64))
        galaxies = galaxies.loc[ls_id[is_known]]
        rows = batch.rows.filter(pa.array(is_known))
        known = CheckedBatch(batch.numbers[is_known], rows, batch.keys)
        return self._compared(known, batch.keys.names[is_known], galaxies), batch.keys.names[~is_known]

    def _compared(self, batch: CheckedBatch, names: Texts, galaxies: pd.DataFrame) -> pd.DataFrame:
        rows = batch.rows
        compared = [name for name in galaxies.columns if name in rows.schema.names]
        compare_known(rows, names, galaxies[compared], self.found)
        self.rules.compare(_with_catalog(rows, galaxies, _FREE), names, self.found)
        # N1 is drawn from what N2 leaves, confusers too: only an N2 must be one.
        is_n2 = pools_of(rows) == "N2"
        confusers = _with_catalog(rows.filter(pa.array(is_n2)), galaxies[is_n2], ("category",))
        self.rules.compare(confusers, names[is_n2], self.found)
        types, is_exp = galaxies["type"].to_numpy(object), (galaxies["type"] == "EXP").to_numpy(np.bool_)
        stands_in = said(rows, "type_bin") if "type_bin" in rows.schema.names else types
        members = pd.DataFrame(
            {
                "ls_id": galaxies.index.to_numpy(np.int64),
                "ra": galaxies["ra"].to_numpy(np.float64),
                "dec": galaxies["dec"].to_numpy(np.float64),
                "nobs_z_bin": nobs_z_bin_of(galaxies["nobs_z"].to_numpy(np.float64)),
                "type": np.where(is_exp, stands_in, types),
                "pool": pools_of(rows),
                "category": said(rows, "category"),
                "inclusion_probability": _probabilities(rows),
                "is_near_lens": _near_lens(self.connection, galaxies.index.to_numpy(np.int64)),
            }
        )
        self._judge(batch.numbers, names, members, is_exp)
        return members

    def _judge(self, numbers: NDArray[np.int64], names: Texts, members: pd.DataFrame, is_exp: Mask) -> None:
        is_n1, is_near = (members["pool"] == "N1").to_numpy(), members["is_near_lens"].to_numpy()
        problems: dict[str, Mask] = {
            "an EXP galaxy is no N1": is_exp & is_n1,
            "its type_bin does not say which stratum an EXP galaxy stands in": is_exp
            & ~np.isin(members["type"].to_numpy(np.str_), STRATUM_TYPES),
            "its galaxy has no stratum (nobs_z is 0)": (members["nobs_z_bin"] == "").to_numpy(),
        }
        self.problems.note(numbers, names, problems)
        near = np.where(is_near, "within 11 arcsec", "").astype(object)
        self.found.compare("known lens near by", names, np.full(len(names), None, dtype=object), near, is_near)


def pools_of(rows: pa.RecordBatch) -> Texts:
    """Return the pools of rows in capitals: N1, N2, POS or POSITIVE; shape (n,)."""
    pools = pc.utf8_upper(pa.array(texts(rows, "pool"), pa.string()))
    return np.asarray(pools.to_numpy(zero_copy_only=False), dtype=object)


def is_positive(rows: pa.RecordBatch) -> tuple[Mask, dict[str, Mask]]:
    """Tell which rows are positives, by `pool`, and which ones a `label` contradicts; shape (n,) each."""
    positive: Mask = np.isin(pools_of(rows).astype(np.str_), POSITIVE_POOLS)
    if "label" not in rows.schema.names:
        return positive, {}
    label = pc.fill_null(rows.column("label"), -1).to_numpy(zero_copy_only=False)
    return positive, {"label and pool say different things": label != positive}


def _wrong_words(rows: pa.RecordBatch) -> dict[str, Mask]:
    """Return, by reason, which negatives say what no member of a draw can be."""
    pools, categories = pools_of(rows).astype(np.str_), said(rows, "category").astype(np.str_)
    problems: dict[str, Mask] = {
        "its pool is none of N1, N2, POS": ~np.isin(pools, ("N1", "N2")),
        f"N2 with a category that is none of {', '.join(CONFUSER_CATEGORIES)}": (pools == "N2")
        & ~np.isin(categories, CONFUSER_CATEGORIES),
        "N1 with a category": (pools == "N1") & (categories != ""),
    }
    if "inclusion_probability" in rows.schema.names:
        probability = rows.column("inclusion_probability").to_numpy(zero_copy_only=False)
        is_wrong = ~((probability > 0) & (probability <= 1)) & (categories != "mined")
        problems["inclusion_probability is not in (0, 1]"] = is_wrong
    return problems


def _probabilities(rows: pa.RecordBatch) -> NDArray[np.float64]:
    """Return the inclusion probabilities of negatives; NaN where a manifest has none, and for mined ones."""
    if "inclusion_probability" not in rows.schema.names:
        return np.full(len(rows), np.nan)
    given: NDArray[np.float64] = rows.column("inclusion_probability").to_numpy(zero_copy_only=False)
    return np.where(said(rows, "category") == "mined", np.nan, given)


def _near_lens(connection: Connection, keys: NDArray[np.int64]) -> Mask:
    of_keys = LensNeighbour.ls_id == any_(literal(keys.tolist(), ARRAY(BigInteger)))
    near = connection.scalars(select(LensNeighbour.ls_id).where(of_keys).distinct()).all()
    return np.isin(keys, np.array(near, dtype=np.int64))


def _with_catalog(rows: pa.RecordBatch, galaxies: pd.DataFrame, derived: Sequence[str]) -> pa.RecordBatch:
    """Return derived columns of the manifest beside what the catalog has of the galaxies."""
    ours = {"type": pa.array(galaxies["type"].to_numpy(object), pa.string())}
    for name in ("ra", "dec", "nobs_z", *CATEGORY_INPUTS):
        ours[name] = pa.array(galaxies[name].to_numpy(np.float64), from_pandas=True)
    return pa.RecordBatch.from_pydict(ours | {name: rows.column(name) for name in derived if name in rows.schema.names})
