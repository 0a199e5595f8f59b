"""Packs: the cutouts of a manifest in a few large files.

From: revision 0017
To: revision 0018
Why: half a million small files feed no GPU. A pack holds a manifest's pixels in a few memory-mappable files; these two
    tables say which packs there are, of which manifest, and where their files lie.
Cost on 114 M galaxies: none, two empty tables. The way down forgets the packs; their files stay in the store, and
    packing again writes the same ones
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pack",
        sa.Column("pack_id", sa.Integer(), sa.Identity(always=True), nullable=False, comment="Key of the pack"),
        sa.Column("draw_id", sa.Integer(), nullable=False, comment="The draw"),
        sa.Column("scheme_id", sa.Integer(), nullable=False, comment="The split scheme"),
        sa.Column("version", sa.Text(), nullable=False, comment="Version of the cutout set"),
        sa.Column("manifest_sha256", sa.Text(), nullable=False, comment="SHA-256 of the manifest's sorted cutout ids, splits and file hashes, hexadecimal, as in training.model"),
        sa.Column("bands", sa.Text(), nullable=False, comment="Bands in the order of the last axis: grz"),
        sa.Column("crop_px", sa.Integer(), nullable=False, comment="Pixels along each side; the object's pixel is crop_px / 2, rounded down"),
        sa.Column("dtype", sa.Text(), nullable=False, comment="Type of a pixel, little-endian: float16 or float32"),
        sa.Column("axis_order", sa.Text(), nullable=False, comment="What the axes of a shard count, slowest first: cutout,y,x,band"),
        sa.Column("format", sa.Text(), nullable=False, comment="File format of the shards: npy (numpy's, version 1.0)"),
        sa.Column("n_cutouts", sa.Integer(), nullable=False, comment="Cutouts in all shards"),
        sa.Column("shard_rows", sa.Integer(), nullable=False, comment="Cutouts in every shard but the last, which may hold fewer"),
        sa.Column("status", sa.Text(), nullable=False, comment="writing (interrupted: pack again, it goes on) or complete"),
        sa.Column("index_uri", sa.Text(), nullable=True, comment="Address of the Parquet file with cutout_id and sha256 of every row; NULL until complete"),
        sa.Column("index_sha256", sa.Text(), nullable=True, comment="SHA-256 of that file, hexadecimal; NULL until complete"),
        sa.Column("index_n_bytes", sa.BigInteger(), nullable=True, comment="Size of that file in bytes; NULL until complete"),
        sa.Column("run_id", sa.BigInteger(), nullable=False, comment="The run that began it"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False, comment="When it was begun"),
        sa.CheckConstraint("dtype IN ('float16', 'float32')", name=op.f("ck_pack_dtype_known")),
        sa.CheckConstraint("status IN ('writing', 'complete')", name=op.f("ck_pack_status_known")),
        sa.CheckConstraint("manifest_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_pack_manifest_sha256_hex")),
        sa.CheckConstraint("n_cutouts > 0 AND crop_px > 0 AND shard_rows > 0", name=op.f("ck_pack_sizes_positive")),
        sa.CheckConstraint(
            "(status = 'complete') = (index_uri IS NOT NULL) AND (index_uri IS NULL) = (index_sha256 IS NULL) "
            "AND (index_uri IS NULL) = (index_n_bytes IS NULL)",
            name=op.f("ck_pack_index_when_complete"),
        ),
        sa.ForeignKeyConstraint(["draw_id"], ["sampling.draw.draw_id"], name=op.f("fk_pack_draw_id_draw"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["scheme_id"], ["sampling.split_scheme.scheme_id"], name=op.f("fk_pack_scheme_id_split_scheme"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["run_id"], ["provenance.run.run_id"], name=op.f("fk_pack_run_id_run")),
        sa.PrimaryKeyConstraint("pack_id", name=op.f("pk_pack")),
        sa.UniqueConstraint("draw_id", "scheme_id", "version", "manifest_sha256", "crop_px", "dtype", name="uq_pack_manifest_layout"),
        schema="imaging",
        comment="The cutouts of one manifest in a few large memory-mappable files (shards): pixels in nanomaggies, cropped about the centre, in the manifest's order (by cutout_id). A manifest that changed gets another pack.",
    )
    op.create_table(
        "pack_shard",
        sa.Column("pack_id", sa.Integer(), nullable=False, comment="The pack"),
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False, comment="Number of the shard, from 0"),
        sa.Column("uri", sa.Text(), nullable=False, comment="Address of the file"),
        sa.Column("sha256", sa.Text(), nullable=False, comment="SHA-256 of the file, hexadecimal"),
        sa.Column("n_bytes", sa.BigInteger(), nullable=False, comment="Size of the file in bytes"),
        sa.Column("first_row", sa.Integer(), nullable=False, comment="Row of the manifest that is its first, from 0"),
        sa.Column("n_rows", sa.Integer(), nullable=False, comment="Rows in it"),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_pack_shard_sha256_hex")),
        sa.CheckConstraint("shard >= 0 AND first_row >= 0 AND n_rows > 0 AND n_bytes > 0", name=op.f("ck_pack_shard_sizes_positive")),
        sa.ForeignKeyConstraint(["pack_id"], ["imaging.pack.pack_id"], name=op.f("fk_pack_shard_pack_id_pack"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("pack_id", "shard", name=op.f("pk_pack_shard")),
        sa.UniqueConstraint("uri", name=op.f("uq_pack_shard_uri")),
        schema="imaging",
        comment="One file of a pack: consecutive rows of the manifest.",
    )


def downgrade() -> None:
    op.drop_table("pack_shard", schema="imaging")
    op.drop_table("pack", schema="imaging")
