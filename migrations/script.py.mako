"""${message}

From: revision ${down_revision | comma,n}
To: revision ${up_revision}
Why:
Cost on 114 M galaxies:

Rules: one intent, and the slug says it. No import of our models: types and SQL are frozen here. A downgrade that cannot
exist raises and says why. An index on a big table is built CONCURRENTLY, alone in its revision, inside
`op.get_context().autocommit_block()`, after dropping an INVALID leftover. Every table and column has a comment.
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
