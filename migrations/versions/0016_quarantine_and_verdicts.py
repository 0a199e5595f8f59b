"""Quarantined cutouts, border statistics, and verdicts that bind training.

From: revision 0015
To: revision 0016
Why: a cutout that cannot be used is listed with its reason and is in no manifest; a second validation reads no file
    again, since the border's statistics are kept; training asks what was judged, and about which cutouts. Metrics from
    before have no border statistics, so those cutouts are measured once more.
Cost on 114 M galaxies: none; the tables of cutouts are small (500,000 rows), and no row is rewritten. On the way down
    quarantines, verdicts and border statistics are lost; a validation after the next upgrade makes them again
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

REASONS = (
    "missing", "unreadable", "pickled", "wrong_shape", "wrong_dtype", "altered", "wrong_layer", "wrong_bands",
    "wrong_grid", "infinite", "no_data", "too_many_nan", "centre_nan", "all_zero", "constant", "saturated",
    "band_order",
)  # fmt: skip

BORDER = {
    "p5": "5th percentile of the border",
    "p25": "25th percentile of the border",
    "p50": "Median of the border",
    "p75": "75th percentile of the border",
    "p95": "95th percentile of the border",
    "std": "Standard deviation of the border",
    "south": "Mean of the south side of the border",
    "north": "Mean of the north side of the border",
    "west": "Mean of the west side of the border",
    "east": "Mean of the east side of the border",
}

MANIFEST = """-- Grain: one cutout of one draw under one split scheme (and cutout version).
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

OLD_MANIFEST = """-- Grain: one cutout of one draw under one split scheme (and cutout version).
-- Inputs: sampling.draw, draw_member, stratum, split_scheme, split_assignment, split_cell, guard_drop;
--   imaging.cutout.
-- Units: ra, dec in degrees; weight is dimensionless, for the training loss.
-- Excludes: rejected cutouts; negatives that the scheme's guard dropped; draws not yet guarded; members without a cutout.
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
    ),
    negative_cutout AS (
        SELECT m.member_id, c.cutout_id
        FROM sampling.draw_member AS m
        JOIN imaging.cutout AS c ON c.ls_id = m.ls_id
        WHERE m.label = 0 AND c.status <> 'rejected'
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

GATES = """-- Grain: one rule of the last validation of one draw's cutouts (and cutout version).
-- Inputs: imaging.gate, validation; sampling.draw.
-- Units: value and limit_value as the rule says.
-- Excludes: nothing. is_go: the verdict of the draw, NULL where it was judged before verdicts were kept.
CREATE OR REPLACE VIEW results.gates AS
SELECT
    d.draw_id,
    d.name AS draw_name,
    d.survey,
    g.version,
    g.rule,
    g.value,
    g.limit_value,
    g.is_passed,
    g.detail,
    v.is_go,
    v.n_cutouts,
    v.n_quarantined,
    v.validated_at
FROM imaging.gate AS g
JOIN sampling.draw AS d ON d.draw_id = g.draw_id
LEFT JOIN imaging.validation AS v ON v.draw_id = g.draw_id AND v.version = g.version;
"""

QUARANTINE = """-- Grain: one quarantined cutout.
-- Inputs: imaging.quarantine, cutout.
-- Units: ra, dec in degrees.
-- Excludes: rejected cutouts, which have no file. A cutout leaves when a later validation finds it sound.
CREATE OR REPLACE VIEW results.quarantine AS
SELECT
    c.cutout_id,
    c.survey,
    c.version,
    c.layer,
    c.lens_id,
    c.ls_id,
    c.ra,
    c.dec,
    c.uri,
    q.reason,
    q.detail,
    q.found_at
FROM imaging.quarantine AS q
JOIN imaging.cutout AS c ON c.cutout_id = q.cutout_id;
"""

METRICS = (
    "Pixel statistics of one cutout, r band, nanomaggies per pixel. v1_* reproduce the meta_* of the published cutouts; audit_* feed the shortcut audit. NULL where too few pixels have data.",
    "Pixel statistics of one sound cutout, nanomaggies per pixel. v1_* reproduce the meta_* of the published cutouts, audit_* feed the shortcut audit (both r band), border_* (the outermost 5 pixels, every band) its classifier. NULL where too few pixels have data; border_* also where it was measured before they were kept: it is measured again.",
)
"""Comment of the table of metrics: before, after."""


def upgrade() -> None:
    op.create_table(
        "quarantine",
        sa.Column("cutout_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="The cutout"),
        sa.Column(
            "reason",
            sa.Text(),
            nullable=False,
            comment="What is wrong with it, one word: the first that was found",
        ),
        sa.Column("detail", sa.Text(), nullable=False, comment="The file and what was found, in one line"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that found it"),
        sa.Column(
            "found_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was found",
        ),
        sa.CheckConstraint(f"reason IN {REASONS}", name=op.f("ck_quarantine_reason_known")),
        sa.ForeignKeyConstraint(
            ["cutout_id"],
            ["imaging.cutout.cutout_id"],
            name=op.f("fk_quarantine_cutout_id_cutout"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_quarantine_run_id_run")),
        sa.PrimaryKeyConstraint("cutout_id", name=op.f("pk_quarantine")),
        schema="imaging",
        comment="Cutouts that a validation found unfit: listed, and in no manifest, until a later validation finds them sound.",
    )
    _create_validation()
    for band in "grz":
        for name, comment in BORDER.items():
            column: sa.Column[float] = sa.Column(f"border_{name}_{band}", sa.Double(), comment=f"{comment}, {band}")
            op.add_column("cutout_metric", column, schema="imaging")
    _comment("TABLE imaging.cutout_metric", METRICS[1])
    op.add_column(
        "model",
        sa.Column(
            "gate_accepted_reason",
            sa.Text(),
            comment="Why it was trained although its draw's validation did not say GO; NULL where it did",
        ),
        schema="training",
    )
    op.create_check_constraint(
        op.f("ck_model_gate_accepted_for_a_reason"), "model", "gate_accepted_reason ~ '[^[:space:]]'", schema="training"
    )
    for name, sql in (("manifest", MANIFEST), ("gates", GATES), ("quarantine", QUARANTINE)):
        op.execute(sql)
        _comment(f"VIEW results.{name}", _header(sql))


def _create_validation() -> None:
    op.create_table(
        "validation",
        sa.Column("draw_id", sa.Integer(), nullable=False, comment="The draw"),
        sa.Column("version", sa.Text(), nullable=False, comment="Version of the cutout set"),
        sa.Column("is_go", sa.Boolean(), nullable=False, comment="GO: every rule passed"),
        sa.Column(
            "n_cutouts",
            sa.Integer(),
            nullable=False,
            comment="Usable cutouts of the draw: stored and not quarantined",
        ),
        sa.Column(
            "cutouts_sha256",
            sa.Text(),
            nullable=False,
            comment="SHA-256 of the lines `cutout_id sha256` of the usable cutouts, by cutout_id, hexadecimal",
        ),
        sa.Column("n_quarantined", sa.Integer(), nullable=False, comment="Cutouts of the draw that are quarantined"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that judged"),
        sa.Column(
            "validated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was judged",
        ),
        sa.ForeignKeyConstraint(
            ["draw_id"], ["sampling.draw.draw_id"], name=op.f("fk_validation_draw_id_draw"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_validation_run_id_run")),
        sa.PrimaryKeyConstraint("draw_id", "version", name=op.f("pk_validation")),
        schema="imaging",
        comment="The last verdict on a draw's cutouts of one version, and which cutouts it is about; training obeys it. Its rules are in imaging.gate.",
    )


def downgrade() -> None:
    for name in ("quarantine", "gates"):
        op.execute(f"DROP VIEW results.{name}")
    op.execute(OLD_MANIFEST)
    _comment("VIEW results.manifest", _header(OLD_MANIFEST))
    op.drop_column("model", "gate_accepted_reason", schema="training")
    _comment("TABLE imaging.cutout_metric", METRICS[0])
    for band in "grz":
        for name in BORDER:
            op.drop_column("cutout_metric", f"border_{name}_{band}", schema="imaging")
    op.drop_table("validation", schema="imaging")
    op.drop_table("quarantine", schema="imaging")


def _header(sql: str) -> str:
    return " ".join(line[2:].strip() for line in sql.splitlines() if line.startswith("--"))


def _comment(what: str, comment: str) -> None:
    quoted = comment.replace("'", "''")
    op.execute(f"COMMENT ON {what} IS '{quoted}'")
