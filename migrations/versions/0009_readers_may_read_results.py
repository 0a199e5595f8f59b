"""Readers may read the public views, and nothing else.

From: revision 0008
To: revision 0009
Why: people with psql or a notebook get a login in the role stronglens_reader.
Cost on 114 M galaxies: none
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The role is made once per server by `stronglens db bootstrap`; a migration only uses it.
    op.execute("GRANT USAGE ON SCHEMA results TO stronglens_reader")
    op.execute("GRANT SELECT ON ALL TABLES IN SCHEMA results TO stronglens_reader")
    op.execute("ALTER DEFAULT PRIVILEGES IN SCHEMA results GRANT SELECT ON TABLES TO stronglens_reader")
    op.execute("GRANT SELECT ON public.alembic_version TO stronglens_reader")


def downgrade() -> None:
    op.execute("REVOKE SELECT ON public.alembic_version FROM stronglens_reader")
    op.execute("ALTER DEFAULT PRIVILEGES IN SCHEMA results REVOKE SELECT ON TABLES FROM stronglens_reader")
    op.execute("REVOKE SELECT ON ALL TABLES IN SCHEMA results FROM stronglens_reader")
    op.execute("REVOKE USAGE ON SCHEMA results FROM stronglens_reader")
