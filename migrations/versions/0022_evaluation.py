"""Recall by condition, and what else an evaluation counts.

From: revision 0021
To: revision 0022
Why: (to be written)
Cost on 114 M galaxies: none
"""

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
