"""Stratified draws of negatives and the sky's split into train, val and test."""

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
    SmallInteger,
    UniqueConstraint,
    false,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Split, Survey, one_of, sky_position

NOBS_Z_BINS = ("1-2", "3-5", "6-10", "11+")
"""Bins of the number of z exposures; with the type they are the strata."""

STRATUM_TYPES = ("SER", "DEV", "REX")
"""Tractor types that have strata of their own."""

CONFUSERS_OF_THE_POOL = ("ring", "edge_on", "large", "blue_clumpy")
"""Kinds of hard confusers (pool N2) by their columns, in the order in which a galaxy of several kinds is assigned."""

CONFUSER_CATEGORIES = (*CONFUSERS_OF_THE_POOL, "mined")
"""All kinds of hard confusers: those of the pool, and those that a model took for lenses."""


class Draw(Base):
    """One stratified sample of negatives, and the positives that it was drawn for."""

    __tablename__ = "draw"
    __table_args__ = (
        UniqueConstraint("name"),
        UniqueConstraint("draw_id", "survey"),
        one_of("survey", Survey),
        one_of("key_rule", ("sha256", "hashint8")),
        {
            "schema": "sampling",
            "comment": "One stratified sample of negatives, and the positives it was drawn for. Never mixes surveys; "
            "frozen, by triggers, once a model uses it.",
        },
    )

    draw_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True, comment="Key of the draw")
    name: Mapped[str] = mapped_column(comment="Its name, chosen by the user")
    survey: Mapped[str] = mapped_column(comment="dr10 or mock")
    data_release: Mapped[int] = mapped_column(SmallInteger, comment="Data release of the survey: 10")
    seed: Mapped[int | None] = mapped_column(comment="Seed of the draw keys; NULL of an imported draw: not known")
    config_sha256: Mapped[str] = mapped_column(
        ForeignKey("provenance.config.config_sha256"), comment="All rules of the draw"
    )
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that made it")
    n_lenses_known: Mapped[int] = mapped_column(comment="Known lenses and cluster cores excluded around, when drawn")
    n_galaxies: Mapped[int] = mapped_column(BigInteger, comment="Rows of the pool of this survey, when drawn")
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now(), comment="When it was drawn")
    is_imported: Mapped[bool] = mapped_column(
        server_default=false(), comment="Whether it was brought in from an earlier manifest instead of drawn here"
    )
    differences: Mapped[dict[str, Any] | None] = mapped_column(
        comment="Import: by column, values compared and values that differ from what we have or derive; NULL where it "
        "was drawn here"
    )
    key_rule: Mapped[str | None] = mapped_column(
        comment="Keys that its negatives were chosen by: hashint8 (sampling.draw_key), sha256 (version 0.1.0); "
        "NULL: it was not drawn here"
    )


class Mining(Base):
    """Where a draw with mined negatives comes from."""

    __tablename__ = "mining"
    __table_args__ = (
        CheckConstraint("draw_id <> base_draw_id", name="draw_is_new"),
        {
            "schema": "sampling",
            "comment": "A draw that `stronglens draw mine` made: the members of another draw, and galaxies that a "
            "model wrongly takes for lenses.",
        },
    )

    draw_id: Mapped[int] = mapped_column(
        ForeignKey("sampling.draw.draw_id", ondelete="CASCADE"), primary_key=True, comment="The draw with the mined"
    )
    base_draw_id: Mapped[int] = mapped_column(
        ForeignKey("sampling.draw.draw_id"), index=True, comment="The draw whose members it took over"
    )
    model_id: Mapped[int] = mapped_column(
        ForeignKey("training.model.model_id"), index=True, comment="The model whose scores were mined"
    )
    n_wanted: Mapped[int] = mapped_column(comment="Mined negatives asked for")
    n_mined: Mapped[int] = mapped_column(comment="Mined negatives found; fewer than asked for is a shortfall")
    n_near_lens: Mapped[int] = mapped_column(
        comment="Negatives of the base draw left out, since a lens known now lies within 11 arcsec"
    )


class Stratum(Base):
    """One cell of a draw: a bin of nobs_z and a Tractor type."""

    __tablename__ = "stratum"
    __table_args__ = (
        UniqueConstraint("draw_id", "nobs_z_bin", "type"),
        one_of("nobs_z_bin", NOBS_Z_BINS),
        one_of("type", STRATUM_TYPES),
        CheckConstraint(
            "n_drawn_n1 <= n_target_n1 AND n_drawn_n2 <= n_target_n2 AND n_drawn_n2 <= n_eligible_n2 "
            "AND n_drawn_n1 <= n_eligible_n1",
            name="drawn_within_target_and_pool",
        ),
        {
            "schema": "sampling",
            "comment": "One stratum of a draw, with its eligible pool, target and what was drawn. A trigger refuses "
            "any change once a model uses the draw.",
        },
    )

    stratum_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True, comment="Key of the stratum")
    draw_id: Mapped[int] = mapped_column(ForeignKey("sampling.draw.draw_id", ondelete="CASCADE"), comment="The draw")
    nobs_z_bin: Mapped[str] = mapped_column(comment="Exposures in z: 1-2, 3-5, 6-10, 11+")
    type: Mapped[str] = mapped_column(comment="Tractor type: SER, DEV or REX")
    n_positives: Mapped[int] = mapped_column(comment="Positives of the draw in this stratum")
    n_eligible_n1: Mapped[int | None] = mapped_column(
        comment="Galaxies eligible for N1: of this type, after N2 was drawn; NULL of an imported draw: not known"
    )
    n_eligible_n2: Mapped[int | None] = mapped_column(
        comment="Hard confusers eligible for N2: of this type, and the EXP ones of the nobs bin assigned here by hash; "
        "NULL of an imported draw"
    )
    n_target_n1: Mapped[int | None] = mapped_column(comment="N1 negatives wanted; NULL of an imported draw: not known")
    n_target_n2: Mapped[int | None] = mapped_column(comment="N2 negatives wanted; NULL of an imported draw")
    n_drawn_n1: Mapped[int] = mapped_column(comment="N1 negatives drawn; fewer than wanted is a shortfall")
    n_drawn_n2: Mapped[int] = mapped_column(
        comment="N2 negatives drawn, without mined ones; fewer than wanted is a shortfall"
    )
    n_drawn_mined: Mapped[int] = mapped_column(
        server_default=text("0"), comment="Mined negatives (pool N2) in this stratum; they are beside the target"
    )


class DrawMember(Base):
    """One object of a draw, positive or negative."""

    __tablename__ = "draw_member"
    __table_args__ = (
        one_of("pool", ("positive", "N1", "N2")),
        one_of("category", CONFUSER_CATEGORIES),
        one_of("tier", ("A", "B")),
        CheckConstraint("label IN (0, 1)", name="label_binary"),
        CheckConstraint(
            "(label = 1) = (pool = 'positive') AND (label = 1) = (lens_id IS NOT NULL) "
            "AND (label = 1) = (tier IS NOT NULL)",
            name="positives_are_lenses",
        ),
        CheckConstraint("label = 1 OR (ls_id IS NOT NULL AND stratum_id IS NOT NULL)", name="negatives_are_galaxies"),
        CheckConstraint("(pool = 'N2') = (category IS NOT NULL)", name="category_when_n2"),
        CheckConstraint(
            "inclusion_probability IS NULL OR (label = 0 AND category IS DISTINCT FROM 'mined')",
            name="probability_when_negative",
        ),
        CheckConstraint(
            "inclusion_probability IS NULL OR (inclusion_probability > 0 AND inclusion_probability <= 1)",
            name="inclusion_probability_range",
        ),
        CheckConstraint("weight > 0 AND weight <= 1", name="weight_range"),
        *sky_position(),
        UniqueConstraint("draw_id", "lens_id"),
        Index("ix_draw_member_lens_id", "lens_id", postgresql_where=text("lens_id IS NOT NULL")),
        Index("ix_draw_member_q3c", text("q3c_ang2ipix(ra, dec)")),
        Index(
            "uq_draw_member_draw_id_ls_id_negative",
            "draw_id",
            "ls_id",
            unique=True,
            postgresql_where=text("label = 0"),
        ),
        {
            "schema": "sampling",
            "comment": "One object of a draw: a positive (lens) or a negative (pool galaxy). Triggers refuse galaxies "
            "of another survey, and any change once a model uses the draw.",
        },
    )

    member_id: Mapped[int] = mapped_column(
        BigInteger, Identity(always=True), primary_key=True, comment="Key of the member"
    )
    # No index of its own: that of (draw_id, lens_id) serves, and one less makes a draw faster. No foreign keys on
    # draw_id, stratum_id and ls_id: triggers check all new members at once (refuse_mixed_draw, refuse_used_*).
    draw_id: Mapped[int] = mapped_column(comment="The draw")
    label: Mapped[int] = mapped_column(SmallInteger, comment="1 positive, 0 negative")
    pool: Mapped[str] = mapped_column(comment="positive; N1 (deployment-like); N2 (hard confusers)")
    lens_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("catalog.lens.lens_id"), comment="The lens; NULL for negatives"
    )
    tier: Mapped[str | None] = mapped_column(comment="Tier of the positive when drawn; NULL for negatives")
    ls_id: Mapped[int | None] = mapped_column(
        BigInteger,
        index=True,
        comment="The galaxy; for a positive its Tractor match, NULL where it has none in the pool",
    )
    stratum_id: Mapped[int | None] = mapped_column(
        index=True,
        comment="Its stratum; NULL for positives that match EXP, PSF or nothing",
    )
    category: Mapped[str | None] = mapped_column(
        comment="Kind of confuser (N2): ring, edge_on, large, blue_clumpy, or mined (a model took it for a lens: no "
        "sample of the survey, to be left out when reweighting)"
    )
    inclusion_probability: Mapped[float | None] = mapped_column(
        comment="Probability that the draw takes this galaxy, by whichever pool; 1/it weights back to the survey. NULL "
        "for positives and mined negatives, and where an imported draw does not say (a trigger asks all others for it)"
    )
    weight: Mapped[float] = mapped_column(comment="Weight in the training loss: tier A 1.0, B 0.5, negatives 1.0")
    ra: Mapped[float] = mapped_column(comment="Right ascension of the cutout's centre, degrees")
    dec: Mapped[float] = mapped_column(comment="Declination of the cutout's centre, degrees")
    healpix_128: Mapped[int] = mapped_column(comment="HEALPix cell, nside 128, NESTED, of ra and dec")


SCHEME_KINDS = ("hash", "fold")
"""How a split scheme gives cells their splits."""

DROP_REASONS = ("guard", "test_sky")
"""Why a member is not in a scheme's manifest."""


class SplitScheme(Base):
    """One rule that gives every cell of the sky a split."""

    __tablename__ = "split_scheme"
    __table_args__ = (
        UniqueConstraint("name"),
        one_of("kind", SCHEME_KINDS),
        CheckConstraint(
            "train_below > 0 AND train_below < val_below AND (val_below < 1 OR (kind = 'fold' AND val_below = 1))",
            name="fractions_ordered",
        ),
        CheckConstraint("nside = 128", name="nside_is_the_cells"),
        CheckConstraint(
            "(kind = 'fold') = (fold IS NOT NULL) AND (fold IS NULL) = (n_folds IS NULL) "
            "AND (fold IS NULL) = (fold_nside IS NULL) AND (fold IS NULL) = (base_scheme_id IS NULL)",
            name="folds_say_of_what",
        ),
        CheckConstraint("fold >= 0 AND fold < n_folds", name="fold_range"),
        CheckConstraint("fold_nside IN (1, 2, 4, 8, 16, 32, 64)", name="fold_nside_holds_cells"),
        {
            "schema": "sampling",
            "comment": "One rule that splits the sky. Kind hash: u = first 4 bytes of SHA-256(cell_seed) / 2^32; "
            "train u < train_below, val u < val_below, else test. Kind fold: one fold of a spatial cross-validation; "
            "the coarse cells of the fold are test, the others train or val by a hash of their own.",
        },
    )

    scheme_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True, comment="Key of the scheme")
    name: Mapped[str] = mapped_column(comment="Its name, chosen by the user")
    nside: Mapped[int] = mapped_column(comment="HEALPix nside of the cells (NESTED): 128")
    seed: Mapped[int] = mapped_column(comment="Seed hashed with the cell number")
    train_below: Mapped[float] = mapped_column(comment="Upper bound of u for train (0.70; folds 0.85)")
    val_below: Mapped[float] = mapped_column(comment="Upper bound of u for val (0.85; folds 1); the rest is test")
    guard_arcsec: Mapped[float] = mapped_column(
        comment="A negative this near to a member of another split leaves the manifest, arcsec; of a fold scheme, any "
        "member of train or val this near to the held-out fold, and of train to val"
    )
    kind: Mapped[str] = mapped_column(server_default="hash", comment="hash, or fold: one fold of a cross-validation")
    base_scheme_id: Mapped[int | None] = mapped_column(
        ForeignKey("sampling.split_scheme.scheme_id", ondelete="CASCADE"),
        index=True,
        comment="The scheme whose test sky no fold uses; NULL unless a fold",
    )
    fold_nside: Mapped[int | None] = mapped_column(
        comment="HEALPix nside (NESTED) of the coarse cells that folds are made of (8); NULL unless a fold"
    )
    n_folds: Mapped[int | None] = mapped_column(comment="Folds of the cross-validation; NULL unless a fold")
    fold: Mapped[int | None] = mapped_column(comment="Number of the fold held out, from 0; NULL unless a fold")
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that made it")


class SplitCell(Base):
    """The split of one cell: the only place where a split is assigned."""

    __tablename__ = "split_cell"
    __table_args__ = (
        one_of("split", Split),
        CheckConstraint("healpix_128 >= 0 AND healpix_128 < 196608", name="healpix_128_range"),
        CheckConstraint("split = 'val' OR NOT is_calibration", name="calibration_within_val"),
        {
            "schema": "sampling",
            "comment": "The split of one HEALPix cell under one scheme; the primary key keeps a cell in one split.",
        },
    )

    scheme_id: Mapped[int] = mapped_column(
        ForeignKey("sampling.split_scheme.scheme_id", ondelete="CASCADE"),
        primary_key=True,
        comment="The scheme",
    )
    healpix_128: Mapped[int] = mapped_column(
        primary_key=True, autoincrement=False, comment="HEALPix cell, nside 128, NESTED"
    )
    split: Mapped[str] = mapped_column(comment="train, val or test")
    is_calibration: Mapped[bool] = mapped_column(
        server_default=false(),
        comment="True for the cells of val on which scores are calibrated and ensembles combined; no checkpoint is "
        "chosen on them",
    )


class ClosePair(Base):
    """Two members of a draw that are near each other on the sky."""

    __tablename__ = "close_pair"
    __table_args__ = (
        CheckConstraint("member_id < other_member_id", name="ordered"),
        CheckConstraint("separation_arcsec >= 0", name="separation_not_negative"),
        {
            "schema": "sampling",
            "comment": "Two members of one draw within the guard distance; `stronglens splits assign` finds them. "
            "Where their splits differ, the negatives among them leave the manifest.",
        },
    )

    member_id: Mapped[int] = mapped_column(
        ForeignKey("sampling.draw_member.member_id", ondelete="CASCADE"),
        primary_key=True,
        comment="The member with the smaller key",
    )
    other_member_id: Mapped[int] = mapped_column(
        ForeignKey("sampling.draw_member.member_id", ondelete="CASCADE"),
        primary_key=True,
        index=True,
        comment="The member with the larger key",
    )
    draw_id: Mapped[int] = mapped_column(
        ForeignKey("sampling.draw.draw_id", ondelete="CASCADE"), index=True, comment="The draw of both"
    )
    separation_arcsec: Mapped[float] = mapped_column(comment="Great-circle distance, arcsec")


class GuardDrop(Base):
    """A member that a scheme keeps out of its manifest."""

    __tablename__ = "guard_drop"
    __table_args__ = (
        ForeignKeyConstraint(
            ["member_id"], ["sampling.draw_member.member_id"], ondelete="CASCADE", name="fk_guard_drop_member"
        ),
        one_of("reason", DROP_REASONS),
        CheckConstraint(
            "(reason = 'guard') = (nearest_member_id IS NOT NULL) "
            "AND (nearest_member_id IS NULL) = (separation_arcsec IS NULL)",
            name="guard_names_whom",
        ),
        {
            "schema": "sampling",
            "comment": "A member out of the scheme's manifest: within the guard distance of a member of another split "
            "(of a hash scheme only negatives, of a fold scheme whatever is not held out), or, of a fold scheme, in "
            "the test sky of its base scheme.",
        },
    )

    scheme_id: Mapped[int] = mapped_column(
        ForeignKey("sampling.split_scheme.scheme_id", ondelete="CASCADE"),
        primary_key=True,
        comment="The scheme",
    )
    member_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True, comment="The member left out")
    nearest_member_id: Mapped[int | None] = mapped_column(
        BigInteger, comment="The nearest member of another split; NULL unless the reason is guard"
    )
    separation_arcsec: Mapped[float | None] = mapped_column(
        comment="Distance to it, arcsec; NULL unless the reason is guard"
    )
    reason: Mapped[str] = mapped_column(
        server_default="guard",
        comment="guard; test_sky: its cell belongs to the locked test split of a fold scheme's base",
    )


class SplitAssignment(Base):
    """The guard of one scheme has gone over one draw: only then has the draw a manifest under the scheme."""

    __tablename__ = "split_assignment"
    __table_args__ = (
        {
            "schema": "sampling",
            "comment": "A draw whose members a scheme has been assigned to and guarded; without this row the draw has "
            "no manifest under the scheme.",
        },
    )

    scheme_id: Mapped[int] = mapped_column(
        ForeignKey("sampling.split_scheme.scheme_id", ondelete="CASCADE"), primary_key=True, comment="The scheme"
    )
    draw_id: Mapped[int] = mapped_column(
        ForeignKey("sampling.draw.draw_id", ondelete="CASCADE"), primary_key=True, index=True, comment="The draw"
    )
    n_close_pairs: Mapped[int] = mapped_column(comment="Pairs of members within the guard distance")
    n_guard_drops: Mapped[int] = mapped_column(comment="Members that the guard left out of the manifest")
    n_test_sky_drops: Mapped[int] = mapped_column(
        server_default=text("0"), comment="Members of a fold scheme left out because they lie in its base's test sky"
    )
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that guarded it")
