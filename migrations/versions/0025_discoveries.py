"""Held-out lenses and discoveries.

From: revision 0024
To: revision 0025
Why: (to be written)
Cost on 114 M galaxies: none
"""

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
