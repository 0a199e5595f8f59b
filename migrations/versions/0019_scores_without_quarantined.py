"""No quarantined cutout in scores, rankings and galleries.

From: revision 0018
To: revision 0019
Why: a cutout that a later validation found unfit was in no manifest any more, but its score still counted in rates and
    stood in rankings.
Cost on 114 M galaxies: none, views only; each asks a small table by key
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

SCORES_BEFORE = """
-- Grain: one score of one model for one cutout of the model's draw.
-- Inputs: training.score, training.model; imaging.cutout; sampling.draw_member, stratum, split_cell; catalog.lens, galaxy (by key).
-- Units: score in [0, 1], not a probability as such; ra, dec in degrees; mag_* AB, not dereddened; psf in arcsec.
-- Excludes: cutouts scored outside the model's draw.
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
LEFT JOIN catalog.galaxy AS g ON g.ls_id = dm.ls_id;
"""

TOP_CANDIDATES_BEFORE = """
-- Grain: one scored cutout of one model, ranked within the model by score (ties by cutout).
-- Inputs: training.score (through its index), training.model; imaging.cutout; sampling.draw_member, split_cell;
--   catalog.lens_neighbour, lens.
-- Units: ra, dec in degrees; separations in arcsec. known_lens_*: the nearest known lens or cluster core within 11 arcsec of
--   a negative, or the positive itself; NULL: no known lens there, as far as `stronglens match` has been run.
-- Excludes: nothing. Ask for one model and `rank <= K`: the ranking then stops after K rows.
CREATE OR REPLACE VIEW results.top_candidates AS
WITH
    ranked AS (
        SELECT
            s.model_id, s.cutout_id, s.score,
            row_number() OVER (PARTITION BY s.model_id ORDER BY s.score DESC, s.cutout_id) AS rank
        FROM training.score AS s
    )
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    r.rank,
    r.score,
    r.cutout_id,
    c.ra,
    c.dec,
    c.uri,
    c.lens_id,
    c.ls_id,
    cell.split,
    CASE WHEN c.lens_id IS NOT NULL THEN l.tier END AS tier,
    dm.pool,
    dm.category,
    coalesce(l.name, known.name) AS known_lens_name,
    CASE WHEN c.lens_id IS NOT NULL THEN 0 ELSE known.separation_arcsec END AS known_lens_separation_arcsec
FROM ranked AS r
JOIN training.model AS mo ON mo.model_id = r.model_id
JOIN imaging.cutout AS c ON c.cutout_id = r.cutout_id
LEFT JOIN catalog.lens AS l ON l.lens_id = c.lens_id
LEFT JOIN LATERAL (
    SELECT m.pool, m.category, m.healpix_128
    FROM sampling.draw_member AS m
    WHERE m.draw_id = mo.draw_id AND m.lens_id = c.lens_id AND m.label = 1
    UNION ALL
    SELECT m.pool, m.category, m.healpix_128
    FROM sampling.draw_member AS m
    WHERE m.draw_id = mo.draw_id AND m.ls_id = c.ls_id AND m.label = 0
) AS dm ON TRUE
LEFT JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = dm.healpix_128
LEFT JOIN LATERAL (
    SELECT k.name, n.separation_arcsec
    FROM catalog.lens_neighbour AS n
    JOIN catalog.lens AS k ON k.lens_id = n.lens_id
    WHERE n.ls_id = c.ls_id
    ORDER BY n.separation_arcsec, n.lens_id
    LIMIT 1
) AS known ON TRUE;
"""

FALSE_POSITIVES_BEFORE = """
-- Grain: one negative at or above the threshold of one operating point of one model, ranked by score.
-- Inputs: evaluation.operating_point; training.score (through its index), training.model; imaging.cutout;
--   sampling.draw_member, stratum, split_cell; catalog.lens_neighbour, galaxy (by key).
-- Units: ra, dec in degrees; mag_r_ab AB, not dereddened.
-- Excludes: negatives within 11 arcsec of any lens known now (they are candidates, not false positives; see top_candidates).
CREATE OR REPLACE VIEW results.false_positives AS
WITH
    exceedance AS (
        SELECT o.operating_point_id, o.model_id, o.fpr_target, o.threshold, s.cutout_id, s.score
        FROM evaluation.operating_point AS o
        JOIN training.score AS s ON s.model_id = o.model_id AND s.score >= o.threshold
    )
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    e.fpr_target,
    e.threshold,
    row_number() OVER (PARTITION BY e.operating_point_id, cell.split ORDER BY e.score DESC, e.cutout_id) AS rank_in_split,
    e.score,
    e.cutout_id,
    c.uri,
    c.ra,
    c.dec,
    c.ls_id,
    cell.split,
    dm.pool,
    dm.category,
    st.nobs_z_bin,
    g.type,
    CASE WHEN g.flux_r > 0 THEN 22.5 - 2.5 * log(g.flux_r::double precision) END AS mag_r_ab,
    dm.inclusion_probability
FROM exceedance AS e
JOIN training.model AS mo ON mo.model_id = e.model_id
JOIN imaging.cutout AS c ON c.cutout_id = e.cutout_id
JOIN sampling.draw_member AS dm ON dm.draw_id = mo.draw_id AND dm.ls_id = c.ls_id AND dm.label = 0
JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = dm.healpix_128
JOIN catalog.galaxy AS g ON g.ls_id = c.ls_id
LEFT JOIN sampling.stratum AS st ON st.stratum_id = dm.stratum_id
WHERE NOT EXISTS (SELECT 1 FROM catalog.lens_neighbour AS n WHERE n.ls_id = c.ls_id);
"""

FALSE_NEGATIVES_BEFORE = """
-- Grain: one positive below the threshold of one operating point of one model, the lowest score first.
-- Inputs: evaluation.operating_point; sampling.draw_member, stratum, split_cell; imaging.cutout; training.score, model;
--   catalog.lens.
-- Units: ra, dec in degrees.
-- Excludes: positives without a cutout (rejected pixels); they have no score.
CREATE OR REPLACE VIEW results.false_negatives AS
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    o.fpr_target,
    o.threshold,
    row_number() OVER (PARTITION BY o.operating_point_id, cell.split ORDER BY s.score, s.cutout_id) AS rank_in_split,
    s.score,
    s.cutout_id,
    c.uri,
    c.ra,
    c.dec,
    c.lens_id,
    l.name AS lens_name,
    dm.tier,
    l.discovery,
    cell.split,
    st.nobs_z_bin,
    st.type
FROM evaluation.operating_point AS o
JOIN training.model AS mo ON mo.model_id = o.model_id
JOIN sampling.draw_member AS dm ON dm.draw_id = mo.draw_id AND dm.label = 1
JOIN imaging.cutout AS c ON c.lens_id = dm.lens_id AND c.survey = mo.survey AND c.version = mo.cutout_version
JOIN training.score AS s ON s.model_id = mo.model_id AND s.cutout_id = c.cutout_id AND s.score < o.threshold
JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = dm.healpix_128
JOIN catalog.lens AS l ON l.lens_id = dm.lens_id
LEFT JOIN sampling.stratum AS st ON st.stratum_id = dm.stratum_id;
"""

SCORES_AFTER = """
-- Grain: one score of one model for one cutout of the model's draw.
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

TOP_CANDIDATES_AFTER = """
-- Grain: one scored cutout of one model, ranked within the model by score (ties by cutout).
-- Inputs: training.score (through its index), training.model; imaging.cutout, quarantine; sampling.draw_member, split_cell;
--   catalog.lens_neighbour, lens.
-- Units: ra, dec in degrees; separations in arcsec. known_lens_*: the nearest known lens or cluster core within 11 arcsec of
--   a negative, or the positive itself; NULL: no known lens there, as far as `stronglens match` has been run.
-- Excludes: quarantined cutouts. Ask for one model and `rank <= K`: the ranking then stops after K rows.
CREATE OR REPLACE VIEW results.top_candidates AS
WITH
    ranked AS (
        SELECT
            s.model_id, s.cutout_id, s.score,
            row_number() OVER (PARTITION BY s.model_id ORDER BY s.score DESC, s.cutout_id) AS rank
        FROM training.score AS s
        WHERE NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = s.cutout_id)
    )
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    r.rank,
    r.score,
    r.cutout_id,
    c.ra,
    c.dec,
    c.uri,
    c.lens_id,
    c.ls_id,
    cell.split,
    CASE WHEN c.lens_id IS NOT NULL THEN l.tier END AS tier,
    dm.pool,
    dm.category,
    coalesce(l.name, known.name) AS known_lens_name,
    CASE WHEN c.lens_id IS NOT NULL THEN 0 ELSE known.separation_arcsec END AS known_lens_separation_arcsec
FROM ranked AS r
JOIN training.model AS mo ON mo.model_id = r.model_id
JOIN imaging.cutout AS c ON c.cutout_id = r.cutout_id
LEFT JOIN catalog.lens AS l ON l.lens_id = c.lens_id
LEFT JOIN LATERAL (
    SELECT m.pool, m.category, m.healpix_128
    FROM sampling.draw_member AS m
    WHERE m.draw_id = mo.draw_id AND m.lens_id = c.lens_id AND m.label = 1
    UNION ALL
    SELECT m.pool, m.category, m.healpix_128
    FROM sampling.draw_member AS m
    WHERE m.draw_id = mo.draw_id AND m.ls_id = c.ls_id AND m.label = 0
) AS dm ON TRUE
LEFT JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = dm.healpix_128
LEFT JOIN LATERAL (
    SELECT k.name, n.separation_arcsec
    FROM catalog.lens_neighbour AS n
    JOIN catalog.lens AS k ON k.lens_id = n.lens_id
    WHERE n.ls_id = c.ls_id
    ORDER BY n.separation_arcsec, n.lens_id
    LIMIT 1
) AS known ON TRUE;
"""

FALSE_POSITIVES_AFTER = """
-- Grain: one negative at or above the threshold of one operating point of one model, ranked by score.
-- Inputs: evaluation.operating_point; training.score (through its index), training.model; imaging.cutout, quarantine;
--   sampling.draw_member, stratum, split_cell; catalog.lens_neighbour, galaxy (by key).
-- Units: ra, dec in degrees; mag_r_ab AB, not dereddened.
-- Excludes: quarantined cutouts; negatives within 11 arcsec of any lens known now (they are candidates, not false positives; see top_candidates).
CREATE OR REPLACE VIEW results.false_positives AS
WITH
    exceedance AS (
        SELECT o.operating_point_id, o.model_id, o.fpr_target, o.threshold, s.cutout_id, s.score
        FROM evaluation.operating_point AS o
        JOIN training.score AS s ON s.model_id = o.model_id AND s.score >= o.threshold
        WHERE NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = s.cutout_id)
    )
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    e.fpr_target,
    e.threshold,
    row_number() OVER (PARTITION BY e.operating_point_id, cell.split ORDER BY e.score DESC, e.cutout_id) AS rank_in_split,
    e.score,
    e.cutout_id,
    c.uri,
    c.ra,
    c.dec,
    c.ls_id,
    cell.split,
    dm.pool,
    dm.category,
    st.nobs_z_bin,
    g.type,
    CASE WHEN g.flux_r > 0 THEN 22.5 - 2.5 * log(g.flux_r::double precision) END AS mag_r_ab,
    dm.inclusion_probability
FROM exceedance AS e
JOIN training.model AS mo ON mo.model_id = e.model_id
JOIN imaging.cutout AS c ON c.cutout_id = e.cutout_id
JOIN sampling.draw_member AS dm ON dm.draw_id = mo.draw_id AND dm.ls_id = c.ls_id AND dm.label = 0
JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = dm.healpix_128
JOIN catalog.galaxy AS g ON g.ls_id = c.ls_id
LEFT JOIN sampling.stratum AS st ON st.stratum_id = dm.stratum_id
WHERE NOT EXISTS (SELECT 1 FROM catalog.lens_neighbour AS n WHERE n.ls_id = c.ls_id);
"""

FALSE_NEGATIVES_AFTER = """
-- Grain: one positive below the threshold of one operating point of one model, the lowest score first.
-- Inputs: evaluation.operating_point; sampling.draw_member, stratum, split_cell; imaging.cutout, quarantine; training.score, model;
--   catalog.lens.
-- Units: ra, dec in degrees.
-- Excludes: quarantined cutouts; positives without a cutout (rejected pixels); they have no score.
CREATE OR REPLACE VIEW results.false_negatives AS
SELECT
    mo.model_id,
    mo.name AS model_name,
    mo.survey,
    o.fpr_target,
    o.threshold,
    row_number() OVER (PARTITION BY o.operating_point_id, cell.split ORDER BY s.score, s.cutout_id) AS rank_in_split,
    s.score,
    s.cutout_id,
    c.uri,
    c.ra,
    c.dec,
    c.lens_id,
    l.name AS lens_name,
    dm.tier,
    l.discovery,
    cell.split,
    st.nobs_z_bin,
    st.type
FROM evaluation.operating_point AS o
JOIN training.model AS mo ON mo.model_id = o.model_id
JOIN sampling.draw_member AS dm ON dm.draw_id = mo.draw_id AND dm.label = 1
JOIN imaging.cutout AS c ON c.lens_id = dm.lens_id AND c.survey = mo.survey AND c.version = mo.cutout_version
JOIN training.score AS s ON s.model_id = mo.model_id AND s.cutout_id = c.cutout_id AND s.score < o.threshold
JOIN sampling.split_cell AS cell ON cell.scheme_id = mo.scheme_id AND cell.healpix_128 = dm.healpix_128
JOIN catalog.lens AS l ON l.lens_id = dm.lens_id
LEFT JOIN sampling.stratum AS st ON st.stratum_id = dm.stratum_id
WHERE NOT EXISTS (SELECT 1 FROM imaging.quarantine AS q WHERE q.cutout_id = s.cutout_id);
"""


def upgrade() -> None:
    _replace((SCORES_AFTER, TOP_CANDIDATES_AFTER, FALSE_POSITIVES_AFTER, FALSE_NEGATIVES_AFTER))


def downgrade() -> None:
    _replace((SCORES_BEFORE, TOP_CANDIDATES_BEFORE, FALSE_POSITIVES_BEFORE, FALSE_NEGATIVES_BEFORE))


def _replace(views: tuple[str, ...]) -> None:
    """Create views anew, each with its header as its comment."""
    for view in views:
        name = view.partition("VIEW ")[2].partition(" ")[0]
        header = " ".join(line[2:].strip() for line in view.splitlines() if line.startswith("--"))
        quoted = header.replace("'", "''")
        op.execute(view)
        op.execute(f"COMMENT ON VIEW {name} IS '{quoted}'")
