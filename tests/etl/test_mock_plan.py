from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from etl.mock.candidates import Candidates
from etl.mock.config import SkyConfig
from etl.mock.errors import MockSkyError
from etl.mock.plan import plan_patches


def table(rows: list[tuple[float, float, str]]) -> Candidates:
    ra, dec, tier = zip(*rows, strict=True)
    return Candidates(np.array([f"C{i}" for i in range(len(rows))]), np.array(ra), np.array(dec), np.array(tier))


@pytest.fixture(scope="module")
def real(shared_data: Path) -> Candidates:
    with (shared_data / "candidates" / "desi_candidates.csv").open(encoding="utf-8") as lines:
        rows = [
            (float(r["ra"]), float(r["dec"]), "A" if r["grading"] == "confident" else "B")
            for r in csv.DictReader(lines)
        ]
    return table(rows)


def test_all_389_tier_a_and_at_least_600_tier_b_are_chosen(real: Candidates) -> None:
    patches = plan_patches(real, SkyConfig())
    tiers = [tier for patch in patches for tier in patch.lens_tier]
    names = [name for patch in patches for name in patch.lens_name]
    assert tiers.count("A") == 389
    assert 660 <= tiers.count("B") <= 670
    assert len(names) == len(set(names))
    assert max(max(patch.lens_dec) for patch in patches) < 34


def test_patches_do_not_overlap_and_bricks_cannot_be_the_survey_s(real: Candidates) -> None:
    patches = plan_patches(real, SkyConfig())
    centres = SkyCoord([p.tangent.ra for p in patches] * u.deg, [p.tangent.dec for p in patches] * u.deg)
    nearest = centres.match_to_catalog_sky(centres, nthneighbor=2)[1]
    assert nearest.arcsec.min() > 300 * 0.262 * np.sqrt(2)
    assert len({p.brickname for p in patches}) == len({p.brickid for p in patches}) == len(patches)
    assert all(len(p.brickname) == 8 and p.brickname[4 - 1] == "x" for p in patches)
    assert min(p.brickid for p in patches) > 662_174
    assert max(p.brickid for p in patches) < 2**20


def test_the_choice_does_not_depend_on_the_order_of_the_candidates_nor_on_the_seed(real: Candidates) -> None:
    turned = Candidates(real.name[::-1], real.ra[::-1], real.dec[::-1], real.tier[::-1])
    first, second = plan_patches(real, SkyConfig()), plan_patches(turned, SkyConfig(seed=7))
    assert [p.brickname for p in first] == [p.brickname for p in second]
    assert [p.tangent for p in first] == [p.tangent for p in second]


def test_a_close_pair_shares_a_patch() -> None:
    patches = plan_patches(table([(10.0, -5.0, "B"), (10.0, -5.0 + 11 / 3600, "A"), (60.0, 3.0, "B")]), SkyConfig())
    assert sorted(len(p.lens_name) for p in patches) == [1, 2]


def test_a_tier_b_candidate_whose_patch_would_overlap_is_passed_over() -> None:
    patches = plan_patches(table([(10.0, 0.0, "A"), (10.0, 70 / 3600, "B")]), SkyConfig())
    assert [p.lens_tier for p in patches] == [("A",)]


def test_candidates_lie_well_inside_their_patches(real: Candidates) -> None:
    for patch in plan_patches(real, SkyConfig(n_tier_b=50)):
        x, y = patch.tangent.to_pixels(patch.lens_ra, patch.lens_dec)
        assert min(x.min(), y.min()) >= 58
        assert max(x.max(), y.max()) <= 241


def test_no_candidate_in_reach_is_one_clear_line() -> None:
    with pytest.raises(MockSkyError, match="none of 1 candidates lies at dec < 34"):
        plan_patches(table([(10.0, 60.0, "A")]), SkyConfig())
