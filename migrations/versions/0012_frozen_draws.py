"""Draws by one pass, frozen once a model uses them, mined for hard negatives.

From: revision 0011
To: revision 0012
Why: a draw orders galaxies by a key that costs a tenth of the former one, and remembers which key made it; what a model
    was trained on must not change under it; galaxies that a model wrongly takes for lenses become negatives.
Cost on 114 M galaxies: none of theirs is touched; the rules of sampling.draw_member are checked once, a second per
    million members, and its index of lenses is built anew, without the negatives

A downgrade is refused where a mined draw exists: revision 0011 has no place for its members.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

OLD_DRAW_KEY = """-- Uniform key in [0, 1) of a galaxy under a seed and a purpose: the first 4 bytes, big-endian, of
-- SHA-256('<ls_id>_<seed>_<purpose>') / 2^32. Independent of the PostgreSQL version and of the order of rows.
CREATE OR REPLACE FUNCTION sampling.draw_key(ls_id bigint, seed integer, purpose text) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    ('x' || left(encode(sha256(convert_to(ls_id::text || '_' || seed::text || '_' || purpose, 'UTF8')), 'hex'), 8))
        ::bit(32)::bigint & 4294967295
) / 4294967296.0::double precision;
"""

DRAW_KEY = """-- Uniform key of a galaxy under a salt (the seed and the purpose of a draw, hashed): a whole 64-bit number, signed.
-- PostgreSQL's hash of an integer folds its halves into one, so that of a whole ls_id would put many galaxies of one
-- brick's number on one key; here each half, below 2^32, is hashed by itself, the second salted with the first.
-- The hash must not differ between versions of PostgreSQL: a test holds it to golden values and to a reimplementation.
CREATE OR REPLACE FUNCTION sampling.draw_key(ls_id bigint, salt bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN hashint8extended(ls_id & 4294967295, hashint8extended(ls_id >> 32, salt));
"""

CONFUSER_CODE = """-- Kind of hard confuser that a galaxy is: 1 ring, 2 edge_on, 3 large, 4 blue_clumpy (the first that fits), 0 none.
-- type_letter is ascii(type), a number, which compares faster than text does; ellipticity2 is the square of Tractor's
-- ellipticity, (1 - q) / (1 + q), which needs no root. Fluxes in nanomaggies, not dereddened; shape_r in arcsec. The limits
-- after them are the rules of a draw: g - r <= limit and r <= limit are written in fluxes.
CREATE OR REPLACE FUNCTION sampling.confuser_code(
    type_letter integer, flux_g real, flux_r real, sersic real, shape_r real, ellipticity2 double precision,
    ring_sersic_min double precision, ring_flux_r_min double precision,
    edge_on_ellipticity_min double precision, edge_on_shape_r_min double precision,
    large_shape_r_min double precision, large_flux_r_min double precision,
    blue_flux_ratio_min double precision, blue_flux_r_min double precision
) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN flux_r >= ring_flux_r_min
        AND (type_letter = ascii('D') OR (type_letter = ascii('S') AND sersic >= ring_sersic_min)) THEN 1
    WHEN shape_r >= edge_on_shape_r_min AND type_letter <> ascii('R')
        AND ellipticity2 >= edge_on_ellipticity_min * edge_on_ellipticity_min THEN 2
    WHEN shape_r >= large_shape_r_min AND flux_r >= large_flux_r_min THEN 3
    WHEN flux_g > 0 AND flux_g >= flux_r * blue_flux_ratio_min AND flux_r >= blue_flux_r_min THEN 4
    ELSE 0
END;
"""

REFUSE_FROZEN_ROWS = """-- Trigger function: the members and strata of a draw that a model uses are history, by whatever statement.
CREATE OR REPLACE FUNCTION sampling.refuse_frozen_rows() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    used record;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        SELECT m.name AS model_name, m.draw_id INTO used FROM training.model AS m ORDER BY m.model_id LIMIT 1;
    ELSIF TG_OP = 'UPDATE' THEN
        SELECT m.name AS model_name, m.draw_id INTO used
        FROM training.model AS m
        WHERE EXISTS (SELECT FROM changed AS c WHERE c.draw_id = m.draw_id)
            OR EXISTS (SELECT FROM former AS f WHERE f.draw_id = m.draw_id)
        ORDER BY m.model_id
        LIMIT 1;
    ELSE
        SELECT m.name AS model_name, m.draw_id INTO used
        FROM training.model AS m
        WHERE EXISTS (SELECT FROM changed AS c WHERE c.draw_id = m.draw_id)
        ORDER BY m.model_id
        LIMIT 1;
    END IF;
    IF FOUND THEN
        RAISE EXCEPTION '% of sampling.% is refused: draw % is frozen, model % uses it; make another draw',
            TG_OP, TG_TABLE_NAME,
            coalesce((SELECT d.name FROM sampling.draw AS d WHERE d.draw_id = used.draw_id), used.draw_id::text),
            used.model_name
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END
$$;
"""

REFUSE_FROZEN_DRAW = """-- Trigger function: a draw that a model uses is neither changed nor deleted.
CREATE OR REPLACE FUNCTION sampling.refuse_frozen_draw() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    model_name text;
BEGIN
    SELECT m.name INTO model_name FROM training.model AS m WHERE m.draw_id = OLD.draw_id ORDER BY m.model_id LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '% of sampling.draw is refused: draw % is frozen, model % uses it; make another draw',
            TG_OP, OLD.name, model_name
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
"""

TRIGGERS = (
    """CREATE OR REPLACE TRIGGER draw_member_refuse_frozen_delete AFTER DELETE ON sampling.draw_member
REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_frozen_rows();
""",
    """CREATE OR REPLACE TRIGGER draw_member_refuse_frozen_insert AFTER INSERT ON sampling.draw_member
REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_frozen_rows();
""",
    """CREATE OR REPLACE TRIGGER draw_member_refuse_frozen_truncate BEFORE TRUNCATE ON sampling.draw_member
FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_frozen_rows();
""",
    """CREATE OR REPLACE TRIGGER draw_member_refuse_frozen_update AFTER UPDATE ON sampling.draw_member
REFERENCING OLD TABLE AS former NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_frozen_rows();
""",
    """CREATE OR REPLACE TRIGGER draw_refuse_frozen BEFORE UPDATE OR DELETE ON sampling.draw
FOR EACH ROW EXECUTE FUNCTION sampling.refuse_frozen_draw();
""",
    """CREATE OR REPLACE TRIGGER draw_refuse_frozen_truncate BEFORE TRUNCATE ON sampling.draw
FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_frozen_rows();
""",
    """CREATE OR REPLACE TRIGGER stratum_refuse_frozen_delete AFTER DELETE ON sampling.stratum
REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_frozen_rows();
""",
    """CREATE OR REPLACE TRIGGER stratum_refuse_frozen_insert AFTER INSERT ON sampling.stratum
REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_frozen_rows();
""",
    """CREATE OR REPLACE TRIGGER stratum_refuse_frozen_truncate BEFORE TRUNCATE ON sampling.stratum
FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_frozen_rows();
""",
    """CREATE OR REPLACE TRIGGER stratum_refuse_frozen_update AFTER UPDATE ON sampling.stratum
REFERENCING OLD TABLE AS former NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_frozen_rows();
""",
)

OLD_STRATA = """-- Grain: one stratum of one draw.
-- Inputs: sampling.draw, sampling.stratum.
-- Units: counts. shortfall = target - drawn, never topped up from elsewhere.
-- Excludes: nothing. Positives without a stratum are in results.positives (nobs_z_bin IS NULL).
CREATE OR REPLACE VIEW results.strata AS
SELECT
    d.draw_id,
    d.name AS draw_name,
    d.survey,
    s.stratum_id,
    s.nobs_z_bin,
    s.type,
    s.n_positives,
    s.n_eligible_n1,
    s.n_eligible_n2,
    s.n_target_n1,
    s.n_target_n2,
    s.n_drawn_n1,
    s.n_drawn_n2,
    s.n_target_n1 - s.n_drawn_n1 AS shortfall_n1,
    s.n_target_n2 - s.n_drawn_n2 AS shortfall_n2
FROM sampling.stratum AS s
JOIN sampling.draw AS d ON d.draw_id = s.draw_id;
"""

STRATA = """-- Grain: one stratum of one draw.
-- Inputs: sampling.draw, sampling.stratum.
-- Units: counts. shortfall = target - drawn, never topped up from elsewhere; mined negatives are beside it.
-- Excludes: nothing. Positives without a stratum are in results.positives (nobs_z_bin IS NULL).
CREATE OR REPLACE VIEW results.strata AS
SELECT
    d.draw_id,
    d.name AS draw_name,
    d.survey,
    s.stratum_id,
    s.nobs_z_bin,
    s.type,
    s.n_positives,
    s.n_eligible_n1,
    s.n_eligible_n2,
    s.n_target_n1,
    s.n_target_n2,
    s.n_drawn_n1,
    s.n_drawn_n2,
    s.n_target_n1 - s.n_drawn_n1 AS shortfall_n1,
    s.n_target_n2 - s.n_drawn_n2 AS shortfall_n2,
    s.n_drawn_mined
FROM sampling.stratum AS s
JOIN sampling.draw AS d ON d.draw_id = s.draw_id;
"""

DRAWS = """-- Grain: one draw.
-- Inputs: sampling.draw, draw_member, stratum, mining; training.model.
-- Units: counts of members; shortfall = target - drawn, summed over the strata (NULL where an imported draw has no target).
-- Excludes: nothing. is_frozen: a model uses the draw, and nothing of it can change any more.
CREATE OR REPLACE VIEW results.draws AS
WITH
    member AS (
        SELECT
            m.draw_id,
            count(*) FILTER (WHERE m.label = 1) AS n_positives,
            count(*) FILTER (WHERE m.label = 1 AND m.stratum_id IS NULL) AS n_positives_without_stratum,
            count(*) FILTER (WHERE m.pool = 'N1') AS n_n1,
            count(*) FILTER (WHERE m.pool = 'N2' AND m.category <> 'mined') AS n_n2,
            count(*) FILTER (WHERE m.category = 'mined') AS n_mined
        FROM sampling.draw_member AS m
        GROUP BY m.draw_id
    ),
    stratum AS (
        SELECT
            s.draw_id,
            sum(s.n_target_n1 - s.n_drawn_n1) AS shortfall_n1,
            sum(s.n_target_n2 - s.n_drawn_n2) AS shortfall_n2
        FROM sampling.stratum AS s
        GROUP BY s.draw_id
    ),
    model AS (
        SELECT m.draw_id, array_agg(m.name ORDER BY m.model_id) AS names FROM training.model AS m GROUP BY m.draw_id
    )
SELECT
    d.draw_id,
    d.name AS draw_name,
    d.survey,
    d.data_release,
    d.seed,
    d.key_rule,
    coalesce(m.n_positives, 0) AS n_positives,
    coalesce(m.n_positives_without_stratum, 0) AS n_positives_without_stratum,
    coalesce(m.n_n1, 0) AS n_n1,
    coalesce(m.n_n2, 0) AS n_n2,
    coalesce(m.n_mined, 0) AS n_mined,
    s.shortfall_n1,
    s.shortfall_n2,
    mo.names IS NOT NULL AS is_frozen,
    coalesce(mo.names, '{}') AS models,
    base.name AS base_draw_name,
    miner.name AS mined_with_model,
    mi.n_near_lens,
    d.n_lenses_known,
    d.n_galaxies,
    d.created_at
FROM sampling.draw AS d
LEFT JOIN member AS m ON m.draw_id = d.draw_id
LEFT JOIN stratum AS s ON s.draw_id = d.draw_id
LEFT JOIN model AS mo ON mo.draw_id = d.draw_id
LEFT JOIN sampling.mining AS mi ON mi.draw_id = d.draw_id
LEFT JOIN sampling.draw AS base ON base.draw_id = mi.base_draw_id
LEFT JOIN training.model AS miner ON miner.model_id = mi.model_id;
"""

CONFUSERS = """-- Grain: one kind of hard confuser (pool N2) in one stratum of one draw; kinds without members are not there.
-- Inputs: sampling.draw, stratum, draw_member.
-- Units: counts; fraction is that of the stratum's N2.
-- Excludes: N1 and positives. The target is one for all kinds of a stratum (results.strata): a kind has no shortfall.
CREATE OR REPLACE VIEW results.confusers AS
WITH
    counted AS (
        SELECT m.stratum_id, m.category, count(*) AS n_drawn
        FROM sampling.draw_member AS m
        WHERE m.pool = 'N2'
        GROUP BY m.stratum_id, m.category
    )
SELECT
    d.draw_id,
    d.name AS draw_name,
    d.survey,
    s.stratum_id,
    s.nobs_z_bin,
    s.type,
    c.category,
    c.n_drawn,
    c.n_drawn / sum(c.n_drawn) OVER (PARTITION BY s.stratum_id) AS fraction
FROM counted AS c
JOIN sampling.stratum AS s ON s.stratum_id = c.stratum_id
JOIN sampling.draw AS d ON d.draw_id = s.draw_id;
"""

COMMENTS = {
    "TABLE sampling.draw": (
        "One stratified sample of negatives, and the positives it was drawn for. Never mixes surveys.",
        "One stratified sample of negatives, and the positives it was drawn for. Never mixes surveys; frozen, by triggers, once a model uses it.",
    ),
    "TABLE sampling.stratum": (
        "One stratum of a draw, with its eligible pool, target and what was drawn.",
        "One stratum of a draw, with its eligible pool, target and what was drawn. A trigger refuses any change once a model uses the draw.",
    ),
    "TABLE sampling.draw_member": (
        "One object of a draw: a positive (lens) or a negative (pool galaxy). A trigger refuses galaxies of another survey.",
        "One object of a draw: a positive (lens) or a negative (pool galaxy). Triggers refuse galaxies of another survey, and any change once a model uses the draw.",
    ),
    "COLUMN sampling.draw_member.category": (
        "Kind of confuser (N2): ring, edge_on, large, blue_clumpy",
        "Kind of confuser (N2): ring, edge_on, large, blue_clumpy, or mined (a model took it for a lens: no sample of the survey, to be left out when reweighting)",
    ),
    "COLUMN sampling.stratum.n_drawn_n2": (
        "N2 negatives drawn; fewer than wanted is a shortfall",
        "N2 negatives drawn, without mined ones; fewer than wanted is a shortfall",
    ),
    "VIEW results.strata": (
        "Grain: one stratum of one draw. Inputs: sampling.draw, sampling.stratum. Units: counts. shortfall = target - drawn, never topped up from elsewhere. Excludes: nothing. Positives without a stratum are in results.positives (nobs_z_bin IS NULL).",
        "Grain: one stratum of one draw. Inputs: sampling.draw, sampling.stratum. Units: counts. shortfall = target - drawn, never topped up from elsewhere; mined negatives are beside it. Excludes: nothing. Positives without a stratum are in results.positives (nobs_z_bin IS NULL).",
    ),
}
"""What carries each comment: before, after."""

OLD_CATEGORIES = "'ring', 'edge_on', 'large', 'blue_clumpy'"


def upgrade() -> None:
    op.execute("DROP FUNCTION sampling.draw_key(bigint, integer, text)")
    for function in (DRAW_KEY, CONFUSER_CODE, REFUSE_FROZEN_ROWS, REFUSE_FROZEN_DRAW):
        op.execute(function)
    op.add_column(
        "draw",
        sa.Column(
            "key_rule",
            sa.Text(),
            comment="Keys that its negatives were chosen by: hashint8 (sampling.draw_key), sha256 (version 0.1.0); NULL: it was not drawn here",
        ),
        schema="sampling",
    )
    # The rules of a draw name their key since there are two; those of version 0.1.0 did not.
    op.execute(
        "UPDATE sampling.draw AS d SET key_rule = coalesce(c.body ->> 'key_rule', 'sha256') "
        "FROM provenance.config AS c, provenance.run AS r "
        "WHERE c.config_sha256 = d.config_sha256 AND r.run_id = d.run_id AND r.command IN ('draw', 'draw mine')"
    )
    op.create_check_constraint(
        op.f("ck_draw_key_rule_known"), "draw", "key_rule IN ('sha256', 'hashint8')", schema="sampling"
    )
    op.add_column(
        "stratum",
        sa.Column(
            "n_drawn_mined",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Mined negatives (pool N2) in this stratum; they are beside the target",
        ),
        schema="sampling",
    )
    op.create_index(op.f("ix_guard_drop_member_id"), "guard_drop", ["member_id"], schema="sampling")
    op.drop_index(op.f("ix_draw_member_draw_id"), "draw_member", schema="sampling")
    op.drop_index(op.f("ix_draw_member_lens_id"), "draw_member", schema="sampling")
    op.create_index(
        op.f("ix_draw_member_lens_id"),
        "draw_member",
        ["lens_id"],
        schema="sampling",
        postgresql_where=sa.text("lens_id IS NOT NULL"),
    )
    _create_mining()
    _categories(OLD_CATEGORIES + ", 'mined'", "label = 1 OR category IS NOT DISTINCT FROM 'mined'")
    for trigger in TRIGGERS:
        op.execute(trigger)
    for view in (STRATA, DRAWS, CONFUSERS):
        op.execute(view)
    for what, (_, after) in COMMENTS.items():
        _comment(what, after)
    _comment(
        "VIEW results.draws",
        "Grain: one draw. Inputs: sampling.draw, draw_member, stratum, mining; training.model. Units: counts of members; shortfall = target - drawn, summed over the strata (NULL where an imported draw has no target). Excludes: nothing. is_frozen: a model uses the draw, and nothing of it can change any more.",
    )
    _comment(
        "VIEW results.confusers",
        "Grain: one kind of hard confuser (pool N2) in one stratum of one draw; kinds without members are not there. Inputs: sampling.draw, stratum, draw_member. Units: counts; fraction is that of the stratum's N2. Excludes: N1 and positives. The target is one for all kinds of a stratum (results.strata): a kind has no shortfall.",
    )


def _create_mining() -> None:
    op.create_table(
        "mining",
        sa.Column("draw_id", sa.Integer(), nullable=False, comment="The draw with the mined"),
        sa.Column("base_draw_id", sa.Integer(), nullable=False, comment="The draw whose members it took over"),
        sa.Column("model_id", sa.Integer(), nullable=False, comment="The model whose scores were mined"),
        sa.Column("n_wanted", sa.Integer(), nullable=False, comment="Mined negatives asked for"),
        sa.Column(
            "n_mined",
            sa.Integer(),
            nullable=False,
            comment="Mined negatives found; fewer than asked for is a shortfall",
        ),
        sa.Column(
            "n_near_lens",
            sa.Integer(),
            nullable=False,
            comment="Negatives of the base draw left out, since a lens known now lies within 11 arcsec",
        ),
        sa.CheckConstraint("draw_id <> base_draw_id", name=op.f("ck_mining_draw_is_new")),
        sa.ForeignKeyConstraint(
            ["draw_id"], ["sampling.draw.draw_id"], name=op.f("fk_mining_draw_id_draw"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["base_draw_id"], ["sampling.draw.draw_id"], name=op.f("fk_mining_base_draw_id_draw")),
        sa.ForeignKeyConstraint(["model_id"], ["training.model.model_id"], name=op.f("fk_mining_model_id_model")),
        sa.PrimaryKeyConstraint("draw_id", name=op.f("pk_mining")),
        schema="sampling",
        comment="A draw that `stronglens draw mine` made: the members of another draw, and galaxies that a model wrongly takes for lenses.",
    )
    op.create_index(op.f("ix_mining_base_draw_id"), "mining", ["base_draw_id"], schema="sampling")
    op.create_index(op.f("ix_mining_model_id"), "mining", ["model_id"], schema="sampling")


def _categories(words: str, without_probability: str) -> None:
    """Hold categories to some words, and say which members have no inclusion probability."""
    for table in ("sampling.draw_member", "evaluation.tally"):
        name = f"ck_{table.split('.')[1]}_category_known"
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} CHECK (category IN ({words}))")
    name = "ck_draw_member_probability_when_negative"
    op.execute(
        f"ALTER TABLE sampling.draw_member DROP CONSTRAINT {name}, "
        f"ADD CONSTRAINT {name} CHECK ((inclusion_probability IS NULL) = ({without_probability}))"
    )


def downgrade() -> None:
    op.execute(
        """DO $$
BEGIN
    IF EXISTS (SELECT FROM sampling.mining) THEN
        RAISE EXCEPTION 'revision 0011 has no place for mined draws: delete them first, or stay at 0012';
    END IF;
END
$$"""
    )
    for view in ("confusers", "draws", "strata"):
        op.execute(f"DROP VIEW results.{view}")
    op.execute(OLD_STRATA)
    for table in ("draw_member", "stratum"):
        for word in ("insert", "update", "delete", "truncate"):
            op.execute(f"DROP TRIGGER {table}_refuse_frozen_{word} ON sampling.{table}")
    op.execute("DROP TRIGGER draw_refuse_frozen ON sampling.draw")
    op.execute("DROP TRIGGER draw_refuse_frozen_truncate ON sampling.draw")
    op.execute("DELETE FROM evaluation.tally WHERE category = 'mined'")
    _categories(OLD_CATEGORIES, "label = 1")
    op.drop_table("mining", schema="sampling")
    op.drop_index(op.f("ix_guard_drop_member_id"), "guard_drop", schema="sampling")
    op.drop_index(op.f("ix_draw_member_lens_id"), "draw_member", schema="sampling")
    for column in ("draw_id", "lens_id"):
        op.create_index(op.f(f"ix_draw_member_{column}"), "draw_member", [column], schema="sampling")
    op.drop_column("stratum", "n_drawn_mined", schema="sampling")
    op.drop_column("draw", "key_rule", schema="sampling")
    op.execute("DROP FUNCTION sampling.refuse_frozen_rows()")
    op.execute("DROP FUNCTION sampling.refuse_frozen_draw()")
    op.execute(
        "DROP FUNCTION sampling.confuser_code(integer, real, real, real, real, double precision, double precision, "
        "double precision, double precision, double precision, double precision, double precision, double precision, "
        "double precision)"
    )
    op.execute("DROP FUNCTION sampling.draw_key(bigint, bigint)")
    op.execute(OLD_DRAW_KEY)
    for what, (before, _) in COMMENTS.items():
        _comment(what, before)


def _comment(what: str, comment: str) -> None:
    quoted = comment.replace("'", "''")
    op.execute(f"COMMENT ON {what} IS '{quoted}'")
