"""Calibration cells, ensembles beside networks, embeddings, and what recipes choose cutouts by.

From: revision 0019
To: revision 0020
Why: scores are calibrated and ensembles combined on a part of val of their own, on which no checkpoint is chosen: half of
    its cells. An ensemble is a model too, with scores and results, but without checkpoint and preprocessing. Manifests say
    which positives a paper graded, and the exposures and seeing that domain-split models choose by.
Cost on 114 M galaxies: none; 196,608 cells of each split scheme are written once more (a second). On the way down ensembles
    and embeddings are lost
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

IS_CALIBRATION_CELL = """-- Whether a cell of val belongs to the part that scores are calibrated on: u < 1/2, where u is the first 4 bytes, big-endian,
-- of SHA-256('<pixel>_<seed>_calibration') / 2^32. The leak check uses it, and the migration for schemes that were there.
CREATE OR REPLACE FUNCTION sampling.is_calibration_cell(pixel integer, seed integer) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    ('x' || left(encode(sha256(convert_to(pixel::text || '_' || seed::text || '_calibration', 'UTF8')), 'hex'), 8))
        ::bit(32)::bigint & 4294967295
) < 2147483648;
"""

MANIFEST = """-- Grain: one cutout of one draw under one split scheme (and cutout version).
-- Inputs: sampling.draw, draw_member, stratum, split_scheme, split_assignment, split_cell, guard_drop;
--   imaging.cutout, quarantine; catalog.lens_grade, galaxy (by key).
-- Units: ra, dec in degrees; weight is dimensionless, for the training loss. best_letter_grade: the best A, B or C that any
--   paper gave a positive. nobs_z, psf_fwhm_z_arcsec: the galaxy's own (for a positive, of its match), else the cutout's.
--   is_calibration: the part of val on which scores are calibrated and ensembles combined, and no checkpoint is chosen.
-- Excludes: rejected and quarantined cutouts; negatives that the scheme's guard dropped; draws not yet guarded; members
--   without a cutout.
CREATE OR REPLACE VIEW results.manifest AS
WITH
    member AS (
        SELECT
            m.member_id, m.draw_id, m.label, m.weight, m.pool, m.category, m.tier, m.stratum_id,
            m.inclusion_probability, m.lens_id, m.ls_id, m.healpix_128
        FROM sampling.draw_member AS m
    ),
    positive_cutout AS (
        SELECT m.member_id, c.cutout_id
        FROM sampling.draw_member AS m
        JOIN sampling.draw AS d ON d.draw_id = m.draw_id
        JOIN imaging.cutout AS c ON c.lens_id = m.lens_id AND c.survey = d.survey
        WHERE m.label = 1 AND c.status <> 'rejected'
            AND NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = c.cutout_id)
    ),
    negative_cutout AS (
        SELECT m.member_id, c.cutout_id
        FROM sampling.draw_member AS m
        JOIN imaging.cutout AS c ON c.ls_id = m.ls_id
        WHERE m.label = 0 AND c.status <> 'rejected'
            AND NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = c.cutout_id)
    ),
    member_cutout AS (
        SELECT p.member_id, p.cutout_id FROM positive_cutout AS p
        UNION ALL
        SELECT n.member_id, n.cutout_id FROM negative_cutout AS n
    ),
    letter_grade AS (
        SELECT l.lens_id, min(l.grade) AS best_letter_grade
        FROM catalog.lens_grade AS l
        WHERE l.grade IN ('A', 'B', 'C')
        GROUP BY l.lens_id
    )
SELECT
    d.draw_id,
    d.name AS draw_name,
    x.scheme_id,
    x.name AS scheme_name,
    d.survey,
    c.cutout_id,
    c.version,
    c.layer,
    m.member_id,
    c.uri,
    c.sha256,
    m.label,
    m.weight,
    cell.split,
    m.pool,
    m.category,
    m.tier,
    m.stratum_id,
    s.nobs_z_bin,
    s.type,
    m.inclusion_probability,
    m.lens_id,
    m.ls_id,
    c.ra,
    c.dec,
    m.healpix_128,
    cell.is_calibration,
    grade.best_letter_grade,
    coalesce(g.nobs_z, c.nexp_z) AS nobs_z,
    coalesce(g.psf_fwhm_z_arcsec, c.psf_fwhm_z_arcsec) AS psf_fwhm_z_arcsec
FROM member_cutout AS mc
JOIN member AS m ON m.member_id = mc.member_id
JOIN imaging.cutout AS c ON c.cutout_id = mc.cutout_id
JOIN sampling.draw AS d ON d.draw_id = m.draw_id
JOIN sampling.split_assignment AS assigned ON assigned.draw_id = m.draw_id
JOIN sampling.split_scheme AS x ON x.scheme_id = assigned.scheme_id
JOIN sampling.split_cell AS cell ON cell.scheme_id = x.scheme_id AND cell.healpix_128 = m.healpix_128
LEFT JOIN sampling.stratum AS s ON s.stratum_id = m.stratum_id
LEFT JOIN catalog.galaxy AS g ON g.ls_id = m.ls_id
LEFT JOIN letter_grade AS grade ON m.label = 1 AND grade.lens_id = m.lens_id
WHERE NOT EXISTS (
    SELECT 1 FROM sampling.guard_drop AS g WHERE g.scheme_id = x.scheme_id AND g.member_id = m.member_id
);
"""

OLD_MANIFEST = """-- Grain: one cutout of one draw under one split scheme (and cutout version).
-- Inputs: sampling.draw, draw_member, stratum, split_scheme, split_assignment, split_cell, guard_drop;
--   imaging.cutout, quarantine.
-- Units: ra, dec in degrees; weight is dimensionless, for the training loss.
-- Excludes: rejected and quarantined cutouts; negatives that the scheme's guard dropped; draws not yet guarded; members
--   without a cutout.
CREATE OR REPLACE VIEW results.manifest AS
WITH
    member AS (
        SELECT
            m.member_id, m.draw_id, m.label, m.weight, m.pool, m.category, m.tier, m.stratum_id,
            m.inclusion_probability, m.lens_id, m.ls_id, m.healpix_128
        FROM sampling.draw_member AS m
    ),
    positive_cutout AS (
        SELECT m.member_id, c.cutout_id
        FROM sampling.draw_member AS m
        JOIN sampling.draw AS d ON d.draw_id = m.draw_id
        JOIN imaging.cutout AS c ON c.lens_id = m.lens_id AND c.survey = d.survey
        WHERE m.label = 1 AND c.status <> 'rejected'
            AND NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = c.cutout_id)
    ),
    negative_cutout AS (
        SELECT m.member_id, c.cutout_id
        FROM sampling.draw_member AS m
        JOIN imaging.cutout AS c ON c.ls_id = m.ls_id
        WHERE m.label = 0 AND c.status <> 'rejected'
            AND NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = c.cutout_id)
    ),
    member_cutout AS (
        SELECT p.member_id, p.cutout_id FROM positive_cutout AS p
        UNION ALL
        SELECT n.member_id, n.cutout_id FROM negative_cutout AS n
    )
SELECT
    d.draw_id,
    d.name AS draw_name,
    x.scheme_id,
    x.name AS scheme_name,
    d.survey,
    c.cutout_id,
    c.version,
    c.layer,
    m.member_id,
    c.uri,
    c.sha256,
    m.label,
    m.weight,
    cell.split,
    m.pool,
    m.category,
    m.tier,
    m.stratum_id,
    s.nobs_z_bin,
    s.type,
    m.inclusion_probability,
    m.lens_id,
    m.ls_id,
    c.ra,
    c.dec,
    m.healpix_128
FROM member_cutout AS mc
JOIN member AS m ON m.member_id = mc.member_id
JOIN imaging.cutout AS c ON c.cutout_id = mc.cutout_id
JOIN sampling.draw AS d ON d.draw_id = m.draw_id
JOIN sampling.split_assignment AS assigned ON assigned.draw_id = m.draw_id
JOIN sampling.split_scheme AS x ON x.scheme_id = assigned.scheme_id
JOIN sampling.split_cell AS cell ON cell.scheme_id = x.scheme_id AND cell.healpix_128 = m.healpix_128
LEFT JOIN sampling.stratum AS s ON s.stratum_id = m.stratum_id
WHERE NOT EXISTS (
    SELECT 1 FROM sampling.guard_drop AS g WHERE g.scheme_id = x.scheme_id AND g.member_id = m.member_id
);
"""

SCORES = """-- Grain: one score of one model for one cutout of the model's draw.
-- Inputs: training.score, training.model; imaging.cutout, quarantine; sampling.draw_member, stratum, split_cell; catalog.lens, lens_grade,
--   galaxy (by key).
-- Units: score in [0, 1], not a probability as such; ra, dec in degrees; mag_* AB, not dereddened; psf in arcsec.
--   best_letter_grade: the best A, B or C that any paper gave a positive. nobs_z, psf_fwhm_z_arcsec: the galaxy's own (for a
--   positive, of its match), else the cutout's. is_calibration: the part of val on which scores are calibrated and ensembles
--   combined.
-- Excludes: quarantined cutouts; cutouts scored outside the model's draw.
CREATE OR REPLACE VIEW results.scores AS
WITH
    letter_grade AS (
        SELECT l.lens_id, min(l.grade) AS best_letter_grade
        FROM catalog.lens_grade AS l
        WHERE l.grade IN ('A', 'B', 'C')
        GROUP BY l.lens_id
    )
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    sc.cutout_id,
    sc.score,
    dm.label,
    dm.pool,
    dm.category,
    dm.tier,
    cell.split,
    st.nobs_z_bin,
    st.type AS stratum_type,
    dm.inclusion_probability,
    dm.lens_id,
    l.name AS lens_name,
    l.discovery,
    dm.ls_id,
    c.ra,
    c.dec,
    dm.healpix_128,
    c.uri,
    g.type,
    CASE WHEN g.flux_g > 0 THEN 22.5 - 2.5 * log(g.flux_g::double precision) END AS mag_g_ab,
    CASE WHEN g.flux_r > 0 THEN 22.5 - 2.5 * log(g.flux_r::double precision) END AS mag_r_ab,
    CASE WHEN g.flux_z > 0 THEN 22.5 - 2.5 * log(g.flux_z::double precision) END AS mag_z_ab,
    coalesce(g.nobs_z, c.nexp_z) AS nobs_z,
    g.psf_fwhm_r_arcsec,
    coalesce(g.psf_fwhm_z_arcsec, c.psf_fwhm_z_arcsec) AS psf_fwhm_z_arcsec,
    CASE WHEN g.galdepth_z > 0 THEN 22.5 - 2.5 * log(5 / sqrt(g.galdepth_z::double precision)) END
        AS galdepth_z_ab,
    g.ebv_mag,
    cell.is_calibration,
    grade.best_letter_grade
FROM training.score AS sc
JOIN training.model AS mo ON mo.model_id = sc.model_id
JOIN imaging.cutout AS c ON c.cutout_id = sc.cutout_id
JOIN sampling.draw_member AS dm
    ON dm.draw_id = mo.draw_id
    AND ((dm.label = 1 AND dm.lens_id = c.lens_id) OR (dm.label = 0 AND dm.ls_id = c.ls_id))
JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = dm.healpix_128
LEFT JOIN sampling.stratum AS st ON st.stratum_id = dm.stratum_id
LEFT JOIN catalog.lens AS l ON l.lens_id = dm.lens_id
LEFT JOIN catalog.galaxy AS g ON g.ls_id = dm.ls_id
LEFT JOIN letter_grade AS grade ON dm.label = 1 AND grade.lens_id = dm.lens_id
WHERE NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = sc.cutout_id);
"""

OLD_SCORES = """-- Grain: one score of one model for one cutout of the model's draw.
-- Inputs: training.score, training.model; imaging.cutout, quarantine; sampling.draw_member, stratum, split_cell; catalog.lens, galaxy (by key).
-- Units: score in [0, 1], not a probability as such; ra, dec in degrees; mag_* AB, not dereddened; psf in arcsec.
-- Excludes: quarantined cutouts; cutouts scored outside the model's draw.
CREATE OR REPLACE VIEW results.scores AS
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    sc.cutout_id,
    sc.score,
    dm.label,
    dm.pool,
    dm.category,
    dm.tier,
    cell.split,
    st.nobs_z_bin,
    st.type AS stratum_type,
    dm.inclusion_probability,
    dm.lens_id,
    l.name AS lens_name,
    l.discovery,
    dm.ls_id,
    c.ra,
    c.dec,
    dm.healpix_128,
    c.uri,
    g.type,
    CASE WHEN g.flux_g > 0 THEN 22.5 - 2.5 * log(g.flux_g::double precision) END AS mag_g_ab,
    CASE WHEN g.flux_r > 0 THEN 22.5 - 2.5 * log(g.flux_r::double precision) END AS mag_r_ab,
    CASE WHEN g.flux_z > 0 THEN 22.5 - 2.5 * log(g.flux_z::double precision) END AS mag_z_ab,
    g.nobs_z,
    g.psf_fwhm_r_arcsec,
    g.psf_fwhm_z_arcsec,
    CASE WHEN g.galdepth_z > 0 THEN 22.5 - 2.5 * log(5 / sqrt(g.galdepth_z::double precision)) END
        AS galdepth_z_ab,
    g.ebv_mag
FROM training.score AS sc
JOIN training.model AS mo ON mo.model_id = sc.model_id
JOIN imaging.cutout AS c ON c.cutout_id = sc.cutout_id
JOIN sampling.draw_member AS dm
    ON dm.draw_id = mo.draw_id
    AND ((dm.label = 1 AND dm.lens_id = c.lens_id) OR (dm.label = 0 AND dm.ls_id = c.ls_id))
JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = dm.healpix_128
LEFT JOIN sampling.stratum AS st ON st.stratum_id = dm.stratum_id
LEFT JOIN catalog.lens AS l ON l.lens_id = dm.lens_id
LEFT JOIN catalog.galaxy AS g ON g.ls_id = dm.ls_id
WHERE NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = sc.cutout_id);
"""

SPLIT_LEAKAGE = """-- Grain: one violation of the split rules; empty when all is well.
-- Inputs: sampling.split_scheme, split_cell, split_assignment, close_pair, draw_member, guard_drop; results.manifest (file hashes).
-- Units: separation_arcsec in arcsec.
-- Excludes: pairs of which a guarded negative has left the manifest; draws that no scheme was assigned to.
CREATE OR REPLACE VIEW results.split_leakage AS
WITH
    cell_in_two_splits AS (
        SELECT c.scheme_id, c.healpix_128
        FROM sampling.split_cell AS c
        GROUP BY c.scheme_id, c.healpix_128
        HAVING count(*) > 1
    ),
    cell_against_rule AS (
        SELECT x.scheme_id, c.healpix_128, c.split
        FROM sampling.split_scheme AS x
        JOIN sampling.split_cell AS c ON c.scheme_id = x.scheme_id
        WHERE c.split <> sampling.split_of_cell(c.healpix_128, x.seed, x.train_below, x.val_below)
    ),
    member_without_cell AS (
        SELECT x.scheme_id, m.member_id, m.healpix_128
        FROM sampling.split_assignment AS x
        JOIN sampling.draw_member AS m ON m.draw_id = x.draw_id
        WHERE NOT EXISTS (
            SELECT 1 FROM sampling.split_cell AS c WHERE c.scheme_id = x.scheme_id AND c.healpix_128 = m.healpix_128
        )
    ),
    pair_across_splits AS (
        SELECT x.scheme_id, p.member_id, p.other_member_id, p.separation_arcsec
        FROM sampling.close_pair AS p
        JOIN sampling.draw_member AS a ON a.member_id = p.member_id
        JOIN sampling.draw_member AS b ON b.member_id = p.other_member_id
        JOIN sampling.split_assignment AS assigned ON assigned.draw_id = p.draw_id
        JOIN sampling.split_scheme AS x ON x.scheme_id = assigned.scheme_id
        JOIN sampling.split_cell AS ca ON ca.scheme_id = x.scheme_id AND ca.healpix_128 = a.healpix_128
        JOIN sampling.split_cell AS cb ON cb.scheme_id = x.scheme_id AND cb.healpix_128 = b.healpix_128
        WHERE ca.split <> cb.split
            AND p.separation_arcsec <= x.guard_arcsec
            AND NOT EXISTS (
                SELECT 1 FROM sampling.guard_drop AS g
                WHERE g.scheme_id = x.scheme_id AND g.member_id IN (p.member_id, p.other_member_id)
            )
    ),
    pixels_in_two_splits AS (
        SELECT m.scheme_id, m.draw_id, m.sha256, min(m.member_id) AS member_id, max(m.member_id) AS other_member_id
        FROM results.manifest AS m
        GROUP BY m.scheme_id, m.draw_id, m.sha256
        HAVING count(DISTINCT m.split) > 1
    )
SELECT
    'cell in two splits'::text AS violation, v.scheme_id, v.healpix_128,
    NULL::bigint AS member_id, NULL::bigint AS other_member_id, NULL::double precision AS separation_arcsec
FROM cell_in_two_splits AS v
UNION ALL
SELECT 'cell against the rule', v.scheme_id, v.healpix_128, NULL, NULL, NULL FROM cell_against_rule AS v
UNION ALL
SELECT 'member without a cell', v.scheme_id, v.healpix_128, v.member_id, NULL, NULL FROM member_without_cell AS v
UNION ALL
SELECT 'pair across splits', v.scheme_id, NULL, v.member_id, v.other_member_id, v.separation_arcsec
FROM pair_across_splits AS v
UNION ALL
SELECT 'same pixels in two splits', v.scheme_id, NULL, v.member_id, v.other_member_id, NULL FROM pixels_in_two_splits AS v;
"""

MODEL_COMMENTS = {
    "n_train": ("Cutouts in its training part", "Cutouts that it was trained on"),
    "n_val": ("Cutouts in its validation part", "Cutouts of val that its epoch was chosen by"),
    "preprocessing": (
        "Crop, annulus, normalisation, clip and bands; part of the model, equal to the checkpoint's",
        "Crop, annulus, normalisation, clip and bands; part of the model, equal to the checkpoint's; NULL for an ensemble, "
        "whose members have their own",
    ),
    "architecture": ("Name of the network: resnet18, ...", "Name of the network: resnet18, ...; how an ensemble combines"),
}


def upgrade() -> None:
    op.execute(IS_CALIBRATION_CELL)
    op.add_column(
        "split_cell",
        sa.Column("is_calibration", sa.Boolean(), server_default=sa.text("false"), nullable=False, comment="True for the cells of val on which scores are calibrated and ensembles combined; no checkpoint is chosen on them"),
        schema="sampling",
    )
    op.execute(
        "UPDATE sampling.split_cell AS c SET is_calibration = true FROM sampling.split_scheme AS x "
        "WHERE x.scheme_id = c.scheme_id AND c.split = 'val' AND sampling.is_calibration_cell(c.healpix_128, x.seed)"
    )
    op.create_check_constraint(
        op.f("ck_split_cell_calibration_within_val"), "split_cell", "split = 'val' OR NOT is_calibration", schema="sampling"
    )
    op.add_column(
        "model",
        sa.Column("kind", sa.Text(), server_default=sa.text("'network'"), nullable=False, comment="network, or ensemble: scores made of those of other models"),
        schema="training",
    )
    op.add_column(
        "model",
        sa.Column("taught_sha256", sa.Text(), nullable=True, comment="SHA-256 of the ids, labels, weights and targets that it was taught, hexadecimal; NULL for ensembles and for models from before 0.4.0"),
        schema="training",
    )
    op.alter_column("model", "preprocessing", nullable=True, schema="training")
    op.create_check_constraint(op.f("ck_model_kind_known"), "model", "kind IN ('network', 'ensemble')", schema="training")
    op.create_check_constraint(
        op.f("ck_model_preprocessing_of_a_network"), "model", "(kind = 'network') = (preprocessing IS NOT NULL)", schema="training"
    )
    _checkpoint_when_succeeded("kind <> 'network' OR status <> 'succeeded' OR checkpoint_uri IS NOT NULL")
    for name, (_, comment) in MODEL_COMMENTS.items():
        _comment(f"COLUMN training.model.{name}", comment)
    op.create_table(
        "embedding",
        sa.Column("model_id", sa.Integer(), nullable=False, comment="The network"),
        sa.Column("cutout_id", sa.BigInteger(), nullable=False, comment="The cutout"),
        sa.Column("vector", postgresql.ARRAY(postgresql.REAL()), nullable=False, comment="What goes into the last layer, one number for each feature"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that made it"),
        sa.CheckConstraint("cardinality(vector) > 0 AND array_ndims(vector) = 1", name=op.f("ck_embedding_vector_is_one_row")),
        sa.CheckConstraint("array_position(vector, NULL) IS NULL", name=op.f("ck_embedding_vector_without_null")),
        sa.ForeignKeyConstraint(["model_id"], ["training.model.model_id"], name=op.f("fk_embedding_model_id_model"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["cutout_id"], ["imaging.cutout.cutout_id"], name=op.f("fk_embedding_cutout_id_cutout")),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_embedding_run_id_run")),
        sa.PrimaryKeyConstraint("model_id", "cutout_id", name=op.f("pk_embedding")),
        schema="training",
        comment="Penultimate activations of one network for one cutout; written on request (score --embeddings).",
    )
    op.create_index(op.f("ix_embedding_cutout_id"), "embedding", ["cutout_id"], schema="training")
    op.execute("DROP VIEW results.scores")  # the seeing, a cutout's where a positive has no match, is of another type
    for sql in (MANIFEST, SCORES):
        _view(sql)


def downgrade() -> None:
    for name in ("scores", "split_leakage", "manifest"):
        op.execute(f"DROP VIEW results.{name}")
    op.drop_table("embedding", schema="training")
    op.execute("DELETE FROM training.model WHERE kind = 'ensemble'")
    for name, (comment, _) in MODEL_COMMENTS.items():
        _comment(f"COLUMN training.model.{name}", comment)
    _checkpoint_when_succeeded("status <> 'succeeded' OR checkpoint_uri IS NOT NULL")
    op.drop_constraint(op.f("ck_model_preprocessing_of_a_network"), "model", schema="training")
    op.drop_constraint(op.f("ck_model_kind_known"), "model", schema="training")
    op.alter_column("model", "preprocessing", nullable=False, schema="training")
    op.drop_column("model", "kind", schema="training")
    op.drop_column("model", "taught_sha256", schema="training")
    op.drop_column("split_cell", "is_calibration", schema="sampling")
    op.execute("DROP FUNCTION sampling.is_calibration_cell(integer, integer)")
    for sql in (OLD_MANIFEST, OLD_SCORES, SPLIT_LEAKAGE):
        _view(sql)


def _checkpoint_when_succeeded(rule: str) -> None:
    name = op.f("ck_model_checkpoint_when_succeeded")
    op.drop_constraint(name, "model", schema="training")
    op.create_check_constraint(name, "model", rule, schema="training")


def _view(sql: str) -> None:
    op.execute(sql)
    lines = [line[2:].strip() for line in sql.splitlines() if line.startswith("--")]
    _comment("VIEW results." + sql.split("VIEW results.")[1].split()[0], " ".join(lines))


def _comment(what: str, comment: str) -> None:
    quoted = comment.replace("'", "''")
    op.execute(f"COMMENT ON {what} IS '{quoted}'")
