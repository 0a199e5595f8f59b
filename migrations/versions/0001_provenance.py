"""Provenance: configurations, runs and artifacts.

From: an empty database
To: revision 0001
Why: every later row names the run that wrote it.
Cost on 114 M galaxies: none: the tables are new and empty
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA provenance")
    op.execute(
        """-- Trigger function: refuses any change of the rows of a table whose rows are history.
CREATE OR REPLACE FUNCTION provenance.refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of %.% is refused: a configuration that ran is never edited; run with a new one',
        TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;
"""
    )
    op.create_table(
        "config",
        sa.Column(
            "config_sha256",
            sa.Text(),
            nullable=False,
            comment="SHA-256 of the body as canonical JSON (sorted keys, no spaces), hexadecimal",
        ),
        sa.Column(
            "body",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="The configuration with every default filled in",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it first ran",
        ),
        sa.CheckConstraint("config_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_config_config_sha256_hex")),
        sa.PrimaryKeyConstraint("config_sha256", name=op.f("pk_config")),
        schema="provenance",
        comment="A resolved stage configuration. A configuration that ran is never edited: UPDATE, DELETE and TRUNCATE are refused by trigger.",
    )
    op.create_table(
        "run",
        sa.Column("run_id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Key of the run"),
        sa.Column("command", sa.Text(), nullable=False, comment="The stage, as typed after `stronglens`"),
        sa.Column("config_sha256", sa.Text(), nullable=False, comment="The configuration it ran with"),
        sa.Column("version", sa.Text(), nullable=False, comment="Version of stronglens"),
        sa.Column(
            "git_commit",
            sa.Text(),
            nullable=True,
            comment="Commit of the checkout, with `+dirty` when files differed from it; NULL outside a checkout",
        ),
        sa.Column(
            "code_sha256",
            sa.Text(),
            nullable=False,
            comment="SHA-256 over the Python and SQL sources that ran, hexadecimal",
        ),
        sa.Column("host", sa.Text(), nullable=False, comment="Name of the machine"),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="Start of the run",
        ),
        sa.Column(
            "finished_at", sa.DateTime(timezone=True), nullable=True, comment="End of the run; NULL while it runs"
        ),
        sa.Column("status", sa.Text(), nullable=False, comment="running, succeeded or failed"),
        sa.Column(
            "error", sa.Text(), nullable=True, comment="The message of the error that ended it; NULL unless failed"
        ),
        sa.CheckConstraint("(status = 'failed') = (error IS NOT NULL)", name=op.f("ck_run_error_when_failed")),
        sa.CheckConstraint(
            "(status = 'running') = (finished_at IS NULL)", name=op.f("ck_run_finished_when_not_running")
        ),
        sa.CheckConstraint("status IN ('running', 'succeeded', 'failed')", name=op.f("ck_run_status_known")),
        sa.ForeignKeyConstraint(
            ["config_sha256"], ["provenance.config.config_sha256"], name=op.f("fk_run_config_sha256_config")
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run")),
        schema="provenance",
        comment="One execution of a stage: what ran, from which code, and how it ended.",
    )
    op.create_index(op.f("ix_run_command"), "run", ["command"], unique=False, schema="provenance")
    op.create_table(
        "artifact",
        sa.Column(
            "artifact_id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Key of the artifact"
        ),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that wrote it"),
        sa.Column("kind", sa.Text(), nullable=False, comment="What it is: checkpoint, mock_sky, figure, ..."),
        sa.Column("uri", sa.Text(), nullable=False, comment="Address: a path or s3://bucket/key"),
        sa.Column("sha256", sa.Text(), nullable=False, comment="SHA-256 of its bytes, hexadecimal"),
        sa.Column("n_bytes", sa.BigInteger(), nullable=False, comment="Size in bytes"),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_artifact_sha256_hex")),
        sa.CheckConstraint("n_bytes >= 0", name=op.f("ck_artifact_n_bytes_not_negative")),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_artifact_run_id_run")),
        sa.PrimaryKeyConstraint("artifact_id", name=op.f("pk_artifact")),
        sa.UniqueConstraint("uri", "sha256", name=op.f("uq_artifact_uri_sha256")),
        schema="provenance",
        comment="A file that a run wrote: where it is and what it holds.",
    )
    op.create_index(op.f("ix_artifact_run_id"), "artifact", ["run_id"], unique=False, schema="provenance")
    op.execute(
        """CREATE OR REPLACE TRIGGER config_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON provenance.config
FOR EACH STATEMENT EXECUTE FUNCTION provenance.refuse_change();
"""
    )


def downgrade() -> None:
    op.execute("DROP SCHEMA provenance CASCADE")
