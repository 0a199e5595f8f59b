"""Ensembles and how models agree.

From: revision 0020
To: revision 0021
Why: (to be written)
Cost on 114 M galaxies: none
"""

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
