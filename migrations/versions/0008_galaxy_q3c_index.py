"""The pool's Q3C index.

From: revision 0007
To: revision 0008
Why: cone searches and cross-matches go through it.
Cost on 114 M galaxies: about 2.5 minutes (20 M rows take 25 s); readers and writers go on
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Alone in its revision: CONCURRENTLY cannot run in a transaction. A build that was interrupted leaves an INVALID index.
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS catalog.ix_galaxy_q3c")
        op.execute("CREATE INDEX CONCURRENTLY ix_galaxy_q3c ON catalog.galaxy (q3c_ang2ipix(ra, dec))")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS catalog.ix_galaxy_q3c")
