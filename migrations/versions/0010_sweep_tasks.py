"""The load's queue, and the sky box of each file in the ledger.

From: revision 0009
To: revision 0010
Why: workers of a load take files from the database, whoever dies; a patch of sky comes in once, key or no key.
Cost on 114 M galaxies: none: the ledger has some 1,436 rows, the pool is not touched
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

EDGES = {
    "ra_min_deg": "Western edge of the sky box that the file name declares, degrees; NULL where it declares none",
    "ra_max_deg": "Eastern edge of the box, degrees, up to 360",
    "dec_min_deg": "Southern edge of the box, degrees",
    "dec_max_deg": "Northern edge of the box, degrees",
}

# Of two loaded files that declare one box (their keys differ, so neither is wrong) the first keeps it.
FILL_BOXES = r"""
WITH named AS (
    SELECT
        f.sweep_file_id,
        f.status,
        p[1]::double precision AS ra_min,
        CASE p[2] WHEN 'm' THEN -1 ELSE 1 END * p[3]::double precision AS dec_min,
        p[4]::double precision AS ra_max,
        CASE p[5] WHEN 'm' THEN -1 ELSE 1 END * p[6]::double precision AS dec_max,
        row_number() OVER (
            PARTITION BY f.survey, f.data_release, f.status, p[1], p[2], p[3] ORDER BY f.sweep_file_id
        ) AS place
    FROM catalog.sweep_file AS f,
        regexp_match(f.name, '^sweep-(\d{3})([mp])(\d{3})-(\d{3})([mp])(\d{3})(?!\d)') AS p
    WHERE p IS NOT NULL
)
UPDATE catalog.sweep_file AS f
SET ra_min_deg = n.ra_min, ra_max_deg = n.ra_max, dec_min_deg = n.dec_min, dec_max_deg = n.dec_max
FROM named AS n
WHERE n.sweep_file_id = f.sweep_file_id AND (n.status = 'refused' OR n.place = 1)
"""


def upgrade() -> None:
    op.add_column(
        "sweep_file",
        sa.Column("etag", sa.Text(), comment="The object store's ETag of the file; NULL for a file on disk"),
        schema="catalog",
    )
    op.add_column(
        "sweep_file",
        sa.Column(
            "modified_at",
            sa.DateTime(timezone=True),
            comment="When the file was last changed, as it was listed; NULL in rows of version 0.1.0",
        ),
        schema="catalog",
    )
    for name, comment in EDGES.items():
        op.add_column("sweep_file", sa.Column(name, sa.Double(), comment=comment), schema="catalog")
    op.execute(FILL_BOXES)
    op.create_check_constraint(
        op.f("ck_sweep_file_whole_box"),
        "sweep_file",
        "num_nulls(ra_min_deg, ra_max_deg, dec_min_deg, dec_max_deg) IN (0, 4)",
        schema="catalog",
    )
    op.create_index(
        "uq_sweep_file_box",
        "sweep_file",
        ["survey", "data_release", "ra_min_deg", "dec_min_deg"],
        unique=True,
        postgresql_where=sa.text("status = 'loaded'"),
        schema="catalog",
    )
    op.create_table(
        "sweep_task",
        sa.Column("task_id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Key of the task"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The load"),
        sa.Column("name", sa.Text(), nullable=False, comment="File name without its folder"),
        sa.Column("uri", sa.Text(), nullable=False, comment="Where it is read from"),
        sa.Column(
            "n_bytes", sa.BigInteger(), nullable=False, comment="Size of the file in bytes when it was listed"
        ),
        sa.Column("etag", sa.Text(), comment="The object store's ETag when it was listed; NULL on disk"),
        sa.Column(
            "modified_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the file was last changed, as it was listed",
        ),
        sa.Column(
            "status",
            sa.Text(),
            nullable=False,
            comment="waiting; running; loaded; skipped (its rows were there); refused (the file is at fault); "
            "failed (the machines are: run again)",
        ),
        sa.Column(
            "n_attempts",
            sa.SmallInteger(),
            server_default="0",
            nullable=False,
            comment="Times a worker took it up",
        ),
        sa.Column("worker", sa.Text(), comment="Host and process that took it up last"),
        sa.Column("started_at", sa.DateTime(timezone=True), comment="When it was taken up last"),
        sa.Column(
            "finished_at", sa.DateTime(timezone=True), comment="When it ended; NULL while waiting or running"
        ),
        sa.Column("reason", sa.Text(), comment="Why it was refused or failed; NULL otherwise"),
        sa.Column(
            "quarantined",
            postgresql.ARRAY(sa.Text()),
            server_default="{}",
            nullable=False,
            comment="Bad rows that were dropped: number, key and what is wrong",
        ),
        sa.CheckConstraint(
            "status IN ('waiting', 'running', 'loaded', 'skipped', 'refused', 'failed')",
            name=op.f("ck_sweep_task_status_known"),
        ),
        sa.CheckConstraint(
            "(status IN ('refused', 'failed')) = (reason IS NOT NULL)",
            name=op.f("ck_sweep_task_reason_when_not_loaded"),
        ),
        sa.CheckConstraint(
            "(status IN ('waiting', 'running')) = (finished_at IS NULL)",
            name=op.f("ck_sweep_task_finished_when_not_under_way"),
        ),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_sweep_task_run_id_run")),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_sweep_task")),
        sa.UniqueConstraint("run_id", "name", name=op.f("uq_sweep_task_run_id_name")),
        schema="catalog",
        comment="Queue of a load: one file that one run has to see to. A worker holds the row's lock while it loads "
        "the file, so a running task that nobody holds was interrupted and is taken up again.",
    )


def downgrade() -> None:
    op.drop_table("sweep_task", schema="catalog")
    op.drop_index("uq_sweep_file_box", "sweep_file", schema="catalog")
    op.drop_constraint(op.f("ck_sweep_file_whole_box"), "sweep_file", schema="catalog")
    for name in ("etag", "modified_at", *EDGES):
        op.drop_column("sweep_file", name, schema="catalog")
