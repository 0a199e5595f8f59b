"""Every public view against a recomputation in pandas from the base tables of a populated database."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score
from sqlalchemy import Engine, text

from db.definitions import VIEW_ORDER
from etl.splits import SplitConfig, split_of_cells
from tests.conftest import Populated

Read = Callable[[str], pd.DataFrame]


@pytest.fixture
def read(populated: Populated) -> Read:
    """Read a table or view whole."""

    def whole(name: str) -> pd.DataFrame:
        with populated.engine.connect() as connection:
            result = connection.execute(text(f"SELECT * FROM {name}"))
            rows = pd.DataFrame(result.all(), columns=list(result.keys()), dtype=object)
        return rows.apply(exact)

    return whole


def exact(column: pd.Series) -> pd.Series:
    """Numbers as they are: an `ls_id` beside a NULL would lose its last bits as a float."""
    known = column.dropna()
    if known.map(type).eq(bool).all() and len(known):
        return column.astype(bool)
    if known.map(type).eq(int).all() and len(known):
        return column.astype("Int64" if len(known) < len(column) else "int64")
    if known.map(type).eq(float).all() and len(known):
        return column.astype("float64")
    return column


def test_every_view_has_rows_but_those_that_must_not(read: Read) -> None:
    sizes = {name: len(read(f"results.{name}")) for name in VIEW_ORDER}
    assert sizes.pop("split_leakage") == 0
    assert sizes.pop("cross_validation_folds") == sizes.pop("cross_validation") == 0  # the demo cross-validates nothing
    assert sizes.pop("quarantine") == 0
    assert sizes.pop("model_diversity") == 0  # the demo compares no models
    assert sizes.pop("held_out_scores") == sizes.pop("discoveries") == 0  # nor does it look for lenses
    assert min(sizes.values()) > 0, sizes


def manifest(read: Read) -> pd.DataFrame:
    """Manifest from the base tables."""
    member, cutout, guard = read("sampling.draw_member"), read("imaging.cutout"), read("sampling.guard_drop")
    cutout = cutout[cutout.status != "rejected"]
    positive = member[member.label == 1].merge(cutout, on="lens_id", suffixes=("", "_cutout"))
    negative = member[member.label == 0].merge(cutout, on="ls_id", suffixes=("", "_cutout"))
    rows = pd.concat([positive, negative])
    rows = rows[~rows.member_id.isin(guard.member_id)]
    return rows.assign(split=split_of_cells(rows.healpix_128.to_numpy(), SplitConfig()))


def test_manifest(read: Read) -> None:
    found = read("results.manifest").set_index("cutout_id").sort_index()
    wanted = manifest(read).set_index("cutout_id").sort_index()
    assert found.index.equals(wanted.index)
    assert found.index.is_unique
    for name in ("member_id", "label", "weight", "split", "pool", "uri", "sha256", "healpix_128"):
        pd.testing.assert_series_equal(found[name], wanted[name], check_names=False, check_dtype=False)
    assert {"train", "val", "test"} == set(found.split)


def test_gates(read: Read) -> None:
    found, verdict = read("results.gates"), read("imaging.validation")
    rules = read("imaging.gate").merge(verdict, on=["draw_id", "version"]).set_index("rule")
    assert set(found.rule) == set(rules.index) == {"positives_sound", "negatives_sound", "core_ratio", "no_shortcut"}
    by_rule = found.set_index("rule").loc[rules.index]
    for name in ("value", "limit_value", "is_passed", "detail", "is_go", "n_cutouts", "n_quarantined"):
        pd.testing.assert_series_equal(by_rule[name], rules[name], check_names=False, check_dtype=False)
    assert verdict.is_go.tolist() == [bool(found.is_passed.all())]
    usable = read("imaging.cutout")
    usable = usable[usable.uri.notna()].sort_values("cutout_id")
    lines = "".join(f"{key} {digest}\n" for key, digest in zip(usable.cutout_id, usable.sha256, strict=True))
    assert verdict.cutouts_sha256.tolist() == [hashlib.sha256(lines.encode()).hexdigest()]
    assert verdict.n_cutouts.tolist() == [len(usable)]


def test_positives(read: Read) -> None:
    found, lens = read("results.positives"), read("catalog.lens")
    grades, redshifts = read("catalog.lens_grade"), read("catalog.lens_redshift")
    match, galaxy = read("catalog.lens_match"), read("catalog.galaxy").set_index("ls_id")
    assert len(found) == 5104 == found.lens_id.nunique()
    assert found.tier.value_counts().to_dict() == {"A": 435, "B": 4669}
    assert set(found.lens_id) == set(lens[lens.tier.notna()].lens_id)
    assert (found.weight == found.tier.map({"A": 1.0, "B": 0.5})).all()
    matched = match.set_index("lens_id").ls_id
    by_lens = found.set_index("lens_id")
    assert by_lens.ls_id.dropna().astype("int64").to_dict() == {
        key: value for key, value in matched.to_dict().items() if key in by_lens.index
    }
    types = galaxy.type.reindex(by_lens.ls_id.dropna().astype("int64"))
    assert (by_lens.match_type.dropna().to_numpy() == types.to_numpy()).all()
    n_grades = grades.groupby("lens_id").size().reindex(by_lens.index, fill_value=0)
    assert (by_lens.grades.map(lambda g: len(g) if isinstance(g, list) else 0) == n_grades).all()
    first = redshifts.sort_values("redshift_id").groupby("lens_id").z.first().reindex(by_lens.index)
    pd.testing.assert_series_equal(by_lens.redshift, first, check_names=False)
    assert (found.split == split_of_cells(found.healpix_128.to_numpy() if "healpix_128" in found else
            lens.set_index("lens_id").healpix_128.loc[found.lens_id].to_numpy(), SplitConfig())).all()  # fmt: skip


def test_strata(read: Read) -> None:
    found, member = read("results.strata"), read("sampling.draw_member")
    for row in found.itertuples():
        here = member[member.stratum_id == row.stratum_id]
        assert row.n_positives == (here.label == 1).sum()
        assert row.n_drawn_n1 == (here.pool == "N1").sum()
        assert row.n_drawn_n2 == (here.pool == "N2").sum()
        assert row.shortfall_n1 == row.n_positives * 85 - row.n_drawn_n1
        assert row.shortfall_n2 == row.n_positives * 15 - row.n_drawn_n2
    assert len(found) == 12


def scores(read: Read, model: str) -> pd.DataFrame:
    """Scores of one model with its objects, from the base tables."""
    models, score = read("training.model"), read("training.score")
    score = score[score.model_id == models.set_index("name").model_id[model]]
    rows = (
        manifest(read)
        .merge(score, on="cutout_id")
        .merge(read("catalog.lens")[["lens_id", "discovery", "name"]], on="lens_id", how="left")
    )
    strata = read("sampling.stratum")[["stratum_id", "nobs_z_bin", "type"]]
    return rows.merge(strata, on="stratum_id", how="left", suffixes=("", "_stratum"))


def test_scores(read: Read) -> None:
    found = read("results.scores")
    galaxy = read("catalog.galaxy").set_index("ls_id")
    for model in ("tiny", "tiny-shuffled"):
        here = found[found.model_name == model].set_index("cutout_id").sort_index()
        wanted = scores(read, model).set_index("cutout_id").sort_index()
        assert here.index.equals(wanted.index)
        np.testing.assert_array_equal(here.score, wanted.score)
        assert (here.split == wanted.split).all()
        assert (here.label == wanted.label).all()
        ls_id = here.ls_id.dropna().astype("int64")
        flux = galaxy.flux_r.reindex(ls_id).to_numpy(dtype=float)
        np.testing.assert_allclose(here.mag_r_ab[here.ls_id.notna()], 22.5 - 2.5 * np.log10(flux), atol=1e-6)


def test_threshold_table_recall_and_false_positives(read: Read) -> None:
    points = read("evaluation.operating_point")
    table, recall, fpr = (
        read(f"results.{name}") for name in ("threshold_table", "recall_by_stratum", "fpr_by_contaminant")
    )
    rows = scores(read, "tiny")
    negatives = rows[(rows.label == 0) & (rows.split == "val")].score
    assert len(points) == 3
    for point in points.itertuples():
        allowed = int(np.floor(point.fpr_target * len(negatives)))
        assert point.n_exceedances == (negatives >= point.threshold).sum() <= allowed
        for split in ("val", "test"):
            here = rows[rows.split == split].assign(hit=rows.score >= point.threshold)
            line = table[(table.fpr_target == point.fpr_target) & (table.split == split)].iloc[0]
            for tier, k, n in (
                ("a", line.n_recovered_tier_a, line.n_tier_a),
                ("b", line.n_recovered_tier_b, line.n_tier_b),
            ):
                chosen = here[(here.tier == tier.upper()) & (here.discovery == "ground_imaging")]
                assert (k, n) == (chosen.hit.sum(), len(chosen))
            assert (line.n_false_positives, line.n_negatives) == (
                here[here.label == 0].hit.sum(),
                (here.label == 0).sum(),
            )
            assert line.is_threshold_uncertain == (point.n_exceedances < 10)
            check_rates(recall[(recall.fpr_target == point.fpr_target) & (recall.split == split)], "recall")
            check_rates(fpr[(fpr.fpr_target == point.fpr_target) & (fpr.split == split)], "fpr")
            one = recall[
                (recall.fpr_target == point.fpr_target) & (recall.split == split) & (recall["sample"] == "tier_ab")
            ]
            for line in one.itertuples():
                chosen = here[(here.label == 1) & (here.discovery == "ground_imaging")]
                if line.nobs_z_bin is not None:
                    chosen = chosen[chosen.nobs_z_bin.fillna("none") == line.nobs_z_bin]
                if line.type is not None:
                    chosen = chosen[chosen.type.fillna("none") == line.type]
                assert (line.k, line.n) == (chosen.hit.sum(), len(chosen))
            for line in fpr[(fpr.fpr_target == point.fpr_target) & (fpr.split == split)].itertuples():
                chosen = here[here.label == 0]
                if line.pool != "negatives":
                    chosen = chosen[chosen.pool == line.pool]
                if line.category is not None:
                    chosen = chosen[chosen.category == line.category]
                assert (line.k, line.n) == (chosen.hit.sum(), len(chosen))


def check_rates(rows: pd.DataFrame, name: str) -> None:
    """Rates and intervals as scipy has them; none where n < 10."""
    assert len(rows)
    for row in rows.itertuples():
        value, lo, hi = (getattr(row, f"{name}{end}") for end in ("", "_lo", "_hi"))
        if row.n < 10:
            assert pd.isna(value)
            assert pd.isna(lo)
            assert row.interval_method is None
            continue
        wanted = binomtest(row.k, row.n).proportion_ci(0.95, method="wilson")
        assert (value, lo, hi) == pytest.approx((row.k / row.n, wanted.low, wanted.high))
        assert row.interval_method == "wilson"


def test_model_metrics(read: Read) -> None:
    found = read("results.model_metrics").set_index(["model_name", "split", "metric"])
    for split in ("val", "test"):
        rows = scores(read, "tiny")
        rows = rows[rows.split == split]
        assert found.loc[("tiny", split, "auc"), "value"] == pytest.approx(roc_auc_score(rows.label, rows.score))
        tier_a = rows[(rows.label == 0) | (rows.tier == "A")]
        has_enough = tier_a.label.sum() >= 10
        wanted = roc_auc_score(tier_a.label, tier_a.score) if has_enough else np.nan
        assert found.loc[("tiny", split, "auc_tier_a"), "value"] == pytest.approx(wanted, nan_ok=True)
        control = found.loc[("tiny-shuffled", split, "auc")]
        assert control.is_label_shuffled
        error = np.sqrt(
            (control.n_positives + control.n_negatives + 1) / (12 * control.n_positives * control.n_negatives)
        )
        assert abs(control.value - 0.5) < 4 * error
        assert control.n_positives == rows.label.sum()
    with_interval = found[found.interval_method.notna()]
    assert (with_interval.lo <= with_interval.value).all()
    assert (found.value.isna() == (found[["n_positives", "n_negatives"]].min(axis=1) < 10)).all()
    assert found.loc[("tiny", "val", "auc"), "interval_method"] == "bootstrap by sky cell"
    assert (found.n_test_accesses == 1).all()


def unit_vectors(table: pd.DataFrame) -> np.ndarray:
    """Positions on the unit sphere, shape (n, 3)."""
    ra, dec = np.radians(table.ra), np.radians(table.dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


def known_lenses(read: Read) -> pd.DataFrame:
    """Nearest known lens of each pool galaxy within 11 arcsec, brute force."""
    lens, galaxy = read("catalog.lens"), read("catalog.galaxy")
    galaxy = galaxy.reset_index(drop=True)
    unit = {"lens": unit_vectors(lens), "galaxy": unit_vectors(galaxy)}
    rows = []
    for number, vector in enumerate(unit["galaxy"]):
        chord = np.linalg.norm(unit["lens"] - vector, axis=1)
        best = int(chord.argmin())
        arcsec = np.degrees(2 * np.arcsin(chord[best] / 2)) * 3600
        if arcsec <= 11:
            rows.append((galaxy.ls_id[number], lens.name[best], arcsec))
    return pd.DataFrame(rows, columns=["ls_id", "known_lens_name", "arcsec"]).set_index("ls_id")


def test_top_candidates(read: Read) -> None:
    found = read("results.top_candidates")
    found = found[found.model_name == "tiny"].sort_values("rank")
    wanted = scores(read, "tiny").sort_values(["score", "cutout_id"], ascending=[False, True])
    assert found.cutout_id.tolist() == wanted.cutout_id.tolist()
    assert found["rank"].tolist() == list(range(1, len(wanted) + 1))
    assert found.split.tolist() == wanted.split.tolist()
    positives = found[found.lens_id.notna()]
    names = read("catalog.lens").set_index("lens_id").name
    assert (positives.known_lens_name.to_numpy() == names[positives.lens_id.astype(int)].to_numpy()).all()
    assert (positives.known_lens_separation_arcsec == 0).all()


def test_false_positives_are_rematched_against_every_known_lens(populated: Populated, read: Read) -> None:
    rows = scores(read, "tiny")
    points = read("evaluation.operating_point")
    wanted = {
        (point.fpr_target, cutout)
        for point in points.itertuples()
        for cutout in rows[(rows.label == 0) & (rows.score >= point.threshold)].cutout_id
    }
    found = read("results.false_positives")
    assert set(zip(found.fpr_target, found.cutout_id, strict=True)) == wanted
    worst = found.sort_values("score").iloc[-1]
    with populated.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO catalog.lens (name, ra, dec, healpix_128, is_lens_claim, lens_type, discovery) "
                "VALUES ('new discovery', :ra, :dec, 0, true, 'galaxy', 'ground_imaging')"
            ),
            {"ra": worst.ra, "dec": worst.dec},
        )
    rematch(populated.engine)
    left = read("results.false_positives")
    assert int(worst.cutout_id) not in set(left.cutout_id)
    top = read("results.top_candidates")
    top = top[(top.model_name == "tiny") & (top.cutout_id == worst.cutout_id)].iloc[0]
    assert top.known_lens_name == "new discovery"
    assert top.known_lens_separation_arcsec == pytest.approx(0, abs=1e-3)


def rematch(engine: Engine) -> None:
    from etl.match import MatchConfig, match_lenses

    match_lenses(engine, MatchConfig())


def test_known_neighbours_are_those_of_brute_force(read: Read) -> None:
    nearest = read("catalog.lens_neighbour").merge(read("catalog.lens")[["lens_id", "name"]], on="lens_id")
    nearest = nearest.sort_values("separation_arcsec").groupby("ls_id").first()
    wanted = known_lenses(read)
    assert nearest.name.to_dict() == wanted.known_lens_name.to_dict()
    np.testing.assert_allclose(nearest.separation_arcsec, wanted.arcsec.reindex(nearest.index), atol=1e-5)


def test_false_negatives(read: Read) -> None:
    rows = scores(read, "tiny")
    found = read("results.false_negatives")
    wanted = {
        (point.fpr_target, cutout)
        for point in read("evaluation.operating_point").itertuples()
        for cutout in rows[(rows.label == 1) & (rows.score < point.threshold)].cutout_id
    }
    assert set(zip(found.fpr_target, found.cutout_id, strict=True)) == wanted
    for _, part in found.groupby(["fpr_target", "split"]):
        assert part.sort_values("rank_in_split").score.is_monotonic_increasing


def test_shortcut_audit(read: Read) -> None:
    found, stored = read("results.shortcut_audit"), read("imaging.shortcut_feature")
    assert set(found.feature) == set(stored.feature)
    assert (found.is_fault == ((found.verdict == "red") & ~found.is_expected_physics)).all()
    metric = read("imaging.cutout_metric").merge(read("imaging.cutout")[["cutout_id", "lens_id"]], on="cutout_id")
    members = manifest_members(read)
    metric = metric[metric.cutout_id.isin(members)]
    raw = roc_auc_score(metric.lens_id.notna(), metric.audit_mad_r)
    row = found.set_index("feature").loc["audit_mad_r"]
    assert row.auc_raw == pytest.approx(max(raw, 1 - raw), abs=1e-9)


def manifest_members(read: Read) -> set[int]:
    """Cutouts of members of the draw, those that the guard dropped too: the audit is of the draw."""
    member, cutout = read("sampling.draw_member"), read("imaging.cutout")
    by_lens = cutout[cutout.lens_id.isin(member[member.label == 1].lens_id)]
    by_galaxy = cutout[cutout.ls_id.isin(member[member.label == 0].ls_id)]
    return set(by_lens.cutout_id) | set(by_galaxy.cutout_id)


def test_split_leakage_sees_the_same_pixels_in_two_splits(populated: Populated, read: Read) -> None:
    rows = read("results.manifest")
    train, test = rows[rows.split == "train"].iloc[0], rows[rows.split == "test"].iloc[0]
    with populated.engine.begin() as connection:
        connection.execute(
            text("UPDATE imaging.cutout SET sha256 = :sha256 WHERE cutout_id = :cutout"),
            {"sha256": train.sha256, "cutout": int(test.cutout_id)},
        )
    assert read("results.split_leakage").violation.tolist() == ["same pixels in two splits"]


def test_stage_counts(read: Read) -> None:
    found = read("results.stage_counts").groupby("stage").n.sum()
    assert found["catalog rows"] == len(read("catalog.lens_source")) == 32_838
    assert found["known lenses and cluster cores"] == len(read("catalog.lens"))
    assert found["pool galaxies"] == len(read("catalog.galaxy"))
    assert found["sweep files loaded"] == len(read("catalog.sweep_file"))
    assert found["scores"] == len(read("training.score"))
    for pool, n in read("sampling.draw_member").pool.value_counts().items():
        assert found[f"drawn, {pool}"] == n
    for status, n in read("imaging.cutout").status.value_counts().items():
        assert found[f"cutouts {status}"] == n
    matched = read("catalog.lens_match").merge(read("catalog.lens"), on="lens_id").tier.value_counts()
    for tier, n in matched.items():
        assert found[f"positives matched, tier {tier}"] == n


def test_no_view_scans_the_pool(populated: Populated, read: Read) -> None:
    """A scan of 114 M galaxies takes minutes: give the planner a pool that dwarfs the rest, and read its plans."""
    columns = [name for name in read("catalog.galaxy").columns if name != "ls_id"]
    copied = f"INSERT INTO catalog.galaxy (ls_id, {', '.join(columns)}) SELECT n, {', '.join(columns)} FROM one, "
    limits = {"top_candidates": "WHERE model_id = 1 AND rank <= 50", "scores": "WHERE model_id = 1 AND cutout_id < 100"}
    with populated.engine.begin() as connection:
        connection.execute(text("CREATE TEMP TABLE one AS SELECT * FROM catalog.galaxy LIMIT 1"))
        connection.execute(text(copied + "generate_series(1, 150000) AS n"))
        connection.execute(text("ANALYZE catalog.galaxy"))
        for name in VIEW_ORDER:
            plan = connection.scalars(text(f"EXPLAIN SELECT * FROM results.{name} {limits.get(name, '')}")).all()
            assert not any("Scan on galaxy" in line and "Index" not in line for line in plan), (name, plan)


def test_the_top_of_a_ranking_is_read_through_the_index(populated: Populated) -> None:
    with populated.engine.begin() as connection:
        connection.execute(text("UPDATE pg_class SET reltuples = 1e7, relpages = 100000 WHERE relname = 'score'"))
        query = "EXPLAIN SELECT * FROM results.top_candidates WHERE model_id = 1 AND rank <= 50"
        plan = "\n".join(connection.scalars(text(query)))
    assert "ix_score_model_id_score" in plan, plan
    assert "Run Condition" in plan, plan


def test_files_are_what_the_database_says(populated: Populated, read: Read) -> None:
    rows = read("imaging.cutout").query("status != 'rejected'").sample(20, random_state=1)
    from etl.storage import open_store

    store = open_store(str(populated.store))
    for row in rows.itertuples():
        data = store.get_bytes(row.uri)
        assert hashlib.sha256(data).hexdigest() == row.sha256
        assert len(data) == row.n_bytes
