"""Sampling: draws, strata and the split of the sky.

From: revision 0002
To: revision 0003
Why: training needs stratified negatives and splits that cannot leak.
Cost on 114 M galaxies: none: the tables are new and empty
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA sampling")
    op.execute(
        """-- Bin of the number of z exposures that defines a stratum: 1-2, 3-5, 6-10, 11+; NULL where there is none.
CREATE OR REPLACE FUNCTION sampling.nobs_z_bin(nobs_z smallint) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN nobs_z BETWEEN 1 AND 2 THEN '1-2'
    WHEN nobs_z BETWEEN 3 AND 5 THEN '3-5'
    WHEN nobs_z BETWEEN 6 AND 10 THEN '6-10'
    WHEN nobs_z >= 11 THEN '11+'
END;
"""
    )
    op.execute(
        """-- Uniform key in [0, 1) of a galaxy under a seed and a purpose: the first 4 bytes, big-endian, of
-- SHA-256('<ls_id>_<seed>_<purpose>') / 2^32. Independent of the PostgreSQL version and of the order of rows.
CREATE OR REPLACE FUNCTION sampling.draw_key(ls_id bigint, seed integer, purpose text) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    ('x' || left(encode(sha256(convert_to(ls_id::text || '_' || seed::text || '_' || purpose, 'UTF8')), 'hex'), 8))
        ::bit(32)::bigint & 4294967295
) / 4294967296.0::double precision;
"""
    )
    op.execute(
        """-- Split of a HEALPix cell by rule: u = first 4 bytes, big-endian, of SHA-256('<pixel>_<seed>') / 2^32.
-- Only the leak check uses it: assignment is done once, in Python, and this is the independent second opinion.
CREATE OR REPLACE FUNCTION sampling.split_of_cell(
    pixel integer, seed integer, train_below double precision, val_below double precision
) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT CASE WHEN h.u < train_below THEN 'train' WHEN h.u < val_below THEN 'val' ELSE 'test' END
    FROM (
        SELECT (
            ('x' || left(encode(sha256(convert_to(pixel::text || '_' || seed::text, 'UTF8')), 'hex'), 8))
                ::bit(32)::bigint & 4294967295
        ) / 4294967296.0::double precision AS u
    ) AS h
);
"""
    )
    op.execute(
        """-- Trigger function: a draw takes galaxies of its own survey only.
CREATE OR REPLACE FUNCTION sampling.refuse_mixed_draw() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    stranger record;
BEGIN
    SELECT d.name AS draw_name, d.survey AS draw_survey, g.ls_id, g.survey AS galaxy_survey
    INTO stranger
    FROM changed AS m
    JOIN sampling.draw AS d ON d.draw_id = m.draw_id
    JOIN catalog.galaxy AS g ON g.ls_id = m.ls_id
    WHERE g.survey <> d.survey
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'draw % is of survey %, galaxy % of survey %: a draw never mixes surveys',
            stranger.draw_name, stranger.draw_survey, stranger.ls_id, stranger.galaxy_survey
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;
"""
    )
    op.create_table(
        "draw",
        sa.Column("draw_id", sa.Integer(), sa.Identity(always=True), nullable=False, comment="Key of the draw"),
        sa.Column("name", sa.Text(), nullable=False, comment="Its name, chosen by the user"),
        sa.Column("survey", sa.Text(), nullable=False, comment="dr10 or mock"),
        sa.Column("data_release", sa.SmallInteger(), nullable=False, comment="Data release of the survey: 10"),
        sa.Column("seed", sa.Integer(), nullable=False, comment="Seed of the draw keys"),
        sa.Column("config_sha256", sa.Text(), nullable=False, comment="All rules of the draw"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that made it"),
        sa.Column(
            "n_lenses_known",
            sa.Integer(),
            nullable=False,
            comment="Known lenses and cluster cores excluded around, when drawn",
        ),
        sa.Column("n_galaxies", sa.BigInteger(), nullable=False, comment="Rows of the pool of this survey, when drawn"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was drawn",
        ),
        sa.CheckConstraint("survey IN ('dr10', 'mock')", name=op.f("ck_draw_survey_known")),
        sa.ForeignKeyConstraint(
            ["config_sha256"], ["provenance.config.config_sha256"], name=op.f("fk_draw_config_sha256_config")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_draw_run_id_run")),
        sa.PrimaryKeyConstraint("draw_id", name=op.f("pk_draw")),
        sa.UniqueConstraint("draw_id", "survey", name=op.f("uq_draw_draw_id_survey")),
        sa.UniqueConstraint("name", name=op.f("uq_draw_name")),
        schema="sampling",
        comment="One stratified sample of negatives, and the positives it was drawn for. Never mixes surveys.",
    )
    op.create_table(
        "split_scheme",
        sa.Column("scheme_id", sa.Integer(), sa.Identity(always=True), nullable=False, comment="Key of the scheme"),
        sa.Column("name", sa.Text(), nullable=False, comment="Its name, chosen by the user"),
        sa.Column("nside", sa.Integer(), nullable=False, comment="HEALPix nside of the cells (NESTED): 128"),
        sa.Column("seed", sa.Integer(), nullable=False, comment="Seed hashed with the cell number"),
        sa.Column("train_below", sa.Double(), nullable=False, comment="Upper bound of u for train (0.70)"),
        sa.Column(
            "val_below", sa.Double(), nullable=False, comment="Upper bound of u for val (0.85); the rest is test"
        ),
        sa.Column(
            "guard_arcsec",
            sa.Double(),
            nullable=False,
            comment="A negative this near to a member of another split leaves the manifest, arcsec",
        ),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that made it"),
        sa.CheckConstraint("nside = 128", name=op.f("ck_split_scheme_nside_is_the_cells")),
        sa.CheckConstraint(
            "train_below > 0 AND train_below < val_below AND val_below < 1",
            name=op.f("ck_split_scheme_fractions_ordered"),
        ),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_split_scheme_run_id_run")),
        sa.PrimaryKeyConstraint("scheme_id", name=op.f("pk_split_scheme")),
        sa.UniqueConstraint("name", name=op.f("uq_split_scheme_name")),
        schema="sampling",
        comment="One rule that splits the sky: u = first 4 bytes of SHA-256(cell_seed) / 2^32; train u < train_below, val u < val_below, else test.",
    )
    op.create_table(
        "split_assignment",
        sa.Column("scheme_id", sa.Integer(), nullable=False, comment="The scheme"),
        sa.Column("draw_id", sa.Integer(), nullable=False, comment="The draw"),
        sa.Column("n_close_pairs", sa.Integer(), nullable=False, comment="Pairs of members within the guard distance"),
        sa.Column("n_guard_drops", sa.Integer(), nullable=False, comment="Negatives left out of the manifest"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that guarded it"),
        sa.ForeignKeyConstraint(
            ["draw_id"], ["sampling.draw.draw_id"], name=op.f("fk_split_assignment_draw_id_draw"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_split_assignment_run_id_run")),
        sa.ForeignKeyConstraint(
            ["scheme_id"],
            ["sampling.split_scheme.scheme_id"],
            name=op.f("fk_split_assignment_scheme_id_split_scheme"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("scheme_id", "draw_id", name=op.f("pk_split_assignment")),
        schema="sampling",
        comment="A draw whose members a scheme has been assigned to and guarded; without this row the draw has no manifest under the scheme.",
    )
    op.create_index(
        op.f("ix_split_assignment_draw_id"), "split_assignment", ["draw_id"], unique=False, schema="sampling"
    )
    op.create_table(
        "split_cell",
        sa.Column("scheme_id", sa.Integer(), nullable=False, comment="The scheme"),
        sa.Column(
            "healpix_128", sa.Integer(), autoincrement=False, nullable=False, comment="HEALPix cell, nside 128, NESTED"
        ),
        sa.Column("split", sa.Text(), nullable=False, comment="train, val or test"),
        sa.CheckConstraint("split IN ('train', 'val', 'test')", name=op.f("ck_split_cell_split_known")),
        sa.CheckConstraint("healpix_128 >= 0 AND healpix_128 < 196608", name=op.f("ck_split_cell_healpix_128_range")),
        sa.ForeignKeyConstraint(
            ["scheme_id"],
            ["sampling.split_scheme.scheme_id"],
            name=op.f("fk_split_cell_scheme_id_split_scheme"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("scheme_id", "healpix_128", name=op.f("pk_split_cell")),
        schema="sampling",
        comment="The split of one HEALPix cell under one scheme; the primary key keeps a cell in one split.",
    )
    op.create_table(
        "stratum",
        sa.Column("stratum_id", sa.Integer(), sa.Identity(always=True), nullable=False, comment="Key of the stratum"),
        sa.Column("draw_id", sa.Integer(), nullable=False, comment="The draw"),
        sa.Column("nobs_z_bin", sa.Text(), nullable=False, comment="Exposures in z: 1-2, 3-5, 6-10, 11+"),
        sa.Column("type", sa.Text(), nullable=False, comment="Tractor type: SER, DEV or REX"),
        sa.Column("n_positives", sa.Integer(), nullable=False, comment="Positives of the draw in this stratum"),
        sa.Column(
            "n_eligible_n1",
            sa.Integer(),
            nullable=False,
            comment="Galaxies eligible for N1: of this type, after N2 was drawn",
        ),
        sa.Column(
            "n_eligible_n2",
            sa.Integer(),
            nullable=False,
            comment="Hard confusers eligible for N2: of this type, and the EXP ones of the nobs bin assigned here by hash",
        ),
        sa.Column("n_target_n1", sa.Integer(), nullable=False, comment="N1 negatives wanted"),
        sa.Column("n_target_n2", sa.Integer(), nullable=False, comment="N2 negatives wanted"),
        sa.Column(
            "n_drawn_n1", sa.Integer(), nullable=False, comment="N1 negatives drawn; fewer than wanted is a shortfall"
        ),
        sa.Column(
            "n_drawn_n2", sa.Integer(), nullable=False, comment="N2 negatives drawn; fewer than wanted is a shortfall"
        ),
        sa.CheckConstraint("nobs_z_bin IN ('1-2', '3-5', '6-10', '11+')", name=op.f("ck_stratum_nobs_z_bin_known")),
        sa.CheckConstraint("type IN ('SER', 'DEV', 'REX')", name=op.f("ck_stratum_type_known")),
        sa.CheckConstraint(
            "n_drawn_n1 <= n_target_n1 AND n_drawn_n2 <= n_target_n2 AND n_drawn_n2 <= n_eligible_n2 AND n_drawn_n1 <= n_eligible_n1",
            name=op.f("ck_stratum_drawn_within_target_and_pool"),
        ),
        sa.ForeignKeyConstraint(
            ["draw_id"], ["sampling.draw.draw_id"], name=op.f("fk_stratum_draw_id_draw"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("stratum_id", name=op.f("pk_stratum")),
        sa.UniqueConstraint("draw_id", "nobs_z_bin", "type", name=op.f("uq_stratum_draw_id_nobs_z_bin_type")),
        schema="sampling",
        comment="One stratum of a draw, with its eligible pool, target and what was drawn.",
    )
    op.create_table(
        "draw_member",
        sa.Column("member_id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Key of the member"),
        sa.Column("draw_id", sa.Integer(), nullable=False, comment="The draw"),
        sa.Column("label", sa.SmallInteger(), nullable=False, comment="1 positive, 0 negative"),
        sa.Column("pool", sa.Text(), nullable=False, comment="positive; N1 (deployment-like); N2 (hard confusers)"),
        sa.Column("lens_id", sa.BigInteger(), nullable=True, comment="The lens; NULL for negatives"),
        sa.Column("tier", sa.Text(), nullable=True, comment="Tier of the positive when drawn; NULL for negatives"),
        sa.Column(
            "ls_id",
            sa.BigInteger(),
            nullable=True,
            comment="The galaxy; for a positive its Tractor match, NULL where it has none in the pool",
        ),
        sa.Column(
            "stratum_id",
            sa.Integer(),
            nullable=True,
            comment="Its stratum; NULL for positives that match EXP, PSF or nothing",
        ),
        sa.Column(
            "category", sa.Text(), nullable=True, comment="Kind of confuser (N2): ring, edge_on, large, blue_clumpy"
        ),
        sa.Column(
            "inclusion_probability",
            sa.Double(),
            nullable=True,
            comment="Probability that the draw takes this galaxy, by whichever pool; 1/it weights back to the survey",
        ),
        sa.Column(
            "weight",
            sa.Double(),
            nullable=False,
            comment="Weight in the training loss: tier A 1.0, B 0.5, negatives 1.0",
        ),
        sa.Column("ra", sa.Double(), nullable=False, comment="Right ascension of the cutout's centre, degrees"),
        sa.Column("dec", sa.Double(), nullable=False, comment="Declination of the cutout's centre, degrees"),
        sa.Column(
            "healpix_128", sa.Integer(), nullable=False, comment="HEALPix cell, nside 128, NESTED, of ra and dec"
        ),
        sa.CheckConstraint(
            "(label = 1) = (pool = 'positive') AND (label = 1) = (lens_id IS NOT NULL) AND (label = 1) = (tier IS NOT NULL)",
            name=op.f("ck_draw_member_positives_are_lenses"),
        ),
        sa.CheckConstraint("(pool = 'N2') = (category IS NOT NULL)", name=op.f("ck_draw_member_category_when_n2")),
        sa.CheckConstraint(
            "category IN ('ring', 'edge_on', 'large', 'blue_clumpy')", name=op.f("ck_draw_member_category_known")
        ),
        sa.CheckConstraint("pool IN ('positive', 'N1', 'N2')", name=op.f("ck_draw_member_pool_known")),
        sa.CheckConstraint("tier IN ('A', 'B')", name=op.f("ck_draw_member_tier_known")),
        sa.CheckConstraint(
            "(inclusion_probability IS NULL) = (label = 1)", name=op.f("ck_draw_member_probability_when_negative")
        ),
        sa.CheckConstraint("dec >= -90 AND dec <= 90", name=op.f("ck_draw_member_dec_range")),
        sa.CheckConstraint(
            "inclusion_probability IS NULL OR (inclusion_probability > 0 AND inclusion_probability <= 1)",
            name=op.f("ck_draw_member_inclusion_probability_range"),
        ),
        sa.CheckConstraint(
            "label = 1 OR (ls_id IS NOT NULL AND stratum_id IS NOT NULL)",
            name=op.f("ck_draw_member_negatives_are_galaxies"),
        ),
        sa.CheckConstraint("label IN (0, 1)", name=op.f("ck_draw_member_label_binary")),
        sa.CheckConstraint("ra >= 0 AND ra < 360", name=op.f("ck_draw_member_ra_range")),
        sa.CheckConstraint("weight > 0 AND weight <= 1", name=op.f("ck_draw_member_weight_range")),
        sa.ForeignKeyConstraint(
            ["draw_id"], ["sampling.draw.draw_id"], name=op.f("fk_draw_member_draw_id_draw"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["lens_id"], ["catalog.lens.lens_id"], name=op.f("fk_draw_member_lens_id_lens")),
        sa.ForeignKeyConstraint(["ls_id"], ["catalog.galaxy.ls_id"], name=op.f("fk_draw_member_ls_id_galaxy")),
        sa.ForeignKeyConstraint(
            ["stratum_id"], ["sampling.stratum.stratum_id"], name=op.f("fk_draw_member_stratum_id_stratum")
        ),
        sa.PrimaryKeyConstraint("member_id", name=op.f("pk_draw_member")),
        sa.UniqueConstraint("draw_id", "lens_id", name=op.f("uq_draw_member_draw_id_lens_id")),
        schema="sampling",
        comment="One object of a draw: a positive (lens) or a negative (pool galaxy). A trigger refuses galaxies of another survey.",
    )
    op.create_index(op.f("ix_draw_member_draw_id"), "draw_member", ["draw_id"], unique=False, schema="sampling")
    op.create_index(op.f("ix_draw_member_lens_id"), "draw_member", ["lens_id"], unique=False, schema="sampling")
    op.create_index(op.f("ix_draw_member_ls_id"), "draw_member", ["ls_id"], unique=False, schema="sampling")
    op.create_index(
        "ix_draw_member_q3c",
        "draw_member",
        [sa.literal_column("q3c_ang2ipix(ra, dec)")],
        unique=False,
        schema="sampling",
    )
    op.create_index(op.f("ix_draw_member_stratum_id"), "draw_member", ["stratum_id"], unique=False, schema="sampling")
    op.create_index(
        "uq_draw_member_draw_id_ls_id_negative",
        "draw_member",
        ["draw_id", "ls_id"],
        unique=True,
        schema="sampling",
        postgresql_where=sa.text("label = 0"),
    )
    op.create_table(
        "close_pair",
        sa.Column("member_id", sa.BigInteger(), nullable=False, comment="The member with the smaller key"),
        sa.Column("other_member_id", sa.BigInteger(), nullable=False, comment="The member with the larger key"),
        sa.Column("draw_id", sa.Integer(), nullable=False, comment="The draw of both"),
        sa.Column("separation_arcsec", sa.Double(), nullable=False, comment="Great-circle distance, arcsec"),
        sa.CheckConstraint("member_id < other_member_id", name=op.f("ck_close_pair_ordered")),
        sa.CheckConstraint("separation_arcsec >= 0", name=op.f("ck_close_pair_separation_not_negative")),
        sa.ForeignKeyConstraint(
            ["draw_id"], ["sampling.draw.draw_id"], name=op.f("fk_close_pair_draw_id_draw"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["member_id"],
            ["sampling.draw_member.member_id"],
            name=op.f("fk_close_pair_member_id_draw_member"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["other_member_id"],
            ["sampling.draw_member.member_id"],
            name=op.f("fk_close_pair_other_member_id_draw_member"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("member_id", "other_member_id", name=op.f("pk_close_pair")),
        schema="sampling",
        comment="Two members of one draw within the guard distance; `stronglens splits assign` finds them. Where their splits differ, the negatives among them leave the manifest.",
    )
    op.create_index(op.f("ix_close_pair_draw_id"), "close_pair", ["draw_id"], unique=False, schema="sampling")
    op.create_index(
        op.f("ix_close_pair_other_member_id"), "close_pair", ["other_member_id"], unique=False, schema="sampling"
    )
    op.create_table(
        "guard_drop",
        sa.Column("scheme_id", sa.Integer(), nullable=False, comment="The scheme"),
        sa.Column("member_id", sa.BigInteger(), nullable=False, comment="The negative left out"),
        sa.Column("nearest_member_id", sa.BigInteger(), nullable=False, comment="The nearest member of another split"),
        sa.Column("separation_arcsec", sa.Double(), nullable=False, comment="Distance to it, arcsec"),
        sa.ForeignKeyConstraint(
            ["member_id"], ["sampling.draw_member.member_id"], name="fk_guard_drop_member", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["scheme_id"],
            ["sampling.split_scheme.scheme_id"],
            name=op.f("fk_guard_drop_scheme_id_split_scheme"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("scheme_id", "member_id", name=op.f("pk_guard_drop")),
        schema="sampling",
        comment="A negative within the guard distance of a member of another split: out of the scheme's manifest.",
    )
    op.execute(
        """CREATE OR REPLACE TRIGGER draw_member_refuse_mixed_insert AFTER INSERT ON sampling.draw_member
REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_mixed_draw();
"""
    )
    op.execute(
        """CREATE OR REPLACE TRIGGER draw_member_refuse_mixed_update AFTER UPDATE ON sampling.draw_member
REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_mixed_draw();
"""
    )


def downgrade() -> None:
    op.execute("DROP SCHEMA sampling CASCADE")
