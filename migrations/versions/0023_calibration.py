"""Calibration, reliability, purity.

From: revision 0022
To: revision 0023
Why: (to be written)
Cost on 114 M galaxies: none
"""

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
