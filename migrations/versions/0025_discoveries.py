"""Lenses that models were never taught, and the candidates that it finds where none is known.

From: revision 0024
To: revision 0025
Why: recall on lenses that later searches published, and no training list holds, says more than recall on the test split of
    that list; and what a model finds in the survey's top fraction has to be kept with the threshold, how uncertain it is,
    and when it was compared with the known lenses.
Cost on 114 M galaxies: none. On the way down candidates are lost; `stronglens discover` makes them again
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

HELD_OUT_SCORES = """-- Grain: one held-out lens of one model: a lens found in ground-based imaging that is no training positive, no member of the
--   model's draw, and has no training lens within 11 arcsec.
-- Inputs: evaluation.held_out; training.model, score; imaging.cutout, quarantine; sampling.split_cell; catalog.lens,
--   lens_grade, lens_match, galaxy (by key).
-- Units: score in [0, 1], not a probability as such; ra, dec in degrees; mag_* AB, not dereddened; psf and separation in
--   arcsec. best_letter_grade: the best A, B or C that any paper gave. ls_id and the columns of the galaxy: its Tractor
--   match, NULL without one. split: that of its cell; a lens in a cell of train was not trained on, but galaxies around it
--   may have been, as negatives.
-- Excludes: lenses that have got a training tier since; rejected and quarantined cutouts; lenses without a cutout of the model's version, or without a score.
CREATE OR REPLACE VIEW results.held_out_scores AS
WITH
    grade AS (
        SELECT
            g.lens_id,
            min(g.grade) FILTER (WHERE g.grade IN ('A', 'B', 'C')) AS best_letter_grade,
            array_agg(DISTINCT g.paper ORDER BY g.paper) AS papers
        FROM catalog.lens_grade AS g
        GROUP BY g.lens_id
    )
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    h.lens_id,
    l.name AS lens_name,
    l.discovery,
    grade.best_letter_grade,
    coalesce(grade.papers, '{}') AS papers,
    s.cutout_id,
    s.score,
    c.ra,
    c.dec,
    l.healpix_128,
    cell.split,
    cell.is_calibration,
    c.uri,
    m.ls_id,
    m.separation_arcsec AS match_separation_arcsec,
    g.type,
    sampling.nobs_z_bin(g.nobs_z) AS nobs_z_bin,
    CASE WHEN g.flux_g > 0 THEN 22.5 - 2.5 * log(g.flux_g::double precision) END AS mag_g_ab,
    CASE WHEN g.flux_r > 0 THEN 22.5 - 2.5 * log(g.flux_r::double precision) END AS mag_r_ab,
    CASE WHEN g.flux_z > 0 THEN 22.5 - 2.5 * log(g.flux_z::double precision) END AS mag_z_ab,
    coalesce(g.nobs_z, c.nexp_z) AS nobs_z,
    coalesce(g.psf_fwhm_r_arcsec, c.psf_fwhm_r_arcsec) AS psf_fwhm_r_arcsec,
    coalesce(g.psf_fwhm_z_arcsec, c.psf_fwhm_z_arcsec) AS psf_fwhm_z_arcsec,
    CASE WHEN g.galdepth_z > 0 THEN 22.5 - 2.5 * log(5 / sqrt(g.galdepth_z::double precision)) END
        AS galdepth_z_ab,
    g.ebv_mag
FROM evaluation.held_out AS h
JOIN training.model AS mo ON mo.draw_id = h.draw_id
JOIN catalog.lens AS l ON l.lens_id = h.lens_id AND l.tier IS NULL
JOIN imaging.cutout AS c
    ON c.lens_id = h.lens_id AND c.survey = mo.survey AND c.version = mo.cutout_version AND c.status <> 'rejected'
JOIN training.score AS s ON s.model_id = mo.model_id AND s.cutout_id = c.cutout_id
LEFT JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = l.healpix_128
LEFT JOIN grade ON grade.lens_id = h.lens_id
LEFT JOIN catalog.lens_match AS m
    ON m.lens_id = h.lens_id AND m.survey = c.survey AND m.data_release = c.data_release
LEFT JOIN catalog.galaxy AS g ON g.ls_id = m.ls_id
WHERE NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = c.cutout_id);
"""

DISCOVERIES = """-- Grain: one candidate of one model: a galaxy in the survey's top fraction by score, near no lens known when it was found.
-- Inputs: evaluation.discovery, discovery_cut, test_access; training.model; imaging.cutout; sampling.draw_member, split_cell;
--   catalog.galaxy (by key), lens_neighbour, lens.
-- Units: ra, dec in degrees; mag_* AB, not dereddened; psf and separations in arcsec. survey_quantile: fraction of the
--   survey's galaxies that reach the score. probability: that of a lens at `prevalence`, NULL without a calibration.
--   known_lens_*: the nearest lens or cluster core within 11 arcsec that has become known since; NULL: none. pool: N1 or N2
--   of the model's draw, NULL for a galaxy that is no member. is_trained_on: the model was taught it as a negative.
-- Excludes: objects below the threshold; those within 11 arcsec of a lens known at checked_at.
CREATE OR REPLACE VIEW results.discoveries AS
WITH
    accesses AS (
        SELECT a.model_id, count(*) AS n_test_accesses FROM evaluation.test_access AS a GROUP BY a.model_id
    )
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    d.rank,
    d.score,
    d.survey_quantile,
    d.probability,
    d.probability_lo,
    d.probability_hi,
    cut.fraction,
    cut.prevalence,
    cut.threshold,
    cut.threshold_lo,
    cut.threshold_hi,
    cut.n_above,
    d.cutout_id,
    c.uri,
    c.ls_id,
    c.ra,
    c.dec,
    g.healpix_128,
    cell.split,
    d.is_trained_on,
    dm.pool,
    dm.category,
    known.name AS known_lens_name,
    known.separation_arcsec AS known_lens_separation_arcsec,
    g.type,
    CASE WHEN g.flux_g > 0 THEN 22.5 - 2.5 * log(g.flux_g::double precision) END AS mag_g_ab,
    CASE WHEN g.flux_r > 0 THEN 22.5 - 2.5 * log(g.flux_r::double precision) END AS mag_r_ab,
    CASE WHEN g.flux_z > 0 THEN 22.5 - 2.5 * log(g.flux_z::double precision) END AS mag_z_ab,
    g.nobs_z,
    g.psf_fwhm_r_arcsec,
    g.psf_fwhm_z_arcsec,
    CASE WHEN g.galdepth_z > 0 THEN 22.5 - 2.5 * log(5 / sqrt(g.galdepth_z::double precision)) END
        AS galdepth_z_ab,
    g.ebv_mag,
    cut.checked_at,
    coalesce(accesses.n_test_accesses, 0) AS n_test_accesses
FROM evaluation.discovery AS d
JOIN evaluation.discovery_cut AS cut ON cut.model_id = d.model_id
JOIN training.model AS mo ON mo.model_id = d.model_id
JOIN imaging.cutout AS c ON c.cutout_id = d.cutout_id
JOIN catalog.galaxy AS g ON g.ls_id = c.ls_id
LEFT JOIN accesses ON accesses.model_id = d.model_id
LEFT JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = g.healpix_128
LEFT JOIN sampling.draw_member AS dm ON dm.draw_id = mo.draw_id AND dm.ls_id = c.ls_id AND dm.label = 0
LEFT JOIN LATERAL (
    SELECT k.name, n.separation_arcsec
    FROM catalog.lens_neighbour AS n
    JOIN catalog.lens AS k ON k.lens_id = n.lens_id
    WHERE n.ls_id = c.ls_id
    ORDER BY n.separation_arcsec, n.lens_id
    LIMIT 1
) AS known ON TRUE;
"""


def upgrade() -> None:
    op.create_table(
        "held_out",
        sa.Column("draw_id", sa.Integer(), nullable=False, comment="The draw"),
        sa.Column("lens_id", sa.BigInteger(), nullable=False, comment="The lens"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that found it held out"),
        sa.ForeignKeyConstraint(
            ["draw_id"], ["sampling.draw.draw_id"], name=op.f("fk_held_out_draw_id_draw"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["lens_id"], ["catalog.lens.lens_id"], name=op.f("fk_held_out_lens_id_lens")),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_held_out_run_id_run")),
        sa.PrimaryKeyConstraint("draw_id", "lens_id", name=op.f("pk_held_out")),
        schema="evaluation",
        comment="A lens claim found in ground-based imaging, without a training tier, that is no member of the draw and has no training lens within 11 arcsec; `stronglens score` keeps the list.",
    )
    op.create_index(op.f("ix_held_out_lens_id"), "held_out", ["lens_id"], unique=False, schema="evaluation")
    op.create_table(
        "discovery_cut",
        sa.Column("model_id", sa.Integer(), nullable=False, comment="The model"),
        sa.Column("fraction", sa.Double(), nullable=False, comment="Fraction of the survey's galaxies asked for: 1e-4"),
        sa.Column(
            "prevalence",
            sa.Double(),
            nullable=False,
            comment="Lenses among the survey's galaxies that probabilities assume",
        ),
        sa.Column(
            "threshold", sa.Double(), nullable=False, comment="The highest score that at least this fraction reaches"
        ),
        sa.Column(
            "threshold_lo", sa.Double(), nullable=False, comment="Lower end of its 95 % interval, bootstrap by sky cell"
        ),
        sa.Column("threshold_hi", sa.Double(), nullable=False, comment="Upper end of its 95 % interval"),
        sa.Column("n_bootstrap", sa.Integer(), nullable=False, comment="Replicates of the bootstrap"),
        sa.Column(
            "n_sample",
            sa.Integer(),
            nullable=False,
            comment="Objects of val, and of test where it was read, that the quantile is of",
        ),
        sa.Column(
            "n_effective", sa.Double(), nullable=False, comment="Objects of equal weight that would say as much (Kish)"
        ),
        sa.Column(
            "n_survey",
            sa.Double(),
            nullable=False,
            comment="Galaxies of the survey that they stand for: the sum of weights",
        ),
        sa.Column(
            "n_above",
            sa.Integer(),
            nullable=False,
            comment="Objects of the sample at or above the threshold; fewer than 10 makes it uncertain",
        ),
        sa.Column("n_above_effective", sa.Double(), nullable=False, comment="Those, as objects of equal weight (Kish)"),
        sa.Column(
            "n_known",
            sa.Integer(),
            nullable=False,
            comment="Scored objects at or above the threshold that are known lenses or near one",
        ),
        sa.Column(
            "is_test_read",
            sa.Boolean(),
            nullable=False,
            comment="Whether objects of the test split were read, for the quantile and as candidates",
        ),
        sa.Column(
            "n_candidates",
            sa.Integer(),
            nullable=False,
            comment="All others at or above it: rows of evaluation.discovery",
        ),
        sa.Column(
            "checked_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When they were compared with every known lens",
        ),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that found it"),
        sa.CheckConstraint(
            "n_effective > 0 AND n_survey > 0 AND n_survey < 'Infinity' AND n_above_effective > 0",
            name=op.f("ck_discovery_cut_numbers_positive"),
        ),
        sa.CheckConstraint("fraction > 0 AND fraction < 1", name=op.f("ck_discovery_cut_fraction_range")),
        sa.CheckConstraint("n_above > 0 AND n_above <= n_sample", name=op.f("ck_discovery_cut_above_within_sample")),
        sa.CheckConstraint("n_known >= 0 AND n_candidates >= 0", name=op.f("ck_discovery_cut_counts_not_negative")),
        sa.CheckConstraint("prevalence > 0 AND prevalence < 1", name=op.f("ck_discovery_cut_prevalence_range")),
        sa.CheckConstraint("threshold >= 0 AND threshold <= 1", name=op.f("ck_discovery_cut_threshold_range")),
        sa.CheckConstraint(
            "threshold_lo >= 0 AND threshold_lo <= threshold_hi AND threshold_hi <= 1",
            name=op.f("ck_discovery_cut_ends_ordered"),
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["training.model.model_id"], name=op.f("fk_discovery_cut_model_id_model"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_discovery_cut_run_id_run")),
        sa.PrimaryKeyConstraint("model_id", name=op.f("pk_discovery_cut")),
        schema="evaluation",
        comment="The score that a fraction of the survey's galaxies reach: a quantile of the survey, since each object, none of them trained on, counts for as many galaxies as it stands for.",
    )
    op.create_table(
        "discovery",
        sa.Column("model_id", sa.Integer(), autoincrement=False, nullable=False, comment="The model"),
        sa.Column("cutout_id", sa.BigInteger(), nullable=False, comment="Its cutout"),
        sa.Column("rank", sa.Integer(), nullable=False, comment="Place by score, from 1; ties by cutout"),
        sa.Column("score", sa.Double(), nullable=False, comment="The model's score"),
        sa.Column(
            "survey_quantile",
            sa.Double(),
            nullable=False,
            comment="Fraction of the survey's galaxies that reach this score, estimated; 0: none of the sample does",
        ),
        sa.Column(
            "probability",
            sa.Double(),
            nullable=True,
            comment="Calibrated probability of a lens at the prevalence of the cut; NULL without a calibration",
        ),
        sa.Column(
            "probability_lo", sa.Double(), nullable=True, comment="Lower end of its 95 % interval; NULL without it"
        ),
        sa.Column(
            "probability_hi", sa.Double(), nullable=True, comment="Upper end of its 95 % interval; NULL without it"
        ),
        sa.Column(
            "is_trained_on",
            sa.Boolean(),
            nullable=False,
            comment="Whether the model was taught that it is a negative: its score is then too low, if anything",
        ),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that found it"),
        sa.CheckConstraint(
            "(probability IS NULL) = (probability_lo IS NULL) AND (probability IS NULL) = (probability_hi IS NULL)",
            name=op.f("ck_discovery_interval_with_probability"),
        ),
        sa.CheckConstraint(
            "probability IS NULL OR (probability_lo >= 0 AND probability_lo <= probability AND probability <= probability_hi AND probability_hi <= 1)",
            name=op.f("ck_discovery_probability_within_interval"),
        ),
        sa.CheckConstraint("rank > 0", name=op.f("ck_discovery_rank_from_one")),
        sa.CheckConstraint("score >= 0 AND score <= 1", name=op.f("ck_discovery_score_range")),
        sa.CheckConstraint(
            "survey_quantile >= 0 AND survey_quantile <= 1", name=op.f("ck_discovery_survey_quantile_range")
        ),
        sa.ForeignKeyConstraint(
            ["cutout_id"], ["imaging.cutout.cutout_id"], name=op.f("fk_discovery_cutout_id_cutout")
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["evaluation.discovery_cut.model_id"], name="fk_discovery_cut", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_discovery_run_id_run")),
        sa.PrimaryKeyConstraint("model_id", "cutout_id", name=op.f("pk_discovery")),
        schema="evaluation",
        comment="A candidate: a galaxy in the survey's top fraction by a model's score that lay within 11 arcsec of no lens or cluster core known then. Replaced when `stronglens discover` is run anew.",
    )
    op.create_index(op.f("ix_discovery_cutout_id"), "discovery", ["cutout_id"], unique=False, schema="evaluation")
    op.create_index("uq_discovery_model_id_rank", "discovery", ["model_id", "rank"], unique=True, schema="evaluation")
    for sql in (HELD_OUT_SCORES, DISCOVERIES):
        _view(sql)


def downgrade() -> None:
    for name in ("discoveries", "held_out_scores"):
        op.execute(f"DROP VIEW results.{name}")
    for name in ("discovery", "discovery_cut", "held_out"):
        op.drop_table(name, schema="evaluation")


def _view(sql: str) -> None:
    op.execute(sql)
    lines = [line[2:].strip() for line in sql.splitlines() if line.startswith("--")]
    comment = " ".join(lines).replace("'", "''")
    op.execute(f"COMMENT ON VIEW results.{sql.split('VIEW results.')[1].split()[0]} IS '{comment}'")
