"""The views of an evaluation against pandas, scipy and sklearn on the members that were put in."""

from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score
from sqlalchemy import Engine, text

from analysis.evaluation.config import EvaluateConfig
from analysis.evaluation.stage import evaluate_model
from analysis.report import read_report, show
from tests.analysis.scored_sky import ScoredSky

TARGETS = (0.1, 0.01, 0.0001)


@pytest.fixture
def views(sky_engine: Engine) -> dict[str, pd.DataFrame]:
    """The views after an evaluation of both splits."""
    evaluate_model(sky_engine, "m1", EvaluateConfig(fpr_targets=TARGETS, n_bootstrap=40), test_reason="a test")
    found = {}
    with sky_engine.connect() as connection:
        for name in ("recall_by_condition", "threshold_table", "model_metrics"):
            result = connection.execute(text(f"SELECT * FROM results.{name}"))
            found[name] = pd.DataFrame(result.all(), columns=list(result.keys()))
    return found


def chosen(rows: pd.DataFrame, sample: str) -> pd.DataFrame:
    if sample in {"N1", "N2"}:
        return rows[rows.pool == sample]
    if sample == "negatives":
        return rows[rows.label == 0]
    is_ground = rows.discovery == "ground_imaging"
    if sample == "not_ground_imaging":
        return rows[(rows.label == 1) & ~is_ground]
    if sample == "tier_ab_graded":
        return rows[(rows.label == 1) & is_ground & ((rows.tier == "A") | rows.grade.isin(["A", "B", "C"]))]
    return rows[(rows.label == 1) & is_ground & ((sample == "tier_ab") | (rows.tier == sample[-1].upper()))]


def in_bin(rows: pd.DataFrame, line: pd.Series) -> pd.DataFrame:
    """Members in a bin of a condition; an unmatched positive's conditions are not known, its place is."""
    if line.axis == "all":
        return rows
    if line.axis == "grade":
        grade = rows.grade.where(rows.grade.isin(["A", "B", "C"]), "ungraded")
        return rows[grade == line.bin]
    values = {
        "galdepth_z_ab": 22.5 - 2.5 * np.log10(5 / np.sqrt(rows.galdepth_z)),
        "mag_r_ab": 22.5 - 2.5 * np.log10(rows.flux_r),
    }.get(line.axis, rows.get(line.axis))
    known = rows.is_matched | (line.axis == "dec")
    if line.bin == "unknown":
        return rows[~known]
    if line.axis == "type":
        return rows[known & (rows.type == line.bin)]
    lo = -math.inf if pd.isna(line.bin_lo) else line.bin_lo
    hi = math.inf if pd.isna(line.bin_hi) else line.bin_hi
    return rows[known & (values >= lo) & (values < hi)]


def test_recall_by_condition(views: dict[str, pd.DataFrame], sky: ScoredSky) -> None:
    found = views["recall_by_condition"]
    found = found[found.axis != "domain"]
    assert set(found.axis) == {
        "all",
        "nobs_z",
        "psf_fwhm_z_arcsec",
        "galdepth_z_ab",
        "ebv_mag",
        "dec",
        "mag_r_ab",
        "type",
        "grade",
    }
    for line in found.itertuples():
        rows = in_bin(chosen(sky.members[sky.members.split == line.split], line.sample), line)
        k, n = int((rows.score >= line.threshold).sum()), len(rows)
        assert (line.k, line.n, line.n_cells) == (k, n, rows.healpix_128.nunique()), line
        if n < 10:
            assert pd.isna([line.rate, line.rate_lo, line.rate_hi, line.boot_lo, line.p_value, line.p_holm]).all()
            assert line.interval_method is line.boot_method is line.p_method is None
            continue
        wilson = binomtest(k, n).proportion_ci(0.95, method="wilson")
        assert (line.rate, line.rate_lo, line.rate_hi) == pytest.approx((k / n, wilson.low, wilson.high))
        assert line.interval_method == "wilson"
        assert pd.isna(line.boot_lo) == (k in {0, n})
        assert pd.isna(line.p_value) or line.p_value <= line.p_holm <= 1
    in_all = (
        found[(found["sample"] == "tier_ab") & (found.axis != "all")].groupby(["fpr_target", "split", "axis"]).n.sum()
    )
    assert in_all.groupby("split").nunique().eq(1).all()  # every axis has a bin for each object


def test_the_seeing_that_the_scores_were_made_to_depend_on_stands_out(views: dict[str, pd.DataFrame]) -> None:
    rows = views["recall_by_condition"]
    compared = rows[(rows["sample"] == "tier_ab") & (rows.fpr_target == 0.1) & rows.p_holm.notna()]
    lowest = compared.loc[compared.p_holm.idxmin()]
    assert lowest.axis in {"psf_fwhm_z_arcsec", "domain"}
    assert lowest.p_holm < 0.05


def test_the_threshold_table_says_how_many_negatives_a_rate_needs(views: dict[str, pd.DataFrame]) -> None:
    table = views["threshold_table"]
    assert dict(zip(table.fpr_target, table.n_negatives_needed, strict=True)) == {0.1: 100, 0.01: 1000, 0.0001: 100_000}
    pooled = views["recall_by_condition"].query("axis == 'all'").set_index(["fpr_target", "split", "sample"])
    for line in table.itertuples():
        for sample, name in (("negatives", "fpr"), ("tier_a", "recall_tier_a")):
            wanted = pooled.loc[(line.fpr_target, line.split, sample), ["boot_lo", "boot_hi"]].astype(float)
            ends = [getattr(line, f"{name}_boot_{end}") for end in ("lo", "hi")]
            assert ends == pytest.approx(list(wanted), nan_ok=True)
    first = table[(table.fpr_target == 0.1) & (table.split == "val")].iloc[0]
    assert first.recall_tier_a_boot_lo < first.recall_tier_a < first.recall_tier_a_boot_hi


def test_the_areas_are_sklearns_by_tier_and_grade(views: dict[str, pd.DataFrame], sky: ScoredSky) -> None:
    found = views["model_metrics"].set_index(["split", "metric"])
    for split in ("val", "test"):
        here = sky.members[sky.members.split == split]
        negatives = here[here.label == 0]
        tier_a = chosen(here, "tier_a")
        samples = {"": chosen(here, "tier_ab"), "_tier_a": tier_a, "_tier_ab_graded": chosen(here, "tier_ab_graded")}
        assert len(tier_a) < len(samples["_tier_ab_graded"]) < len(samples[""])
        samples |= {f"_tier_a_grade_{g.lower()}": tier_a[tier_a.grade == g] for g in "ABC"}
        samples |= {"_tier_a_ungraded": tier_a[~tier_a.grade.isin(["A", "B", "C"])]}
        for suffix, positives in samples.items():
            if len(positives) < 10 and "grade" in suffix:
                assert (split, f"auc{suffix}") not in found.index
                continue
            scores = np.concatenate([positives.score, negatives.score])
            label = np.repeat([1, 0], [len(positives), len(negatives)])
            row = found.loc[(split, f"auc{suffix}")]
            assert (row.n_positives, row.n_negatives) == (len(positives), len(negatives))
            assert row.value == pytest.approx(roc_auc_score(label, scores))
            partial = found.loc[(split, f"partial_auc{suffix}")]
            assert partial.value == pytest.approx(roc_auc_score(label, scores, max_fpr=0.01))
            share = float((positives.score > negatives.score.max()).mean())
            assert found.loc[(split, f"tpr0{suffix}")].value == pytest.approx(share)
            assert row.lo < row.value < row.hi


def test_scores_know_the_conditions_that_the_manifest_knows(sky_engine: Engine) -> None:
    """A positive that matches nothing has those of its cutout."""
    with sky_engine.begin() as connection:
        known = "nexp_z = 27, psf_fwhm_z_arcsec = 1.07, conditions_source = 'coadd'"
        connection.execute(text(f"UPDATE imaging.cutout SET {known}"))
        scores, manifest = (
            connection.execute(
                text(f"SELECT cutout_id, ls_id, nobs_z, psf_fwhm_z_arcsec FROM results.{view} ORDER BY 1")
            ).all()
            for view in ("scores", "manifest")
        )
    assert scores == manifest
    unmatched = [row for row in scores if row.ls_id is None]
    assert len(unmatched) > 10
    assert {(row.nobs_z, row.psf_fwhm_z_arcsec) for row in unmatched} == {(27, 1.07)}
    assert not any(row.nobs_z == 27 for row in scores if row.ls_id is not None)


@pytest.mark.parametrize("view", ["false_positives", "false_negatives"])
def test_galleries_show_test_objects_only_of_a_model_that_was_evaluated_on_them(sky_engine: Engine, view: str) -> None:
    def splits() -> set[str]:
        with sky_engine.connect() as connection:
            return set(connection.scalars(text(f"SELECT DISTINCT split FROM results.{view}")))

    config = EvaluateConfig(fpr_targets=TARGETS, n_bootstrap=20)
    evaluate_model(sky_engine, "m1", config)
    assert splits() == {"train", "val"}
    evaluate_model(sky_engine, "m1", config, test_reason="a test")
    assert splits() == {"train", "val", "test"}


@pytest.mark.parametrize("few", ["n_positives", "n_negatives"])
def test_a_metric_of_fewer_than_ten_has_no_value(sky_engine: Engine, few: str) -> None:
    evaluate_model(sky_engine, "m1", EvaluateConfig(fpr_targets=TARGETS, n_bootstrap=20))
    with sky_engine.begin() as connection:
        connection.execute(text(f"UPDATE evaluation.metric SET {few} = CASE WHEN name = 'auc' THEN 9 ELSE 10 END"))
    rows = read_report(sky_engine, "m1").rows["model_metrics"]
    for row in rows:
        assert (row["value"] is None) == (row["metric"] == "auc")
        assert row[few] == (9 if row["metric"] == "auc" else 10)
    auc = next(row for row in rows if row["metric"] == "auc")
    assert auc["lo"] is auc["hi"] is auc["interval_method"] is None


def test_every_table_with_rows_of_the_test_split_says_how_often_it_was_read(sky_engine: Engine) -> None:
    config = EvaluateConfig(fpr_targets=TARGETS, n_bootstrap=20)
    evaluate_model(sky_engine, "m1", config)
    assert "; test read " not in printed(sky_engine)
    for reason in ("first", "second"):
        evaluate_model(sky_engine, "m1", config, test_reason=reason, again=True)
    with sky_engine.begin() as connection:  # too few for a number
        connection.execute(text("UPDATE evaluation.metric SET n_positives = 9 WHERE split = 'val'"))
    shown = printed(sky_engine)
    titles = ("reliability at", "reliability by bin", "thresholds", "recall;", "recall of", "by condition", "false pos")
    assert all(any(line.startswith(title) for line in shown.splitlines()) for title in titles)
    assert " ".join(shown.split()).count("; test read 2 times") == len(titles)
    assert "\N{EN DASH}" in shown


def test_the_report_holds_the_bins_of_reliability(sky_engine: Engine) -> None:
    evaluate_model(sky_engine, "m1", EvaluateConfig(fpr_targets=TARGETS, n_bootstrap=20))
    shown = printed(sky_engine, width=120)
    rows = read_report(sky_engine, "m1").rows["reliability"]
    wanted = [r for r in rows if r["method"] in {"raw", "platt"} and r["binning"] in {"equal_mass", "top_1_percent"}]
    assert {row["method"] for row in wanted} == {"raw", "platt"}
    for row in wanted:
        assert f"{row['mean_p']:.4g}" in shown
        assert f"{row['k']}/{row['n']}" in shown
        assert row["rate"] is None or f"= {row['rate']:.3f} ({row['rate_lo']:.3f}-{row['rate_hi']:.3f})" in shown
    assert max(map(len, shown.splitlines())) <= 120


def printed(engine: Engine, width: int = 160) -> str:
    """The report of the model as a terminal of some width shows it."""
    console = Console(width=width, file=io.StringIO())
    show(read_report(engine, "m1"), console)
    return console.file.getvalue()
