"""Packs: the cutouts of a manifest in a few large files.

From: revision 0017
To: revision 0018
"""

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
