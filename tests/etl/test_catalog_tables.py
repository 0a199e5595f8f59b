"""Reading published files: what is recognised, what is refused, and which numbers come out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from etl.catalogs import lenscat
from etl.catalogs.discovery import DISCOVERIES, discovery_rank
from etl.catalogs.published import object_names, position_names, row_sha256
from etl.catalogs.tables import read_table
from etl.errors import CatalogFileError

HEADER = "name,RA,DEC,grade,score,spec_z,photo_z\n"
GOOD = HEADER + "DESI-002.0299+18.3723,2.0299,18.3723,A,3.5,0.4724,nan\nX,4.5,-13.5,B,,,0.406+/-0.021\n"


def write(folder: Path, text: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_grades_scores_and_redshifts_of_a_table_are_read_with_their_method(tmp_path: Path) -> None:
    published = read_table(write(tmp_path, GOOD), "a paper")
    assert published.rows["grade"].tolist() == ["A", "B"]
    assert published.rows["score"][0] == 3.5
    assert np.isnan(published.rows["score"][1])
    spec, phot = published.redshifts.to_dict("records")
    assert (spec["row"], spec["z"], spec["method"]) == (0, 0.4724, "spec")
    assert (phot["row"], phot["z"], phot["z_error"], phot["method"]) == (1, 0.406, 0.021, "phot")
    assert json.loads(published.rows["body"][1])["photo_z"] == "0.406+/-0.021"


def test_minus_99_is_no_redshift_and_photometric_bounds_become_an_error(shared_data: Path) -> None:
    path = shared_data / "candidates" / "stein2022_new_lenses.tsv"
    published = read_table(path, "arXiv:2110.00023")
    raw = pd.read_csv(path, sep="\t")
    spec = published.redshifts[published.redshifts["method"] == "spec"]
    assert len(spec) == (raw["z_spec"] > -99).sum() == 196
    phot = published.redshifts[published.redshifts["method"] == "phot"]
    np.testing.assert_allclose(phot["z_error"], (raw["z_phot_u68"] - raw["z_phot_l68"]) / 2)
    assert published.rows["object_name"][0] == "J051955.13-314905.9"


def test_lists_without_grades_grade_nothing(shared_data: Path) -> None:
    published = read_table(shared_data / "candidates" / "stein2022_training_lenses.tsv", "a paper")
    assert len(published.rows) == 1615
    assert published.rows["grade"].isna().all()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds no rows"),
        (HEADER, "holds no rows"),
        ("name,ra,grade\nX,1,A\n", "lacks dec"),
        ("name,ra,dec\nX,1,2\n", "lacks grade"),
        ("RA,DEC,BRICKNAME,FLUX_R\n1,2,0001m040,5\n", "lacks grade"),
        ("ra,dec,RA,grade\n1,2,3,A\n", "a column name repeats"),
        (HEADER + "X,1,2,A,3,0.5\n", "data row 1 has 6 columns, the header has 7"),
        (HEADER + "X,1h2m,2,A,3,0.5,\n", "data row 1: RA '1h2m' is not a number"),
        (HEADER + "X,1,2,A,3,0.5,\nY,,2,A,3,0.5,\n", "data row 2: RA '' is missing"),
        (HEADER + "X,nan,2,A,3,0.5,\n", "RA 'nan' is missing"),
        (HEADER + "X,inf,2,A,3,0.5,\n", "RA 'inf' is not a number"),
        (HEADER + "X,360.1,2,A,3,0.5,\n", "RA '360.1' is not in 0 to 360"),
        (HEADER + "X,-0.1,2,A,3,0.5,\n", "RA '-0.1' is not in 0 to 360"),
        (HEADER + "X,1,90.5,A,3,0.5,\n", "DEC '90.5' is not in -90 to 90"),
        (HEADER + "X,1,2,A,good,0.5,\n", "score 'good' is not a number"),
        (HEADER + "X,1,2,A,3,measured,\n", "spec_z 'measured' is not a number"),
        (HEADER + "X,1,2,A,3,25,\n", "spec_z '25' is not a redshift"),
        (HEADER + "X,1,2,A,3,,0.4+/-x\n", "error of photo_z 'x' is not a number"),
        (HEADER + 'X,1,2,A,3,"0.5,\n', "is not CSV or TSV text"),
        (b"SIMPLE  =  T\xff\xfe\x00", "is not CSV or TSV text"),
        (HEADER + "X\0,1,2,A,3,0.5,\n", "NUL"),
    ],
)
def test_a_bad_file_is_refused_in_one_line_that_names_it(tmp_path: Path, text: str | bytes, complaint: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(CatalogFileError) as refusal:
        read_table(path, "a paper")
    message = str(refusal.value)
    assert message.startswith(f"{path}: ")
    assert complaint in message
    assert "\n" not in message


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogFileError, match="No such file"):
        read_table(tmp_path / "absent.csv", "a paper")
    with pytest.raises(CatalogFileError, match="Is a directory"):
        read_table(tmp_path, "a paper")


def test_ra_360_is_ra_0(tmp_path: Path) -> None:
    published = read_table(write(tmp_path, "ra,dec,grade\n360,-90,A\n"), "a paper")
    assert published.rows["ra"][0] == 0.0


def test_rows_that_repeat_have_hashes_of_their_own_and_the_first_keeps_its_hash() -> None:
    once = row_sha256(pd.DataFrame({"a": ["1", "2"], "b": ["x", "y"]}))
    repeated = row_sha256(pd.DataFrame({"a": ["1", "2", "1", "1"], "b": ["x", "y", "x", "x"]}))
    assert repeated[:2] == once
    assert len(set(repeated)) == 4


def test_an_object_goes_by_its_first_desi_token() -> None:
    names = pd.Series(["DESJ0423-5431 | DESI-065.9338-54.5288", "DESI-186.4028-7.4188", "A68 | NSCS J003706+090916"])
    assert object_names(names).tolist() == ["DESI-065.9338-54.5288", "DESI-186.4028-7.4188", "A68"]


def test_position_names_are_truncated_and_carry_their_sign() -> None:
    ra, dec = pd.Series([0.0, 187.5, 359.99999]), pd.Series([-0.5, 12.999999, -89.99999])
    assert position_names(ra, dec).tolist() == ["J000000.00-003000.0", "J123000.00+125959.9", "J235959.99-895959.9"]


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("Storfer et al. (2022) - arXiv:2206.02764", "ground_imaging"),
        ("Talbot et al. (2020) - arXiv:2007.09006 | Storfer et al. (2022) - arXiv:2206.02764", "ground_imaging"),
        ("Bolton et al. (2008) - arXiv:0805.1931", "spectroscopic"),
        ("https://ui.adsabs.harvard.edu/abs/2019yCat..18510048S/abstract", "spectroscopic"),
        ("Faure et al. (2008) - arXiv:0802.2174", "hst"),
        ("Moustakas et al. (2012) - adsabs:2012hst..prop12833M", "other"),
        ("https://research.ast.cam.ac.uk/lensedquasars/index.html", "other"),
        ("Lopes et al. (2004) - doi:10.1086/423038", "other"),
    ],
)
def test_the_way_of_discovery_follows_from_the_references(reference: str, found: str) -> None:
    assert DISCOVERIES[discovery_rank(pd.Series([reference]))[0]] == found


def test_lenscat_rows_and_their_texts_are_read_unchanged() -> None:
    catalog, path = lenscat.lenscat_file()
    published = lenscat.read_lenscat(catalog, path)
    raw = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert (catalog, len(published.rows)) == ("lenscat-1.1.3", 32838)
    bodies = pd.DataFrame([json.loads(body) for body in published.rows["body"]])
    pd.testing.assert_frame_equal(bodies, raw)
    assert published.rows["row_sha256"].is_unique
    assert "lenscat" not in sys.modules


def test_without_lenscat_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(CatalogFileError, match="lenscat is not installed: run `make setup`"):
        lenscat.lenscat_file()


def test_a_data_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogFileError, match="its columns are name, ra; expected name, RA"):
        lenscat.read_lenscat("lenscat-9", write(tmp_path, "name,ra\nX,1\n"))
