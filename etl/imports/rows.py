"""The rows of an imported draw, and its positives against those of the manifest."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
from sqlalchemy import Connection, func, insert, select, update

from db.copy import copy_arrow, psycopg_connection
from db.models import Survey
from db.models.catalog import Lens, SweepFile
from db.models.sampling import Draw, DrawMember, Stratum
from db.provenance import RecordedRun
from etl.draw.negatives import NEGATIVE_WEIGHT
from etl.draw.rows import insert_positives, insert_strata
from etl.draw.rules import DrawConfig
from etl.imports.derived import cells_of
from etl.imports.findings import Differences
from etl.survey import DATA_RELEASE


def insert_draw(connection: Connection, rules: DrawConfig, run: RecordedRun) -> int:
    """Write the row of an imported draw and the positives that the catalog has for it; return its key."""
    galaxies = select(func.coalesce(func.sum(SweepFile.n_kept), 0)).where(
        SweepFile.survey == Survey.DR10, SweepFile.status == "loaded"
    )
    draw_id = connection.scalar(
        insert(Draw)
        .values(
            name=rules.name,
            survey=Survey.DR10,
            data_release=DATA_RELEASE,
            is_imported=True,
            config_sha256=run.config_sha256,
            run_id=run.run_id,
            n_lenses_known=connection.scalar(select(func.count()).select_from(Lens)),
            n_galaxies=connection.scalar(galaxies),
        )
        .returning(Draw.draw_id)
    )
    assert draw_id is not None  # noqa: S101 - RETURNING of one inserted row
    insert_strata(connection, draw_id, rules, DATA_RELEASE)
    insert_positives(connection, draw_id, rules, DATA_RELEASE)
    return int(draw_id)


def insert_negatives(connection: Connection, draw_id: int, negatives: pd.DataFrame) -> None:
    """Write the negatives, as `NegativeReader` has them, and what each stratum drew; its target stays unknown."""
    strata = connection.execute(
        select(Stratum.stratum_id, Stratum.nobs_z_bin, Stratum.type).where(Stratum.draw_id == draw_id)
    )
    frame = pd.DataFrame(strata.all(), columns=["stratum_id", "nobs_z_bin", "type"])
    members = negatives.merge(frame, on=["nobs_z_bin", "type"], how="left", validate="many_to_one")
    kinds = np.select([members["category"] == "mined", members["pool"] == "N2"], ["mined", "n2"], "n1")
    drawn = Counter(zip(members["stratum_id"].tolist(), kinds.tolist(), strict=True))
    not_known = dict.fromkeys(("n_eligible_n1", "n_eligible_n2", "n_target_n1", "n_target_n2"))
    for stratum_id in frame["stratum_id"].tolist():
        counts = {f"n_drawn_{kind}": drawn[stratum_id, kind] for kind in ("n1", "n2", "mined")}
        connection.execute(update(Stratum).where(Stratum.stratum_id == stratum_id).values(**not_known, **counts))
    copy_arrow(psycopg_connection(connection), "sampling.draw_member", _as_members(draw_id, members))


def _as_members(draw_id: int, members: pd.DataFrame) -> pa.Table:
    n_rows = len(members)
    return pa.table(
        {
            "draw_id": pa.repeat(pa.scalar(draw_id, pa.int32()), n_rows),
            "label": pa.repeat(pa.scalar(0, pa.int16()), n_rows),
            "pool": pa.array(members["pool"], pa.string()),
            "ls_id": pa.array(members["ls_id"], pa.int64()),
            "stratum_id": pa.array(members["stratum_id"], pa.int32()),
            "category": pa.array(members["category"].where(members["category"] != ""), pa.string(), from_pandas=True),
            "inclusion_probability": pa.array(members["inclusion_probability"], pa.float64(), from_pandas=True),
            "weight": pa.repeat(NEGATIVE_WEIGHT, n_rows),
            "ra": pa.array(members["ra"], pa.float64()),
            "dec": pa.array(members["dec"], pa.float64()),
            "healpix_128": pa.array(cells_of(members["ra"].to_numpy(), members["dec"].to_numpy())),
        }
    )


def compare_positives(connection: Connection, draw_id: int, positives: pd.DataFrame, found: Differences) -> None:
    """Compare a manifest's positives (ls_id, name, tier) with the matched ones that the catalog gives the draw."""
    if positives.empty:
        return
    rows = connection.execute(
        select(DrawMember.ls_id, DrawMember.tier, Lens.name)
        .join(Lens, Lens.lens_id == DrawMember.lens_id)
        .where(DrawMember.draw_id == draw_id, DrawMember.label == 1, DrawMember.ls_id.is_not(None))
    )
    ours = pd.DataFrame(rows.all(), columns=["ls_id", "tier_here", "lens"]).drop_duplicates("ls_id")
    both = positives.drop_duplicates("name").merge(ours, on="ls_id", how="outer", indicator="side")
    names = both["name"].where(both["name"].notna(), both["lens"]).to_numpy(object)
    theirs = np.where(both["side"] == "right_only", "", "there").astype(object)
    here = np.where(both["side"] == "left_only", "", "there").astype(object)
    found.compare("matched positives", names, theirs, here, theirs != here)
    if "tier" in both:
        shared = (both["side"] == "both").to_numpy(np.bool_)
        theirs, here = both["tier"].to_numpy(object)[shared], both["tier_here"].to_numpy(object)[shared]
        found.compare("tier", names[shared], theirs, here, theirs != here)
