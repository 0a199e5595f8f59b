"""Spatial-holdout folds.

From: revision 0023
To: revision 0024
Why: (to be written)
Cost on 114 M galaxies: none
"""

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
