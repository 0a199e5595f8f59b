"""Models, their epochs and every score."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, REAL
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Survey, one_of, probability


class Model(Base):
    """One trained network."""

    __tablename__ = "model"
    __table_args__ = (
        UniqueConstraint("name"),
        ForeignKeyConstraint(
            ["draw_id", "survey"],
            ["sampling.draw.draw_id", "sampling.draw.survey"],
            name="fk_model_draw_id_survey_draw",
        ),
        one_of("survey", Survey),
        one_of("status", ("training", "succeeded", "failed")),
        CheckConstraint("(status = 'failed') = (error IS NOT NULL)", name="error_when_failed"),
        one_of("kind", ("network", "ensemble")),
        CheckConstraint(
            "kind <> 'network' OR status <> 'succeeded' OR checkpoint_uri IS NOT NULL", name="checkpoint_when_succeeded"
        ),
        CheckConstraint("(kind = 'network') = (preprocessing IS NOT NULL)", name="preprocessing_of_a_network"),
        CheckConstraint("gate_accepted_reason ~ '[^[:space:]]'", name="gate_accepted_for_a_reason"),
        {
            "schema": "training",
            "comment": "One trained network: what it saw, how it was built, where its checkpoint is.",
        },
    )

    model_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True, comment="Key of the model")
    name: Mapped[str] = mapped_column(comment="Its name, chosen by the recipe or the user")
    survey: Mapped[str] = mapped_column(comment="Survey of its draw: dr10 or mock")
    draw_id: Mapped[int] = mapped_column(index=True, comment="The draw that it was trained on")
    scheme_id: Mapped[int] = mapped_column(
        ForeignKey("sampling.split_scheme.scheme_id"), comment="The split scheme that it was trained on"
    )
    cutout_version: Mapped[str] = mapped_column(comment="Version of the cutout set that it was trained on")
    kind: Mapped[str] = mapped_column(
        server_default="network", comment="network, or ensemble: scores made of those of other models"
    )
    architecture: Mapped[str] = mapped_column(comment="Name of the network: resnet18, ...; how an ensemble combines")
    n_parameters: Mapped[int] = mapped_column(comment="Trainable parameters")
    config_sha256: Mapped[str] = mapped_column(
        ForeignKey("provenance.config.config_sha256"), comment="The recipe, every default filled in"
    )
    preprocessing: Mapped[dict[str, Any] | None] = mapped_column(
        comment="Crop, annulus, normalisation, clip and bands; part of the model, equal to the checkpoint's; NULL for "
        "an ensemble, whose members have their own"
    )
    manifest_sha256: Mapped[str] = mapped_column(
        comment="SHA-256 of the sorted cutout ids, splits and file hashes that it was trained on, hexadecimal"
    )
    taught_sha256: Mapped[str | None] = mapped_column(
        comment="SHA-256 of the ids, labels, weights and targets that it was taught, hexadecimal; NULL for ensembles "
        "and for models from before 0.4.0"
    )
    n_train: Mapped[int] = mapped_column(comment="Cutouts that it was trained on")
    n_val: Mapped[int] = mapped_column(comment="Cutouts of val that its epoch was chosen by")
    is_label_shuffled: Mapped[bool] = mapped_column(
        server_default=text("false"),
        comment="True for a control trained on shuffled labels; its AUC must be near 0.5",
    )
    gate_accepted_reason: Mapped[str | None] = mapped_column(
        comment="Why it was trained although its draw's validation did not say GO; NULL where it did"
    )
    status: Mapped[str] = mapped_column(comment="training, succeeded or failed")
    error: Mapped[str | None] = mapped_column(comment="Why it failed; NULL unless failed")
    best_epoch: Mapped[int | None] = mapped_column(comment="Epoch of the checkpoint, chosen on the validation split")
    checkpoint_uri: Mapped[str | None] = mapped_column(comment="Address of the checkpoint; NULL until one is written")
    checkpoint_sha256: Mapped[str | None] = mapped_column(comment="SHA-256 of the checkpoint, hexadecimal")
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that trained it")
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now(), comment="When training began")


class Epoch(Base):
    """One pass over the training part."""

    __tablename__ = "epoch"
    __table_args__ = (
        probability("val_auc"),
        CheckConstraint("train_loss < 'Infinity' AND val_loss < 'Infinity'", name="losses_finite"),
        {"schema": "training", "comment": "One epoch of one model."},
    )

    model_id: Mapped[int] = mapped_column(
        ForeignKey("training.model.model_id", ondelete="CASCADE"), primary_key=True, comment="The model"
    )
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, comment="Number of the epoch, from 1")
    train_loss: Mapped[float] = mapped_column(comment="Mean weighted loss over the training part")
    val_loss: Mapped[float] = mapped_column(comment="Mean weighted loss over the validation part")
    val_auc: Mapped[float] = mapped_column(comment="Area under the ROC curve on the validation part")
    learning_rate: Mapped[float] = mapped_column(comment="Learning rate of the epoch")
    n_images: Mapped[int] = mapped_column(comment="Image-steps of the epoch")
    seconds: Mapped[float] = mapped_column(comment="Wall time of the epoch, validation included, seconds")


class Embedding(Base):
    """What one network sees in one cutout."""

    __tablename__ = "embedding"
    __table_args__ = (
        CheckConstraint("cardinality(vector) > 0 AND array_ndims(vector) = 1", name="vector_is_one_row"),
        CheckConstraint("array_position(vector, NULL) IS NULL", name="vector_without_null"),
        {
            "schema": "training",
            "comment": "Penultimate activations of one network for one cutout; written on request (score "
            "--embeddings).",
        },
    )

    model_id: Mapped[int] = mapped_column(
        ForeignKey("training.model.model_id", ondelete="CASCADE"), primary_key=True, comment="The network"
    )
    cutout_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("imaging.cutout.cutout_id"), primary_key=True, index=True, comment="The cutout"
    )
    vector: Mapped[list[float]] = mapped_column(
        ARRAY(REAL), comment="What goes into the last layer, one number for each feature"
    )
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that made it")


class Score(Base):
    """What one model says of one cutout."""

    __tablename__ = "score"
    __table_args__ = (
        probability("score"),
        Index("ix_score_model_id_score", "model_id", text("score DESC"), "cutout_id"),
        {
            "schema": "training",
            "comment": "One model's score of one cutout. A trigger refuses cutouts of another survey than the model's.",
        },
    )

    model_id: Mapped[int] = mapped_column(
        ForeignKey("training.model.model_id", ondelete="CASCADE"), primary_key=True, comment="The model"
    )
    cutout_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("imaging.cutout.cutout_id"), primary_key=True, index=True, comment="The cutout"
    )
    score: Mapped[float] = mapped_column(
        comment="The model's output after the sigmoid, [0, 1]; not a probability as such"
    )
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that scored")
