"""Published results.

From: revision 0025
To: revision 0026
Why: (to be written)
Cost on 114 M galaxies: none
"""

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
