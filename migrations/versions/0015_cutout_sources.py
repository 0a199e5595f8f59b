"""Where the pixels of a cutout came from, and the conditions at its place.

From: revision 0014
To: revision 0015
"""

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
