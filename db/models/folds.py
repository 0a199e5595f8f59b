"""Spatial cross-validation: which models were trained on which folds of the sky."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import CheckConstraint, ForeignKey, Identity, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base


class CrossValidation(Base):
    """One recipe, trained once for each fold of the sky."""

    __tablename__ = "cross_validation"
    __table_args__ = (
        UniqueConstraint("name"),
        CheckConstraint("recipe_sha256 ~ '^[0-9a-f]{64}$'", name="recipe_sha256_hex"),
        CheckConstraint("n_folds >= 2", name="n_folds_range"),
        CheckConstraint("guard_arcsec > 0", name="guard_positive"),
        {
            "schema": "evaluation",
            "comment": "One recipe under spatial-holdout cross-validation: a model for each fold, tested on the sky "
            "that it was not trained near.",
        },
    )

    cross_validation_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True, comment="Its key")
    name: Mapped[str] = mapped_column(comment="Its name: recipe and folds")
    draw_id: Mapped[int] = mapped_column(
        ForeignKey("sampling.draw.draw_id"), index=True, comment="The draw of every fold"
    )
    base_scheme_id: Mapped[int] = mapped_column(
        ForeignKey("sampling.split_scheme.scheme_id"), index=True, comment="The scheme whose test sky no fold uses"
    )
    recipe_sha256: Mapped[str] = mapped_column(
        comment="SHA-256 of the recipe as canonical JSON without name, scheme and accepted gate, hexadecimal"
    )
    n_folds: Mapped[int] = mapped_column(comment="Folds")
    fold_nside: Mapped[int] = mapped_column(comment="HEALPix nside (NESTED) of the coarse cells that folds are made of")
    guard_arcsec: Mapped[float] = mapped_column(
        comment="Members of train and val this near to the held-out fold leave the manifest, arcsec"
    )
    seed: Mapped[int] = mapped_column(comment="Seed hashed with the coarse cells")
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that began it")
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now(), comment="When it was begun")


class Fold(Base):
    """One fold of a cross-validation, with the model that was tested on it."""

    __tablename__ = "fold"
    __table_args__ = (
        UniqueConstraint("model_id"),
        CheckConstraint("fold >= 0", name="fold_not_negative"),
        CheckConstraint("n_positives >= 0 AND n_positives <= n_test", name="positives_within_test"),
        {
            "schema": "evaluation",
            "comment": "One fold of a cross-validation; its rates are those of its model on the split test.",
        },
    )

    cross_validation_id: Mapped[int] = mapped_column(
        ForeignKey("evaluation.cross_validation.cross_validation_id", ondelete="CASCADE"),
        primary_key=True,
        comment="The cross-validation",
    )
    fold: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, comment="Number of the fold, from 0")
    scheme_id: Mapped[int] = mapped_column(
        ForeignKey("sampling.split_scheme.scheme_id"), index=True, comment="The split scheme that holds it out"
    )
    model_id: Mapped[int] = mapped_column(
        ForeignKey("training.model.model_id", ondelete="CASCADE"), comment="The model trained without it"
    )
    n_train: Mapped[int] = mapped_column(comment="Cutouts of the split train")
    n_test: Mapped[int] = mapped_column(comment="Cutouts of the fold held out")
    n_positives: Mapped[int] = mapped_column(comment="Positives among n_test")
