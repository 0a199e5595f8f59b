"""Training: models, epochs and scores.

From: revision 0004
To: revision 0005
Why: every score is a row.
Cost on 114 M galaxies: none: the tables are new and empty
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA training")
    op.execute(
        """-- Trigger function: a model scores cutouts of its own survey only.
CREATE OR REPLACE FUNCTION training.refuse_mixed_score() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    stranger record;
BEGIN
    SELECT m.name AS model_name, m.survey AS model_survey, c.cutout_id, c.survey AS cutout_survey
    INTO stranger
    FROM changed AS s
    JOIN training.model AS m ON m.model_id = s.model_id
    JOIN imaging.cutout AS c ON c.cutout_id = s.cutout_id
    WHERE c.survey <> m.survey
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'model % is of survey %, cutout % of survey %: a model never mixes surveys',
            stranger.model_name, stranger.model_survey, stranger.cutout_id, stranger.cutout_survey
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;
"""
    )
    op.create_table(
        "model",
        sa.Column("model_id", sa.Integer(), sa.Identity(always=True), nullable=False, comment="Key of the model"),
        sa.Column("name", sa.Text(), nullable=False, comment="Its name, chosen by the recipe or the user"),
        sa.Column("survey", sa.Text(), nullable=False, comment="Survey of its draw: dr10 or mock"),
        sa.Column("draw_id", sa.Integer(), nullable=False, comment="The draw that it was trained on"),
        sa.Column("scheme_id", sa.Integer(), nullable=False, comment="The split scheme that it was trained on"),
        sa.Column(
            "cutout_version", sa.Text(), nullable=False, comment="Version of the cutout set that it was trained on"
        ),
        sa.Column("architecture", sa.Text(), nullable=False, comment="Name of the network: resnet18, ..."),
        sa.Column("n_parameters", sa.Integer(), nullable=False, comment="Trainable parameters"),
        sa.Column("config_sha256", sa.Text(), nullable=False, comment="The recipe, every default filled in"),
        sa.Column(
            "preprocessing",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Crop, annulus, normalisation, clip and bands; part of the model, equal to the checkpoint's",
        ),
        sa.Column(
            "manifest_sha256",
            sa.Text(),
            nullable=False,
            comment="SHA-256 of the sorted cutout ids, splits and file hashes that it was trained on, hexadecimal",
        ),
        sa.Column("n_train", sa.Integer(), nullable=False, comment="Cutouts in its training part"),
        sa.Column("n_val", sa.Integer(), nullable=False, comment="Cutouts in its validation part"),
        sa.Column(
            "is_label_shuffled",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="True for a control trained on shuffled labels; its AUC must be near 0.5",
        ),
        sa.Column("status", sa.Text(), nullable=False, comment="training, succeeded or failed"),
        sa.Column("error", sa.Text(), nullable=True, comment="Why it failed; NULL unless failed"),
        sa.Column(
            "best_epoch", sa.Integer(), nullable=True, comment="Epoch of the checkpoint, chosen on the validation split"
        ),
        sa.Column(
            "checkpoint_uri", sa.Text(), nullable=True, comment="Address of the checkpoint; NULL until one is written"
        ),
        sa.Column("checkpoint_sha256", sa.Text(), nullable=True, comment="SHA-256 of the checkpoint, hexadecimal"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that trained it"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When training began",
        ),
        sa.CheckConstraint("(status = 'failed') = (error IS NOT NULL)", name=op.f("ck_model_error_when_failed")),
        sa.CheckConstraint(
            "status <> 'succeeded' OR checkpoint_uri IS NOT NULL", name=op.f("ck_model_checkpoint_when_succeeded")
        ),
        sa.CheckConstraint("status IN ('training', 'succeeded', 'failed')", name=op.f("ck_model_status_known")),
        sa.CheckConstraint("survey IN ('dr10', 'mock')", name=op.f("ck_model_survey_known")),
        sa.ForeignKeyConstraint(
            ["config_sha256"], ["provenance.config.config_sha256"], name=op.f("fk_model_config_sha256_config")
        ),
        sa.ForeignKeyConstraint(
            ["draw_id", "survey"],
            ["sampling.draw.draw_id", "sampling.draw.survey"],
            name="fk_model_draw_id_survey_draw",
        ),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_model_run_id_run")),
        sa.ForeignKeyConstraint(
            ["scheme_id"], ["sampling.split_scheme.scheme_id"], name=op.f("fk_model_scheme_id_split_scheme")
        ),
        sa.PrimaryKeyConstraint("model_id", name=op.f("pk_model")),
        sa.UniqueConstraint("name", name=op.f("uq_model_name")),
        schema="training",
        comment="One trained network: what it saw, how it was built, where its checkpoint is.",
    )
    op.create_index(op.f("ix_model_draw_id"), "model", ["draw_id"], unique=False, schema="training")
    op.create_table(
        "epoch",
        sa.Column("model_id", sa.Integer(), nullable=False, comment="The model"),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False, comment="Number of the epoch, from 1"),
        sa.Column("train_loss", sa.Double(), nullable=False, comment="Mean weighted loss over the training part"),
        sa.Column("val_loss", sa.Double(), nullable=False, comment="Mean weighted loss over the validation part"),
        sa.Column("val_auc", sa.Double(), nullable=False, comment="Area under the ROC curve on the validation part"),
        sa.Column("learning_rate", sa.Double(), nullable=False, comment="Learning rate of the epoch"),
        sa.Column("n_images", sa.Integer(), nullable=False, comment="Image-steps of the epoch"),
        sa.Column(
            "seconds", sa.Double(), nullable=False, comment="Wall time of the epoch, validation included, seconds"
        ),
        sa.CheckConstraint("train_loss < 'Infinity' AND val_loss < 'Infinity'", name=op.f("ck_epoch_losses_finite")),
        sa.CheckConstraint("val_auc >= 0 AND val_auc <= 1", name=op.f("ck_epoch_val_auc_range")),
        sa.ForeignKeyConstraint(
            ["model_id"], ["training.model.model_id"], name=op.f("fk_epoch_model_id_model"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model_id", "epoch", name=op.f("pk_epoch")),
        schema="training",
        comment="One epoch of one model.",
    )
    op.create_table(
        "score",
        sa.Column("model_id", sa.Integer(), nullable=False, comment="The model"),
        sa.Column("cutout_id", sa.BigInteger(), nullable=False, comment="The cutout"),
        sa.Column(
            "score",
            sa.Double(),
            nullable=False,
            comment="The model's output after the sigmoid, [0, 1]; not a probability as such",
        ),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that scored"),
        sa.CheckConstraint("score >= 0 AND score <= 1", name=op.f("ck_score_score_range")),
        sa.ForeignKeyConstraint(["cutout_id"], ["imaging.cutout.cutout_id"], name=op.f("fk_score_cutout_id_cutout")),
        sa.ForeignKeyConstraint(
            ["model_id"], ["training.model.model_id"], name=op.f("fk_score_model_id_model"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_score_run_id_run")),
        sa.PrimaryKeyConstraint("model_id", "cutout_id", name=op.f("pk_score")),
        schema="training",
        comment="One model's score of one cutout. A trigger refuses cutouts of another survey than the model's.",
    )
    op.create_index(op.f("ix_score_cutout_id"), "score", ["cutout_id"], unique=False, schema="training")
    op.create_index(
        "ix_score_model_id_score",
        "score",
        ["model_id", sa.literal_column("score DESC"), "cutout_id"],
        unique=False,
        schema="training",
    )
    op.execute(
        """CREATE OR REPLACE TRIGGER score_refuse_mixed_insert AFTER INSERT ON training.score
REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION training.refuse_mixed_score();
"""
    )
    op.execute(
        """CREATE OR REPLACE TRIGGER score_refuse_mixed_update AFTER UPDATE ON training.score
REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION training.refuse_mixed_score();
"""
    )


def downgrade() -> None:
    op.execute("DROP SCHEMA training CASCADE")
