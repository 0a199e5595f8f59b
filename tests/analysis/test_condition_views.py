"""The views of an evaluation against pandas, scipy and sklearn on the members that were put in."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score
from sqlalchemy import Engine, text

from analysis.evaluation.config import EvaluateConfig
from analysis.evaluation.stage import evaluate_model
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
        samples = {"": chosen(here, "tier_ab"), "_tier_a": tier_a}
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
