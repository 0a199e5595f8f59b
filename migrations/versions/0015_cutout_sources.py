"""Where the pixels of a cutout came from, and the conditions at its place.

From: revision 0014
To: revision 0015
Why: a cutout names the coadds or the answer of the service that its pixels are from, in the state they were in, so that
    a changed source is seen; and the PSF and depth at its centre, so that the audit needs no look elsewhere.
Cost on 114 M galaxies: none: the pool is not touched; the new columns of imaging.cutout (some 500,000 rows) are NULL or
    have a constant default, so no row is rewritten, and validating their rules reads it once, about a second
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

BANDS = ("g", "r", "z")
CONDITIONS = {
    "psf_fwhm_{}_arcsec": (sa.Double(), "PSF full width at half maximum at the centre, {}, arcsec; NULL: not known"),
    "psfdepth_{}": (sa.Double(), "Point-source depth at the centre, {}, nanomaggies^-2; NULL: not known"),
    "nexp_{}": (sa.SmallInteger(), "Exposures at the central pixel, {}; NULL: not known"),
}
COLUMNS = [
    (form.format(band), kind, words.format(band)) for form, (kind, words) in CONDITIONS.items() for band in BANDS
]
RULES = {
    "conditions_source_known": "conditions_source IN ('coadd', 'sweep')",
    "conditions_with_source": "conditions_source IS NOT NULL OR "
    f"num_nonnulls({', '.join(name for name, _, _ in COLUMNS)}) = 0",
    "psf_fwhm_range": " AND ".join(
        f"(psf_fwhm_{band}_arcsec IS NULL OR (psf_fwhm_{band}_arcsec > 0 AND psf_fwhm_{band}_arcsec < 'Infinity'))"
        for band in BANDS
    ),
    "psfdepth_range": " AND ".join(
        f"(psfdepth_{band} IS NULL OR (psfdepth_{band} >= 0 AND psfdepth_{band} < 'Infinity'))" for band in BANDS
    ),
}


def upgrade() -> None:
    for name, kind, words in COLUMNS:
        op.add_column("cutout", sa.Column(name, kind, comment=words), schema="imaging")
    op.add_column(
        "cutout",
        sa.Column(
            "conditions_source",
            sa.Text(),
            comment="Where PSF, depth and exposures are from: coadd (maps of the brick) or sweep (the galaxy's row); "
            "NULL: none known",
        ),
        schema="imaging",
    )
    op.add_column(
        "cutout",
        sa.Column(
            "is_registered",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="Whether the file was there already and was taken in, instead of made here",
        ),
        schema="imaging",
    )
    for name, rule in RULES.items():
        op.create_check_constraint(op.f(f"ck_cutout_{name}"), "cutout", rule, schema="imaging")
    op.create_table(
        "pixel_source",
        sa.Column(
            "pixel_source_id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Key of the source"
        ),
        sa.Column("kind", sa.Text(), nullable=False, comment="coadd (images of one brick) or service (one answer)"),
        sa.Column("name", sa.Text(), nullable=False, comment="Name of the brick, or of the service's layer"),
        sa.Column("uri", sa.Text(), nullable=False, comment="Folder of the brick's files, or address of the request"),
        sa.Column(
            "version",
            sa.Text(),
            nullable=False,
            comment="One word for the state of all its files; another word when any of them has changed",
        ),
        sa.Column(
            "files",
            postgresql.JSONB(),
            nullable=False,
            comment="Its files: a list of uri, n_bytes, version (ETag, or size and time of change of a local file)",
        ),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that first used it"),
        sa.Column(
            "seen_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was first used",
        ),
        sa.CheckConstraint("kind IN ('coadd', 'service')", name=op.f("ck_pixel_source_kind_known")),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_pixel_source_run_id_run")),
        sa.PrimaryKeyConstraint("pixel_source_id", name=op.f("pk_pixel_source")),
        sa.UniqueConstraint("uri", "version", name=op.f("uq_pixel_source_uri_version")),
        schema="imaging",
        comment="What pixels came from, in the state that it was in: the coadds of one brick, or one answer of the "
        "survey's cutout service.",
    )
    op.create_table(
        "cutout_source",
        sa.Column("cutout_id", sa.BigInteger(), nullable=False, comment="The cutout"),
        sa.Column("pixel_source_id", sa.BigInteger(), nullable=False, comment="What some of its pixels came from"),
        sa.ForeignKeyConstraint(
            ["cutout_id"],
            ["imaging.cutout.cutout_id"],
            name=op.f("fk_cutout_source_cutout_id_cutout"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["pixel_source_id"],
            ["imaging.pixel_source.pixel_source_id"],
            name=op.f("fk_cutout_source_pixel_source_id_pixel_source"),
        ),
        sa.PrimaryKeyConstraint("cutout_id", "pixel_source_id", name=op.f("pk_cutout_source")),
        schema="imaging",
        comment="Which sources the pixels of a cutout came from: several where a neighbouring brick filled its edge.",
    )
    op.create_index(op.f("ix_cutout_source_pixel_source_id"), "cutout_source", ["pixel_source_id"], schema="imaging")


def downgrade() -> None:
    op.drop_table("cutout_source", schema="imaging")
    op.drop_table("pixel_source", schema="imaging")
    for name in RULES:
        op.drop_constraint(f"ck_cutout_{name}", "cutout", schema="imaging")
    for name in ("is_registered", "conditions_source", *(name for name, _, _ in COLUMNS)):
        op.drop_column("cutout", name, schema="imaging")
