"""Catalog: published lenses and the pool of galaxies.

From: revision 0001
To: revision 0002
Why: the first stages load them.
Cost on 114 M galaxies: none: the tables are new and empty
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA catalog")
    op.create_table(
        "brick",
        sa.Column("survey", sa.Text(), nullable=False, comment="dr10 or mock"),
        sa.Column("data_release", sa.SmallInteger(), nullable=False, comment="Data release of the survey: 10"),
        sa.Column("brickid", sa.Integer(), autoincrement=False, nullable=False, comment="The survey's brick number"),
        sa.Column("brickname", sa.Text(), nullable=False, comment="The survey's brick name, such as 0001m040"),
        sa.CheckConstraint("survey IN ('dr10', 'mock')", name=op.f("ck_brick_survey_known")),
        sa.PrimaryKeyConstraint("survey", "data_release", "brickid", name=op.f("pk_brick")),
        sa.UniqueConstraint("survey", "data_release", "brickname", name=op.f("uq_brick_survey_data_release_brickname")),
        schema="catalog",
        comment="Names of the bricks that loaded galaxies lie in (file names and keys use them).",
    )
    op.create_table(
        "galaxy",
        sa.Column(
            "ls_id",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="The survey's own key: release<<40 | brickid<<16 | objid",
        ),
        sa.Column("ra", sa.Double(), nullable=False, comment="Right ascension, ICRS, degrees, [0, 360)"),
        sa.Column("dec", sa.Double(), nullable=False, comment="Declination, ICRS, degrees"),
        sa.Column(
            "healpix_128", sa.Integer(), nullable=False, comment="HEALPix cell, nside 128, NESTED, of ra and dec"
        ),
        sa.Column("sweep_file_id", sa.Integer(), nullable=False, comment="catalog.sweep_file that it came from"),
        sa.Column("survey", sa.Text(), nullable=False, comment="dr10 or mock"),
        sa.Column("data_release", sa.SmallInteger(), nullable=False, comment="Data release of the survey: 10"),
        sa.Column("type", sa.Text(), nullable=False, comment="Tractor morphology: SER, DEV, REX or EXP"),
        sa.Column("flux_g", sa.REAL(), nullable=False, comment="Model flux, g, nanomaggies"),
        sa.Column("flux_r", sa.REAL(), nullable=False, comment="Model flux, r, nanomaggies"),
        sa.Column(
            "flux_i", sa.REAL(), nullable=False, comment="Model flux, i, nanomaggies; 0 where i was not observed"
        ),
        sa.Column("flux_z", sa.REAL(), nullable=False, comment="Model flux, z, nanomaggies"),
        sa.Column("flux_w1", sa.REAL(), nullable=False, comment="Forced WISE W1 flux, nanomaggies (AB)"),
        sa.Column("flux_ivar_g", sa.REAL(), nullable=False, comment="Inverse variance of flux_g, nanomaggies^-2"),
        sa.Column("flux_ivar_r", sa.REAL(), nullable=False, comment="Inverse variance of flux_r, nanomaggies^-2"),
        sa.Column("flux_ivar_z", sa.REAL(), nullable=False, comment="Inverse variance of flux_z, nanomaggies^-2"),
        sa.Column(
            "mw_transmission_g",
            sa.REAL(),
            nullable=False,
            comment="Galactic transmission, g: dereddened flux = flux / it",
        ),
        sa.Column("mw_transmission_r", sa.REAL(), nullable=False, comment="Galactic transmission, r"),
        sa.Column("mw_transmission_z", sa.REAL(), nullable=False, comment="Galactic transmission, z"),
        sa.Column("nobs_g", sa.SmallInteger(), nullable=False, comment="Exposures at the central pixel, g"),
        sa.Column("nobs_r", sa.SmallInteger(), nullable=False, comment="Exposures at the central pixel, r"),
        sa.Column("nobs_z", sa.SmallInteger(), nullable=False, comment="Exposures at the central pixel, z"),
        sa.Column(
            "psf_fwhm_g_arcsec", sa.REAL(), nullable=False, comment="PSFSIZE_G: PSF full width at half maximum, arcsec"
        ),
        sa.Column(
            "psf_fwhm_r_arcsec", sa.REAL(), nullable=False, comment="PSFSIZE_R: PSF full width at half maximum, arcsec"
        ),
        sa.Column(
            "psf_fwhm_z_arcsec", sa.REAL(), nullable=False, comment="PSFSIZE_Z: PSF full width at half maximum, arcsec"
        ),
        sa.Column(
            "psfdepth_g",
            sa.REAL(),
            nullable=False,
            comment="Point-source depth, g, nanomaggies^-2: m5 = 22.5 - 2.5 log10(5 / sqrt(it))",
        ),
        sa.Column("psfdepth_r", sa.REAL(), nullable=False, comment="Point-source depth, r, nanomaggies^-2"),
        sa.Column("psfdepth_z", sa.REAL(), nullable=False, comment="Point-source depth, z, nanomaggies^-2"),
        sa.Column("galdepth_g", sa.REAL(), nullable=False, comment="Galaxy depth, g, nanomaggies^-2"),
        sa.Column("galdepth_r", sa.REAL(), nullable=False, comment="Galaxy depth, r, nanomaggies^-2"),
        sa.Column("galdepth_z", sa.REAL(), nullable=False, comment="Galaxy depth, z, nanomaggies^-2"),
        sa.Column("ebv_mag", sa.REAL(), nullable=False, comment="Galactic reddening E(B-V), SFD98, magnitudes"),
        sa.Column(
            "maskbits",
            sa.Integer(),
            nullable=False,
            comment="The survey's MASKBITS; bits 1, 5, 6, 7, 11, 12, 13 exclude from a draw",
        ),
        sa.Column("fitbits", sa.SmallInteger(), nullable=False, comment="The survey's FITBITS"),
        sa.Column("shape_r_arcsec", sa.REAL(), nullable=False, comment="Half-light radius (major axis), arcsec"),
        sa.Column("shape_e1", sa.REAL(), nullable=False, comment="Tractor ellipticity component 1, dimensionless"),
        sa.Column("shape_e2", sa.REAL(), nullable=False, comment="Tractor ellipticity component 2, dimensionless"),
        sa.Column("sersic", sa.REAL(), nullable=False, comment="Sersic index; 0 where the type has none"),
        sa.CheckConstraint("survey IN ('dr10', 'mock')", name=op.f("ck_galaxy_survey_known")),
        sa.CheckConstraint("type IN ('SER', 'DEV', 'REX', 'EXP')", name=op.f("ck_galaxy_type_known")),
        sa.CheckConstraint("dec >= -90 AND dec <= 90", name=op.f("ck_galaxy_dec_range")),
        sa.CheckConstraint("healpix_128 >= 0 AND healpix_128 < 196608", name=op.f("ck_galaxy_healpix_128_range")),
        sa.CheckConstraint("ra >= 0 AND ra < 360", name=op.f("ck_galaxy_ra_range")),
        sa.PrimaryKeyConstraint("ls_id", name=op.f("pk_galaxy")),
        schema="catalog",
        comment="The pool: one Tractor source per row, from the sweeps. Fluxes in nanomaggies, not dereddened; mag = 22.5 - 2.5 log10(flux).",
    )
    op.create_index(op.f("ix_galaxy_sweep_file_id"), "galaxy", ["sweep_file_id"], unique=False, schema="catalog")
    op.create_table(
        "lens",
        sa.Column("lens_id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Key of the lens"),
        sa.Column(
            "name",
            sa.Text(),
            nullable=False,
            comment="Its name in the first catalog that gave it (first DESI token where there is one)",
        ),
        sa.Column("ra", sa.Double(), nullable=False, comment="Right ascension, ICRS, degrees, [0, 360)"),
        sa.Column("dec", sa.Double(), nullable=False, comment="Declination, ICRS, degrees"),
        sa.Column(
            "healpix_128", sa.Integer(), nullable=False, comment="HEALPix cell, nside 128, NESTED, of ra and dec"
        ),
        sa.Column(
            "tier",
            sa.Text(),
            nullable=True,
            comment="Training tier of the DESI imaging candidates: A confident, B probable; NULL: not a training positive. Tier A is mostly visual grade, not spectroscopic confirmation.",
        ),
        sa.Column(
            "is_lens_claim",
            sa.Boolean(),
            nullable=False,
            comment="False for cluster detections that no publication claims to lens (they still exclude negatives)",
        ),
        sa.Column(
            "lens_type",
            sa.Text(),
            nullable=False,
            comment="Kind of deflector as published: galaxy, group, cluster, unknown, ...",
        ),
        sa.Column(
            "discovery",
            sa.Text(),
            nullable=False,
            comment="How it was found: ground_imaging (headline recall), spectroscopic, hst, other",
        ),
        sa.CheckConstraint(
            "discovery IN ('ground_imaging', 'spectroscopic', 'hst', 'other')", name=op.f("ck_lens_discovery_known")
        ),
        sa.CheckConstraint("tier IN ('A', 'B')", name=op.f("ck_lens_tier_known")),
        sa.CheckConstraint("dec >= -90 AND dec <= 90", name=op.f("ck_lens_dec_range")),
        sa.CheckConstraint("healpix_128 >= 0 AND healpix_128 < 196608", name=op.f("ck_lens_healpix_128_range")),
        sa.CheckConstraint("ra >= 0 AND ra < 360", name=op.f("ck_lens_ra_range")),
        sa.CheckConstraint("tier IS NULL OR is_lens_claim", name=op.f("ck_lens_tier_needs_claim")),
        sa.PrimaryKeyConstraint("lens_id", name=op.f("pk_lens")),
        sa.UniqueConstraint("name", "ra", "dec", name=op.f("uq_lens_name_ra_dec")),
        schema="catalog",
        comment="One known object: lens, candidate, or cluster core. Negatives stay away from every row.",
    )
    op.create_index(op.f("ix_lens_healpix_128"), "lens", ["healpix_128"], unique=False, schema="catalog")
    op.create_index(op.f("ix_lens_name"), "lens", ["name"], unique=False, schema="catalog")
    op.create_index("ix_lens_q3c", "lens", [sa.literal_column("q3c_ang2ipix(ra, dec)")], unique=False, schema="catalog")
    op.create_table(
        "lens_match",
        sa.Column("lens_id", sa.BigInteger(), nullable=False, comment="The lens"),
        sa.Column("survey", sa.Text(), nullable=False, comment="dr10 or mock"),
        sa.Column("data_release", sa.SmallInteger(), nullable=False, comment="Data release of the survey: 10"),
        sa.Column("ls_id", sa.BigInteger(), nullable=False, comment="The nearest pool galaxy"),
        sa.Column("separation_arcsec", sa.Double(), nullable=False, comment="Great-circle distance, arcsec"),
        sa.CheckConstraint("survey IN ('dr10', 'mock')", name=op.f("ck_lens_match_survey_known")),
        sa.CheckConstraint(
            "separation_arcsec >= 0 AND separation_arcsec <= 5", name=op.f("ck_lens_match_separation_range")
        ),
        sa.ForeignKeyConstraint(["lens_id"], ["catalog.lens.lens_id"], name=op.f("fk_lens_match_lens_id_lens")),
        sa.ForeignKeyConstraint(["ls_id"], ["catalog.galaxy.ls_id"], name=op.f("fk_lens_match_ls_id_galaxy")),
        sa.PrimaryKeyConstraint("lens_id", "survey", "data_release", name=op.f("pk_lens_match")),
        schema="catalog",
        comment="A lens and the nearest Tractor source within 5 arcsec, per survey.",
    )
    op.create_index(op.f("ix_lens_match_ls_id"), "lens_match", ["ls_id"], unique=False, schema="catalog")
    op.create_table(
        "lens_neighbour",
        sa.Column("lens_id", sa.BigInteger(), nullable=False, comment="The lens"),
        sa.Column("ls_id", sa.BigInteger(), nullable=False, comment="The galaxy"),
        sa.Column("separation_arcsec", sa.Double(), nullable=False, comment="Great-circle distance, arcsec"),
        sa.CheckConstraint(
            "separation_arcsec >= 0 AND separation_arcsec <= 11", name=op.f("ck_lens_neighbour_separation_range")
        ),
        sa.ForeignKeyConstraint(["lens_id"], ["catalog.lens.lens_id"], name=op.f("fk_lens_neighbour_lens_id_lens")),
        sa.ForeignKeyConstraint(["ls_id"], ["catalog.galaxy.ls_id"], name=op.f("fk_lens_neighbour_ls_id_galaxy")),
        sa.PrimaryKeyConstraint("lens_id", "ls_id", name=op.f("pk_lens_neighbour")),
        schema="catalog",
        comment="Pool galaxies within the exclusion radius (11 arcsec) of any known lens or cluster core; kept incrementally by `stronglens match`.",
    )
    op.create_index(op.f("ix_lens_neighbour_ls_id"), "lens_neighbour", ["ls_id"], unique=False, schema="catalog")
    op.create_table(
        "lens_source",
        sa.Column(
            "source_id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Key of the published row"
        ),
        sa.Column("lens_id", sa.BigInteger(), nullable=False, comment="The object that the row speaks of"),
        sa.Column(
            "catalog",
            sa.Text(),
            nullable=False,
            comment="Catalog and version or paper: lenscat-1.1.3, arXiv:2508.20087, ...",
        ),
        sa.Column(
            "row_sha256",
            sa.Text(),
            nullable=False,
            comment="SHA-256 of the published values and, for rows that repeat, their count, hexadecimal",
        ),
        sa.Column("name", sa.Text(), nullable=False, comment="Name as published; empty where the catalog has none"),
        sa.Column("ra", sa.Double(), nullable=False, comment="Right ascension as published, degrees, [0, 360)"),
        sa.Column("dec", sa.Double(), nullable=False, comment="Declination as published, degrees"),
        sa.Column(
            "body",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="All published columns of the row, as text",
        ),
        sa.Column(
            "match_status",
            sa.Text(),
            nullable=False,
            comment="new: it founded its lens; matched: one known lens in reach; ambiguous: several, the nearest was taken",
        ),
        sa.Column(
            "separation_arcsec",
            sa.Double(),
            nullable=False,
            comment="Distance to its lens's position, arcsec; 0 for the founder",
        ),
        sa.CheckConstraint(
            "match_status IN ('new', 'matched', 'ambiguous')", name=op.f("ck_lens_source_match_status_known")
        ),
        sa.CheckConstraint("dec >= -90 AND dec <= 90", name=op.f("ck_lens_source_dec_range")),
        sa.CheckConstraint("ra >= 0 AND ra < 360", name=op.f("ck_lens_source_ra_range")),
        sa.ForeignKeyConstraint(["lens_id"], ["catalog.lens.lens_id"], name=op.f("fk_lens_source_lens_id_lens")),
        sa.PrimaryKeyConstraint("source_id", name=op.f("pk_lens_source")),
        sa.UniqueConstraint("catalog", "row_sha256", name=op.f("uq_lens_source_catalog_row_sha256")),
        schema="catalog",
        comment="One row of one published catalog, verbatim, and the object it speaks of.",
    )
    op.create_index(op.f("ix_lens_source_lens_id"), "lens_source", ["lens_id"], unique=False, schema="catalog")
    op.create_table(
        "lens_grade",
        sa.Column("grade_id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Key of the grade"),
        sa.Column("lens_id", sa.BigInteger(), nullable=False, comment="The lens graded"),
        sa.Column("source_id", sa.BigInteger(), nullable=False, comment="The published row that states the grade"),
        sa.Column("paper", sa.Text(), nullable=False, comment="Who graded: the reference as published"),
        sa.Column("grade", sa.Text(), nullable=False, comment="Grade as published: A, B, C, confident, probable, ..."),
        sa.Column(
            "score",
            sa.Double(),
            nullable=True,
            comment="Graders' score or the paper's network probability; NULL where the paper gives none",
        ),
        sa.CheckConstraint("score IS NULL OR score < 'Infinity'", name=op.f("ck_lens_grade_score_finite")),
        sa.ForeignKeyConstraint(["lens_id"], ["catalog.lens.lens_id"], name=op.f("fk_lens_grade_lens_id_lens")),
        sa.ForeignKeyConstraint(
            ["source_id"], ["catalog.lens_source.source_id"], name=op.f("fk_lens_grade_source_id_lens_source")
        ),
        sa.PrimaryKeyConstraint("grade_id", name=op.f("pk_lens_grade")),
        sa.UniqueConstraint("source_id", name=op.f("uq_lens_grade_source_id")),
        schema="catalog",
        comment="Ledger of grades: one paper's verdict on one lens. Grades are never averaged.",
    )
    op.create_index(op.f("ix_lens_grade_lens_id"), "lens_grade", ["lens_id"], unique=False, schema="catalog")
    op.create_table(
        "lens_redshift",
        sa.Column(
            "redshift_id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Key of the redshift"
        ),
        sa.Column("lens_id", sa.BigInteger(), nullable=False, comment="The lens"),
        sa.Column("source_id", sa.BigInteger(), nullable=False, comment="The published row that states the redshift"),
        sa.Column("z", sa.Double(), nullable=False, comment="Redshift, dimensionless"),
        sa.Column(
            "z_error", sa.Double(), nullable=True, comment="Its 1-sigma error as published; NULL where none is given"
        ),
        sa.Column("method", sa.Text(), nullable=False, comment="spec, phot, or unknown where the catalog does not say"),
        sa.Column("reference", sa.Text(), nullable=False, comment="Who published it"),
        sa.CheckConstraint("method IN ('spec', 'phot', 'unknown')", name=op.f("ck_lens_redshift_method_known")),
        sa.CheckConstraint("z > -0.01 AND z < 20", name=op.f("ck_lens_redshift_z_range")),
        sa.ForeignKeyConstraint(["lens_id"], ["catalog.lens.lens_id"], name=op.f("fk_lens_redshift_lens_id_lens")),
        sa.ForeignKeyConstraint(
            ["source_id"], ["catalog.lens_source.source_id"], name=op.f("fk_lens_redshift_source_id_lens_source")
        ),
        sa.PrimaryKeyConstraint("redshift_id", name=op.f("pk_lens_redshift")),
        sa.UniqueConstraint("source_id", "method", name=op.f("uq_lens_redshift_source_id_method")),
        schema="catalog",
        comment="One published redshift of a lens (the deflector), with its method.",
    )
    op.create_index(op.f("ix_lens_redshift_lens_id"), "lens_redshift", ["lens_id"], unique=False, schema="catalog")
    op.create_table(
        "sweep_file",
        sa.Column("sweep_file_id", sa.Integer(), sa.Identity(always=True), nullable=False, comment="Key of the file"),
        sa.Column("survey", sa.Text(), nullable=False, comment="dr10 or mock"),
        sa.Column("data_release", sa.SmallInteger(), nullable=False, comment="Data release of the survey: 10"),
        sa.Column("name", sa.Text(), nullable=False, comment="File name without its folder, as the survey names it"),
        sa.Column("uri", sa.Text(), nullable=False, comment="Where it was read from"),
        sa.Column("n_bytes", sa.BigInteger(), nullable=False, comment="Size of the file in bytes"),
        sa.Column(
            "sha256", sa.Text(), nullable=True, comment="SHA-256 of the file, hexadecimal; NULL if it could not be read"
        ),
        sa.Column("n_read", sa.Integer(), nullable=False, comment="Rows in the file"),
        sa.Column("n_kept", sa.Integer(), nullable=False, comment="Rows that went into catalog.galaxy"),
        sa.Column(
            "n_not_selected",
            sa.Integer(),
            nullable=False,
            comment="Rows outside the pool's selection (type, magnitude)",
        ),
        sa.Column(
            "n_quarantined", sa.Integer(), nullable=False, comment="Rows out of range that --quarantine-rows allowed"
        ),
        sa.Column("status", sa.Text(), nullable=False, comment="loaded or refused"),
        sa.Column("error", sa.Text(), nullable=True, comment="Why it was refused; NULL when loaded"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that wrote this row"),
        sa.Column(
            "loaded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was loaded or refused",
        ),
        sa.CheckConstraint("(status = 'refused') = (error IS NOT NULL)", name=op.f("ck_sweep_file_error_when_refused")),
        sa.CheckConstraint("status IN ('loaded', 'refused')", name=op.f("ck_sweep_file_status_known")),
        sa.CheckConstraint("survey IN ('dr10', 'mock')", name=op.f("ck_sweep_file_survey_known")),
        sa.CheckConstraint("n_read = n_kept + n_not_selected + n_quarantined", name=op.f("ck_sweep_file_rows_add_up")),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_sweep_file_run_id_run")),
        sa.PrimaryKeyConstraint("sweep_file_id", name=op.f("pk_sweep_file")),
        sa.UniqueConstraint("survey", "data_release", "name", name=op.f("uq_sweep_file_survey_data_release_name")),
        schema="catalog",
        comment="Load ledger: one sweep file. The row commits together with the file's galaxies or not at all.",
    )


def downgrade() -> None:
    op.execute("DROP SCHEMA catalog CASCADE")
