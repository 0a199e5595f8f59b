"""Search functions, and what the match has done.

From: revision 0010
To: revision 0011
Why: the match looks only for new lenses and in new files; people search the pool by position without rights on it,
    through pg_sphere too where that extension is.
Cost on 114 M galaxies: none: two empty tables and functions. The first match after it looks for every lens once more.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


NEAREST = r"""-- The n pool galaxies nearest to a position (all of them where n is NULL) within a radius, nearest first.
-- Inputs: catalog.galaxy through its Q3C index; lens_match, lens (by key). Units: degrees, arcsec; mag_* AB, not dereddened,
-- NULL where the flux is not positive. lens_*: the known lens whose match this galaxy is, as of the last `stronglens match`.
-- The radius includes a galaxy at exactly that distance (1e-6 arcsec, the rounding of db/sky.py); ties go to the smaller ls_id.
-- SECURITY DEFINER: readers have no rights on catalog. Its path holds public, since q3c_radial_query, which the planner writes
-- out in place, names its own functions without a schema. So nobody else may create there (`stronglens db bootstrap` sees to it),
-- and every literal has the exact type of its operator in pg_catalog, which an operator elsewhere cannot fit better.
-- One generic plan serves all positions, since planning the 100 ranges of q3c_radial_query takes longer than reading them;
-- without known positions the planner would guess that they hold half of the pool, so it may neither scan it, nor compile, nor
-- start workers.
CREATE OR REPLACE FUNCTION results.nearest(
    centre_ra double precision,
    centre_dec double precision,
    radius_arcsec double precision,
    n integer DEFAULT 1,
    only_survey text DEFAULT NULL
) RETURNS TABLE (
    ls_id bigint,
    survey text,
    data_release smallint,
    ra double precision,
    "dec" double precision,
    type text,
    mag_g_ab double precision,
    mag_r_ab double precision,
    mag_z_ab double precision,
    nobs_z smallint,
    separation_arcsec double precision,
    lens_name text,
    lens_tier text,
    is_lens_claim boolean,
    lens_separation_arcsec double precision
)
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 10 COST 1000
SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
SET max_parallel_workers_per_gather = 0
AS $$
BEGIN
    IF (centre_ra >= 0::double precision AND centre_ra < 360::double precision) IS NOT TRUE THEN
        RAISE EXCEPTION 'ra is % degrees, expected at least 0 and less than 360', coalesce(centre_ra::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF (centre_dec >= -90::double precision AND centre_dec <= 90::double precision) IS NOT TRUE THEN
        RAISE EXCEPTION 'dec is % degrees, expected -90 to 90', coalesce(centre_dec::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF (radius_arcsec > 0::double precision AND radius_arcsec <= 3600::double precision) IS NOT TRUE THEN
        RAISE EXCEPTION 'radius is % arcsec, expected more than 0 and at most 3600',
            coalesce(radius_arcsec::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF n < 1 THEN
        RAISE EXCEPTION 'n is %, expected at least 1, or NULL for all', n USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY
    SELECT
        near.ls_id,
        near.survey,
        near.data_release,
        near.ra,
        near."dec",
        near.type,
        CASE
            WHEN near.flux_g > 0::real
                THEN 22.5::double precision - 2.5::double precision * log(near.flux_g::double precision)
        END,
        CASE
            WHEN near.flux_r > 0::real
                THEN 22.5::double precision - 2.5::double precision * log(near.flux_r::double precision)
        END,
        CASE
            WHEN near.flux_z > 0::real
                THEN 22.5::double precision - 2.5::double precision * log(near.flux_z::double precision)
        END,
        near.nobs_z,
        near.distance,
        known.name,
        known.tier,
        known.is_lens_claim,
        known.separation_arcsec
    FROM (
        SELECT
            g.*,
            public.q3c_dist(g.ra, g."dec", centre_ra, centre_dec) * 3600::double precision AS distance
        FROM catalog.galaxy AS g
        WHERE
            public.q3c_radial_query(
                g.ra,
                g."dec",
                centre_ra,
                centre_dec,
                (radius_arcsec + 1e-6::double precision) / 3600::double precision
            )
            AND (only_survey IS NULL OR g.survey = only_survey)
        ORDER BY distance, g.ls_id
        LIMIT n
    ) AS near
    LEFT JOIN LATERAL (
        SELECT l.name, l.tier, l.is_lens_claim, m.separation_arcsec
        FROM catalog.lens_match AS m
        JOIN catalog.lens AS l ON l.lens_id = m.lens_id
        WHERE m.ls_id = near.ls_id
        ORDER BY l.is_lens_claim DESC, m.separation_arcsec, l.lens_id
        LIMIT 1
    ) AS known ON TRUE
    ORDER BY near.distance, near.ls_id;
END
$$;
"""

CONE = r"""-- All pool galaxies within a radius of a position, nearest first: `results.nearest` without a limit, and its columns.
-- Plain SQL, so that the planner puts `nearest` in its place.
CREATE OR REPLACE FUNCTION results.cone(
    centre_ra double precision,
    centre_dec double precision,
    radius_arcsec double precision,
    only_survey text DEFAULT NULL
) RETURNS TABLE (
    ls_id bigint,
    survey text,
    data_release smallint,
    ra double precision,
    "dec" double precision,
    type text,
    mag_g_ab double precision,
    mag_r_ab double precision,
    mag_z_ab double precision,
    nobs_z smallint,
    separation_arcsec double precision,
    lens_name text,
    lens_tier text,
    is_lens_claim boolean,
    lens_separation_arcsec double precision
)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
AS $$
SELECT
    found.ls_id,
    found.survey,
    found.data_release,
    found.ra,
    found."dec",
    found.type,
    found.mag_g_ab,
    found.mag_r_ab,
    found.mag_z_ab,
    found.nobs_z,
    found.separation_arcsec,
    found.lens_name,
    found.lens_tier,
    found.is_lens_claim,
    found.lens_separation_arcsec
FROM results.nearest(cone.centre_ra, cone.centre_dec, cone.radius_arcsec, NULL, cone.only_survey) AS found;
$$;
"""

CONE_SPOINT = r"""-- `results.cone` for users of pg_sphere: its centre and the galaxies' positions are spoints. It searches through the Q3C index,
-- so the pool needs no second one. Made only where the extension pg_sphere is.
CREATE OR REPLACE FUNCTION results.cone_spoint(
    centre public.spoint,
    radius_arcsec double precision,
    only_survey text DEFAULT NULL
) RETURNS TABLE (
    ls_id bigint,
    "position" public.spoint,
    survey text,
    type text,
    mag_g_ab double precision,
    mag_r_ab double precision,
    mag_z_ab double precision,
    nobs_z smallint,
    separation_arcsec double precision,
    lens_name text,
    lens_tier text,
    is_lens_claim boolean,
    lens_separation_arcsec double precision
)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
AS $$
SELECT
    found.ls_id,
    public.spoint(radians(found.ra), radians(found."dec")),
    found.survey,
    found.type,
    found.mag_g_ab,
    found.mag_r_ab,
    found.mag_z_ab,
    found.nobs_z,
    found.separation_arcsec,
    found.lens_name,
    found.lens_tier,
    found.is_lens_claim,
    found.lens_separation_arcsec
FROM results.cone(
    -- The longitude just below a full turn comes out as 360 degrees.
    CASE
        WHEN degrees(public.long(centre)) < 360::double precision THEN degrees(public.long(centre))
        ELSE 0::double precision
    END,
    degrees(public.lat(centre)),
    cone_spoint.radius_arcsec,
    cone_spoint.only_survey
) AS found;
$$;
"""


def upgrade() -> None:
    _matched_lens()
    _matched_file()
    op.execute(NEAREST)
    op.execute("REVOKE ALL ON FUNCTION results.nearest FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION results.nearest TO stronglens_reader")
    op.execute(CONE)
    op.execute("GRANT EXECUTE ON FUNCTION results.cone TO stronglens_reader")
    # An extension that comes later gets its function from `stronglens db bootstrap`.
    if op.get_bind().scalar(sa.text("SELECT count(*) FROM pg_extension WHERE extname = 'pg_sphere'")):
        op.execute(CONE_SPOINT)
        op.execute("GRANT EXECUTE ON FUNCTION results.cone_spoint TO stronglens_reader")


def _matched_lens() -> None:
    op.create_table(
        "matched_lens",
        sa.Column("lens_id", sa.BigInteger(), nullable=False, comment="The lens"),
        sa.Column("survey", sa.Text(), nullable=False, comment="dr10 or mock"),
        sa.Column("data_release", sa.SmallInteger(), nullable=False, comment="Data release of the survey: 10"),
        sa.Column(
            "match_radius_arcsec",
            sa.Double(),
            nullable=False,
            comment="Radius within which its match was looked for, arcsec",
        ),
        sa.Column("exclusion_radius_arcsec", sa.Double(), nullable=False, comment="Radius of its neighbours, arcsec"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that looked"),
        sa.CheckConstraint("survey IN ('dr10', 'mock')", name=op.f("ck_matched_lens_survey_known")),
        sa.ForeignKeyConstraint(
            ["lens_id"], ["catalog.lens.lens_id"], name=op.f("fk_matched_lens_lens_id_lens"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_matched_lens_run_id_run")),
        sa.PrimaryKeyConstraint("lens_id", "survey", "data_release", name=op.f("pk_matched_lens")),
        schema="catalog",
        comment="What `stronglens match` has done: one lens looked for in one survey. A lens without a row, or near a "
        "file that is not in matched_file as it is now, is looked for anew.",
    )


def _matched_file() -> None:
    op.create_table(
        "matched_file",
        sa.Column(
            "sweep_file_id",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="catalog.sweep_file that it was",
        ),
        sa.Column("survey", sa.Text(), nullable=False, comment="dr10 or mock"),
        sa.Column("data_release", sa.SmallInteger(), nullable=False, comment="Data release of the survey: 10"),
        sa.Column("name", sa.Text(), nullable=False, comment="Its name, which declares its patch of sky"),
        sa.Column(
            "loaded_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the galaxies that the match saw were loaded",
        ),
        sa.CheckConstraint("survey IN ('dr10', 'mock')", name=op.f("ck_matched_file_survey_known")),
        sa.PrimaryKeyConstraint("sweep_file_id", name=op.f("pk_matched_file")),
        schema="catalog",
        comment="Sweep files that the lenses of matched_lens were looked for in, as they were then. It outlives the "
        "file's row in sweep_file: a file that was taken out also changes what lies near a lens.",
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION IF EXISTS results.cone_spoint")
    op.execute("DROP FUNCTION results.cone")
    op.execute("DROP FUNCTION results.nearest")
    op.drop_table("matched_file", schema="catalog")
    op.drop_table("matched_lens", schema="catalog")
