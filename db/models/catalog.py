"""The published lenses, and the pool of DR10 galaxies that negatives are drawn from."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Survey, one_of, sky_position

GALAXY_TYPES = ("SER", "DEV", "REX", "EXP")
"""Tractor morphologies that the pool keeps."""

IMPORTS_MAY_LACK = (
    "flux_i",
    "flux_w1",
    "flux_ivar_g",
    "flux_ivar_r",
    "flux_ivar_z",
    "mw_transmission_g",
    "mw_transmission_r",
    "mw_transmission_z",
    "nobs_g",
    "nobs_r",
    "psf_fwhm_g_arcsec",
    "psf_fwhm_r_arcsec",
    "psf_fwhm_z_arcsec",
    "psfdepth_g",
    "psfdepth_r",
    "psfdepth_z",
    "galdepth_g",
    "galdepth_r",
    "galdepth_z",
    "ebv_mag",
    "maskbits",
    "fitbits",
    "shape_r_arcsec",
    "shape_e1",
    "shape_e2",
    "sersic",
)
"""Measured columns of a galaxy that only an imported one may lack."""


class Lens(Base):
    """One object on the sky: a lens, a candidate, or a cluster core to stay away from."""

    __tablename__ = "lens"
    __table_args__ = (
        *sky_position(),
        UniqueConstraint("name", "ra", "dec"),
        one_of("discovery", ("ground_imaging", "spectroscopic", "hst", "other")),
        one_of("tier", ("A", "B")),
        CheckConstraint("tier IS NULL OR is_lens_claim", name="tier_needs_claim"),
        CheckConstraint("healpix_128 >= 0 AND healpix_128 < 196608", name="healpix_128_range"),
        Index("ix_lens_q3c", text("q3c_ang2ipix(ra, dec)")),
        {
            "schema": "catalog",
            "comment": "One known object: lens, candidate, or cluster core. Negatives stay away from every row.",
        },
    )

    lens_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True, comment="Key of the lens")
    name: Mapped[str] = mapped_column(
        index=True, comment="Its name in the first catalog that gave it (first DESI token where there is one)"
    )
    ra: Mapped[float] = mapped_column(comment="Right ascension, ICRS, degrees, [0, 360)")
    dec: Mapped[float] = mapped_column(comment="Declination, ICRS, degrees")
    healpix_128: Mapped[int] = mapped_column(index=True, comment="HEALPix cell, nside 128, NESTED, of ra and dec")
    tier: Mapped[str | None] = mapped_column(
        comment="Training tier of the DESI imaging candidates: A confident, B probable; NULL: not a training positive. "
        "Tier A is mostly visual grade, not spectroscopic confirmation."
    )
    is_lens_claim: Mapped[bool] = mapped_column(
        comment="False for cluster detections that no publication claims to lens (they still exclude negatives)"
    )
    lens_type: Mapped[str] = mapped_column(
        comment="Kind of deflector as published: galaxy, group, cluster, unknown, ..."
    )
    discovery: Mapped[str] = mapped_column(
        comment="How it was found: ground_imaging (headline recall), spectroscopic, hst, other"
    )


class LensSource(Base):
    """One published row, as published."""

    __tablename__ = "lens_source"
    __table_args__ = (
        UniqueConstraint("catalog", "row_sha256"),
        *sky_position(),
        one_of("match_status", ("new", "matched", "ambiguous")),
        {
            "schema": "catalog",
            "comment": "One row of one published catalog, verbatim, and the object it speaks of.",
        },
    )

    source_id: Mapped[int] = mapped_column(
        BigInteger, Identity(always=True), primary_key=True, comment="Key of the published row"
    )
    lens_id: Mapped[int] = mapped_column(
        ForeignKey("catalog.lens.lens_id"), index=True, comment="The object that the row speaks of"
    )
    catalog: Mapped[str] = mapped_column(comment="Catalog and version or paper: lenscat-1.1.3, arXiv:2508.20087, ...")
    row_sha256: Mapped[str] = mapped_column(
        comment="SHA-256 of the published values and, for rows that repeat, their count, hexadecimal"
    )
    name: Mapped[str] = mapped_column(comment="Name as published; empty where the catalog has none")
    ra: Mapped[float] = mapped_column(comment="Right ascension as published, degrees, [0, 360)")
    dec: Mapped[float] = mapped_column(comment="Declination as published, degrees")
    body: Mapped[dict[str, Any]] = mapped_column(comment="All published columns of the row, as text")
    match_status: Mapped[str] = mapped_column(
        comment="new: it founded its lens; matched: one known lens in reach; ambiguous: several, the nearest was taken"
    )
    separation_arcsec: Mapped[float] = mapped_column(
        comment="Distance to its lens's position, arcsec; 0 for the founder"
    )


class LensGrade(Base):
    """What one paper thinks of one lens."""

    __tablename__ = "lens_grade"
    __table_args__ = (
        UniqueConstraint("source_id"),
        CheckConstraint("score IS NULL OR score < 'Infinity'", name="score_finite"),
        {
            "schema": "catalog",
            "comment": "Ledger of grades: one paper's verdict on one lens. Grades are never averaged.",
        },
    )

    grade_id: Mapped[int] = mapped_column(
        BigInteger, Identity(always=True), primary_key=True, comment="Key of the grade"
    )
    lens_id: Mapped[int] = mapped_column(ForeignKey("catalog.lens.lens_id"), index=True, comment="The lens graded")
    source_id: Mapped[int] = mapped_column(
        ForeignKey("catalog.lens_source.source_id"), comment="The published row that states the grade"
    )
    paper: Mapped[str] = mapped_column(comment="Who graded: the reference as published")
    grade: Mapped[str] = mapped_column(comment="Grade as published: A, B, C, confident, probable, ...")
    score: Mapped[float | None] = mapped_column(
        comment="Graders' score or the paper's network probability; NULL where the paper gives none"
    )


class LensRedshift(Base):
    """One published redshift of a deflector."""

    __tablename__ = "lens_redshift"
    __table_args__ = (
        UniqueConstraint("source_id", "method"),
        one_of("method", ("spec", "phot", "unknown")),
        CheckConstraint("z > -0.01 AND z < 20", name="z_range"),
        {
            "schema": "catalog",
            "comment": "One published redshift of a lens (the deflector), with its method.",
        },
    )

    redshift_id: Mapped[int] = mapped_column(
        BigInteger, Identity(always=True), primary_key=True, comment="Key of the redshift"
    )
    lens_id: Mapped[int] = mapped_column(ForeignKey("catalog.lens.lens_id"), index=True, comment="The lens")
    source_id: Mapped[int] = mapped_column(
        ForeignKey("catalog.lens_source.source_id"), comment="The published row that states the redshift"
    )
    z: Mapped[float] = mapped_column(comment="Redshift, dimensionless")
    z_error: Mapped[float | None] = mapped_column(comment="Its 1-sigma error as published; NULL where none is given")
    method: Mapped[str] = mapped_column(comment="spec, phot, or unknown where the catalog does not say")
    reference: Mapped[str] = mapped_column(comment="Who published it")


class SweepFile(Base):
    """The load ledger: one sweep file and what became of it."""

    __tablename__ = "sweep_file"
    __table_args__ = (
        UniqueConstraint("survey", "data_release", "name"),
        # Before the pool has its key, this is what keeps one patch of sky from coming in twice.
        Index(
            "uq_sweep_file_box",
            "survey",
            "data_release",
            "ra_min_deg",
            "dec_min_deg",
            unique=True,
            postgresql_where=text("status = 'loaded'"),
        ),
        one_of("survey", Survey),
        one_of("status", ("loaded", "refused")),
        one_of("kind", ("sweep", "import")),
        CheckConstraint("num_nulls(ra_min_deg, ra_max_deg, dec_min_deg, dec_max_deg) IN (0, 4)", name="whole_box"),
        CheckConstraint("(status = 'refused') = (error IS NOT NULL)", name="error_when_refused"),
        CheckConstraint("n_read = n_kept + n_not_selected + n_quarantined", name="rows_add_up"),
        {
            "schema": "catalog",
            "comment": "Load ledger: one sweep file. The row commits together with the file's galaxies or not at all.",
        },
    )

    sweep_file_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True, comment="Key of the file")
    survey: Mapped[str] = mapped_column(comment="dr10 or mock")
    data_release: Mapped[int] = mapped_column(SmallInteger, comment="Data release of the survey: 10")
    name: Mapped[str] = mapped_column(comment="File name without its folder, as the survey names it")
    kind: Mapped[str] = mapped_column(
        server_default="sweep", comment="sweep; import: the Parquet manifest of an earlier pool"
    )
    uri: Mapped[str] = mapped_column(comment="Where it was read from")
    n_bytes: Mapped[int] = mapped_column(BigInteger, comment="Size of the file in bytes")
    sha256: Mapped[str | None] = mapped_column(comment="SHA-256 of the file, hexadecimal; NULL if it could not be read")
    etag: Mapped[str | None] = mapped_column(comment="The object store's ETag of the file; NULL for a file on disk")
    modified_at: Mapped[dt.datetime | None] = mapped_column(
        comment="When the file was last changed, as it was listed; NULL in rows of version 0.1.0"
    )
    ra_min_deg: Mapped[float | None] = mapped_column(
        comment="Western edge of the sky box that the file name declares, degrees; NULL where it declares none"
    )
    ra_max_deg: Mapped[float | None] = mapped_column(comment="Eastern edge of the box, degrees, up to 360")
    dec_min_deg: Mapped[float | None] = mapped_column(comment="Southern edge of the box, degrees")
    dec_max_deg: Mapped[float | None] = mapped_column(comment="Northern edge of the box, degrees")
    n_read: Mapped[int] = mapped_column(Integer, comment="Rows in the file")
    n_kept: Mapped[int] = mapped_column(Integer, comment="Rows that went into catalog.galaxy")
    n_not_selected: Mapped[int] = mapped_column(
        Integer,
        comment="Rows outside the pool's selection (type, magnitude); of an import, rows in the catalog before it",
    )
    n_quarantined: Mapped[int] = mapped_column(Integer, comment="Rows out of range that --quarantine-rows allowed")
    status: Mapped[str] = mapped_column(comment="loaded or refused")
    error: Mapped[str | None] = mapped_column(comment="Why it was refused; NULL when loaded")
    differences: Mapped[dict[str, Any] | None] = mapped_column(
        comment="Import: by column, values compared and values that differ from what we have or derive; NULL of a sweep"
    )
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that wrote this row")
    loaded_at: Mapped[dt.datetime] = mapped_column(server_default=func.now(), comment="When it was loaded or refused")


class SweepTask(Base):
    """One file that one load has to see to: the queue that its workers take files from."""

    __tablename__ = "sweep_task"
    __table_args__ = (
        UniqueConstraint("run_id", "name"),
        one_of("status", ("waiting", "running", "loaded", "skipped", "refused", "failed")),
        CheckConstraint("(status IN ('refused', 'failed')) = (reason IS NOT NULL)", name="reason_when_not_loaded"),
        CheckConstraint(
            "(status IN ('waiting', 'running')) = (finished_at IS NULL)", name="finished_when_not_under_way"
        ),
        {
            "schema": "catalog",
            "comment": "Queue of a load: one file that one run has to see to. A worker holds the row's lock while it "
            "loads the file, so a running task that nobody holds was interrupted and is taken up again.",
        },
    )

    task_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True, comment="Key of the task")
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The load")
    name: Mapped[str] = mapped_column(comment="File name without its folder")
    uri: Mapped[str] = mapped_column(comment="Where it is read from")
    n_bytes: Mapped[int] = mapped_column(BigInteger, comment="Size of the file in bytes when it was listed")
    etag: Mapped[str | None] = mapped_column(comment="The object store's ETag when it was listed; NULL on disk")
    modified_at: Mapped[dt.datetime] = mapped_column(comment="When the file was last changed, as it was listed")
    status: Mapped[str] = mapped_column(
        comment="waiting; running; loaded; skipped (its rows were there); refused (the file is at fault); failed (the "
        "machines are: run again)"
    )
    n_attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0", comment="Times a worker took it up")
    worker: Mapped[str | None] = mapped_column(comment="Host and process that took it up last")
    started_at: Mapped[dt.datetime | None] = mapped_column(comment="When it was taken up last")
    finished_at: Mapped[dt.datetime | None] = mapped_column(comment="When it ended; NULL while waiting or running")
    reason: Mapped[str | None] = mapped_column(comment="Why it was refused or failed; NULL otherwise")
    quarantined: Mapped[list[str]] = mapped_column(
        ARRAY(Text), server_default="{}", comment="Bad rows that were dropped: number, key and what is wrong"
    )


class Brick(Base):
    """Name of a brick; the galaxy key carries only its number."""

    __tablename__ = "brick"
    __table_args__ = (
        one_of("survey", Survey),
        UniqueConstraint("survey", "data_release", "brickname"),
        {
            "schema": "catalog",
            "comment": "Names of the bricks that loaded galaxies lie in (file names and keys use them).",
        },
    )

    survey: Mapped[str] = mapped_column(primary_key=True, comment="dr10 or mock")
    data_release: Mapped[int] = mapped_column(SmallInteger, primary_key=True, comment="Data release of the survey: 10")
    brickid: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, comment="The survey's brick number")
    brickname: Mapped[str] = mapped_column(comment="The survey's brick name, such as 0001m040")


class Galaxy(Base):
    """The pool: one Tractor source of a galaxy type."""

    __tablename__ = "galaxy"
    __table_args__ = (
        *sky_position(),
        one_of("survey", Survey),
        one_of("type", GALAXY_TYPES),
        CheckConstraint("healpix_128 >= 0 AND healpix_128 < 196608", name="healpix_128_range"),
        CheckConstraint(
            f"is_imported OR num_nulls({', '.join(IMPORTS_MAY_LACK)}) = 0", name="complete_unless_imported"
        ),
        Index("ix_galaxy_q3c", text("q3c_ang2ipix(ra, dec)")),
        {
            "schema": "catalog",
            "comment": "The pool: one Tractor source per row, from the sweeps or from an earlier pool's manifest. "
            "Fluxes in nanomaggies, not dereddened; mag = 22.5 - 2.5 log10(flux).",
        },
    )

    ls_id: Mapped[int] = mapped_column(
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="The survey's own key: release<<40 | brickid<<16 | objid",
    )
    ra: Mapped[float] = mapped_column(comment="Right ascension, ICRS, degrees, [0, 360)")
    dec: Mapped[float] = mapped_column(comment="Declination, ICRS, degrees")
    healpix_128: Mapped[int] = mapped_column(comment="HEALPix cell, nside 128, NESTED, of ra and dec")
    # No foreign key: the ledger row is written in the same transaction, and a check per row would slow the COPY.
    sweep_file_id: Mapped[int] = mapped_column(index=True, comment="catalog.sweep_file that it came from")
    survey: Mapped[str] = mapped_column(comment="dr10 or mock")
    data_release: Mapped[int] = mapped_column(SmallInteger, comment="Data release of the survey: 10")
    type: Mapped[str] = mapped_column(comment="Tractor morphology: SER, DEV, REX or EXP")
    flux_g: Mapped[float] = mapped_column(REAL, comment="Model flux, g, nanomaggies")
    flux_r: Mapped[float] = mapped_column(REAL, comment="Model flux, r, nanomaggies")
    flux_i: Mapped[float | None] = mapped_column(REAL, comment="Model flux, i, nanomaggies; 0 where i was not observed")
    flux_z: Mapped[float] = mapped_column(REAL, comment="Model flux, z, nanomaggies")
    flux_w1: Mapped[float | None] = mapped_column(REAL, comment="Forced WISE W1 flux, nanomaggies (AB)")
    flux_ivar_g: Mapped[float | None] = mapped_column(REAL, comment="Inverse variance of flux_g, nanomaggies^-2")
    flux_ivar_r: Mapped[float | None] = mapped_column(REAL, comment="Inverse variance of flux_r, nanomaggies^-2")
    flux_ivar_z: Mapped[float | None] = mapped_column(REAL, comment="Inverse variance of flux_z, nanomaggies^-2")
    mw_transmission_g: Mapped[float | None] = mapped_column(
        REAL, comment="Galactic transmission, g: dereddened flux = flux / it"
    )
    mw_transmission_r: Mapped[float | None] = mapped_column(REAL, comment="Galactic transmission, r")
    mw_transmission_z: Mapped[float | None] = mapped_column(REAL, comment="Galactic transmission, z")
    nobs_g: Mapped[int | None] = mapped_column(SmallInteger, comment="Exposures at the central pixel, g")
    nobs_r: Mapped[int | None] = mapped_column(SmallInteger, comment="Exposures at the central pixel, r")
    nobs_z: Mapped[int] = mapped_column(SmallInteger, comment="Exposures at the central pixel, z")
    psf_fwhm_g_arcsec: Mapped[float | None] = mapped_column(
        REAL, comment="PSFSIZE_G: PSF full width at half maximum, arcsec"
    )
    psf_fwhm_r_arcsec: Mapped[float | None] = mapped_column(
        REAL, comment="PSFSIZE_R: PSF full width at half maximum, arcsec"
    )
    psf_fwhm_z_arcsec: Mapped[float | None] = mapped_column(
        REAL, comment="PSFSIZE_Z: PSF full width at half maximum, arcsec"
    )
    psfdepth_g: Mapped[float | None] = mapped_column(
        REAL, comment="Point-source depth, g, nanomaggies^-2: m5 = 22.5 - 2.5 log10(5 / sqrt(it))"
    )
    psfdepth_r: Mapped[float | None] = mapped_column(REAL, comment="Point-source depth, r, nanomaggies^-2")
    psfdepth_z: Mapped[float | None] = mapped_column(REAL, comment="Point-source depth, z, nanomaggies^-2")
    galdepth_g: Mapped[float | None] = mapped_column(REAL, comment="Galaxy depth, g, nanomaggies^-2")
    galdepth_r: Mapped[float | None] = mapped_column(REAL, comment="Galaxy depth, r, nanomaggies^-2")
    galdepth_z: Mapped[float | None] = mapped_column(REAL, comment="Galaxy depth, z, nanomaggies^-2")
    ebv_mag: Mapped[float | None] = mapped_column(REAL, comment="Galactic reddening E(B-V), SFD98, magnitudes")
    maskbits: Mapped[int | None] = mapped_column(
        comment="The survey's MASKBITS; bits 1, 5, 6, 7, 11, 12, 13 exclude from a draw"
    )
    fitbits: Mapped[int | None] = mapped_column(SmallInteger, comment="The survey's FITBITS")
    shape_r_arcsec: Mapped[float | None] = mapped_column(REAL, comment="Half-light radius (major axis), arcsec")
    shape_e1: Mapped[float | None] = mapped_column(REAL, comment="Tractor ellipticity component 1, dimensionless")
    shape_e2: Mapped[float | None] = mapped_column(REAL, comment="Tractor ellipticity component 2, dimensionless")
    sersic: Mapped[float | None] = mapped_column(REAL, comment="Sersic index; 0 where the type has none")
    is_imported: Mapped[bool] = mapped_column(
        server_default=false(),
        comment="Whether it came from an earlier pool's manifest, which may lack columns (NULL), not from a sweep",
    )


class LensMatch(Base):
    """The Tractor source that a lens is, in one survey."""

    __tablename__ = "lens_match"
    __table_args__ = (
        one_of("survey", Survey),
        CheckConstraint("separation_arcsec >= 0 AND separation_arcsec <= 5", name="separation_range"),
        {
            "schema": "catalog",
            "comment": "A lens and the nearest Tractor source within 5 arcsec, per survey.",
        },
    )

    lens_id: Mapped[int] = mapped_column(ForeignKey("catalog.lens.lens_id"), primary_key=True, comment="The lens")
    survey: Mapped[str] = mapped_column(primary_key=True, comment="dr10 or mock")
    data_release: Mapped[int] = mapped_column(SmallInteger, primary_key=True, comment="Data release of the survey: 10")
    ls_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("catalog.galaxy.ls_id"), index=True, comment="The nearest pool galaxy"
    )
    separation_arcsec: Mapped[float] = mapped_column(comment="Great-circle distance, arcsec")


class LensNeighbour(Base):
    """A pool galaxy too close to a known lens to be a negative."""

    __tablename__ = "lens_neighbour"
    __table_args__ = (
        CheckConstraint("separation_arcsec >= 0 AND separation_arcsec <= 11", name="separation_range"),
        {
            "schema": "catalog",
            "comment": "Pool galaxies within the exclusion radius (11 arcsec) of any known lens or cluster core; "
            "kept incrementally by `stronglens match`.",
        },
    )

    lens_id: Mapped[int] = mapped_column(ForeignKey("catalog.lens.lens_id"), primary_key=True, comment="The lens")
    ls_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("catalog.galaxy.ls_id"), primary_key=True, index=True, comment="The galaxy"
    )
    separation_arcsec: Mapped[float] = mapped_column(comment="Great-circle distance, arcsec")


class MatchedLens(Base):
    """A lens whose matches and neighbours in one survey are up to date with the files of `MatchedFile`."""

    __tablename__ = "matched_lens"
    __table_args__ = (
        one_of("survey", Survey),
        {
            "schema": "catalog",
            "comment": "What `stronglens match` has done: one lens looked for in one survey. A lens without a row, or "
            "near a file that is not in matched_file as it is now, is looked for anew.",
        },
    )

    lens_id: Mapped[int] = mapped_column(
        ForeignKey("catalog.lens.lens_id", ondelete="CASCADE"), primary_key=True, comment="The lens"
    )
    survey: Mapped[str] = mapped_column(primary_key=True, comment="dr10 or mock")
    data_release: Mapped[int] = mapped_column(SmallInteger, primary_key=True, comment="Data release of the survey: 10")
    match_radius_arcsec: Mapped[float] = mapped_column(comment="Radius within which its match was looked for, arcsec")
    exclusion_radius_arcsec: Mapped[float] = mapped_column(comment="Radius of its neighbours, arcsec")
    run_id: Mapped[int] = mapped_column(ForeignKey("provenance.run.run_id"), comment="The run that looked")


class MatchedFile(Base):
    """A sweep file whose galaxies the match has seen."""

    __tablename__ = "matched_file"
    __table_args__ = (
        one_of("survey", Survey),
        {
            "schema": "catalog",
            "comment": "Sweep files that the lenses of matched_lens were looked for in, as they were then. It outlives "
            "the file's row in sweep_file: a file that was taken out also changes what lies near a lens.",
        },
    )

    sweep_file_id: Mapped[int] = mapped_column(
        primary_key=True, autoincrement=False, comment="catalog.sweep_file that it was"
    )
    survey: Mapped[str] = mapped_column(comment="dr10 or mock")
    data_release: Mapped[int] = mapped_column(SmallInteger, comment="Data release of the survey: 10")
    name: Mapped[str] = mapped_column(comment="Its name, which declares its patch of sky")
    loaded_at: Mapped[dt.datetime] = mapped_column(comment="When the galaxies that the match saw were loaded")
