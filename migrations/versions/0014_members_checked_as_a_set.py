"""Members of a draw are checked against the pool as a set, not row by row.

From: revision 0013
To: revision 0014
Why: the foreign key looked up and locked the row of each galaxy; half a million random reads, and as many pages written,
    at the end of every draw. Triggers keep the same promise in both directions.
Cost on 114 M galaxies: none: a constraint goes, triggers come; the way down checks every member (seconds)
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

REFUSE_MIXED_DRAW = """
-- Trigger function: a draw takes galaxies that are in the pool, and of its own survey only.
-- It stands in for a foreign key, which would look up and lock each galaxy's row by itself: half a million random reads, and
-- as many pages written, at the end of every draw. This looks at the keys of all new members at once, in the index alone: the
-- survey is in the key (release 9990 is the mock sky's). The lock keeps galaxies from going at the same moment; see
-- refuse_used_galaxy.
CREATE OR REPLACE FUNCTION sampling.refuse_mixed_draw() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    stranger record;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1398033751);
    SELECT d.name AS draw_name, m.ls_id
    INTO stranger
    FROM changed AS m
    JOIN sampling.draw AS d ON d.draw_id = m.draw_id
    WHERE m.ls_id IS NOT NULL AND NOT EXISTS (SELECT FROM catalog.galaxy AS g WHERE g.ls_id = m.ls_id)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'draw %: galaxy % is not in catalog.galaxy', stranger.draw_name, stranger.ls_id
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    SELECT d.name AS draw_name, d.survey AS draw_survey, m.ls_id
    INTO stranger
    FROM changed AS m
    JOIN sampling.draw AS d ON d.draw_id = m.draw_id
    WHERE ((m.ls_id >> 40) = 9990) <> (d.survey = 'mock')
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'draw % is of survey %, galaxy % is not: a draw never mixes surveys',
            stranger.draw_name, stranger.draw_survey, stranger.ls_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;
"""

REFUSE_USED_GALAXY = """
-- Trigger function: a galaxy that a draw holds stays in the pool. The other half of refuse_mixed_draw: whoever takes galaxies
-- out waits for the draws that are being written, and the other way round.
CREATE OR REPLACE FUNCTION catalog.refuse_used_galaxy() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    used record;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM pg_advisory_xact_lock(1398033751);
        SELECT m.ls_id, d.name AS draw_name INTO used
        FROM sampling.draw_member AS m JOIN sampling.draw AS d ON d.draw_id = m.draw_id
        WHERE m.ls_id IS NOT NULL
        LIMIT 1;
    ELSIF TG_OP = 'DELETE' THEN
        IF NOT EXISTS (SELECT FROM gone) THEN
            RETURN NULL;
        END IF;
        PERFORM pg_advisory_xact_lock(1398033751);
        SELECT m.ls_id, d.name AS draw_name INTO used
        FROM gone AS g
        JOIN sampling.draw_member AS m ON m.ls_id = g.ls_id
        JOIN sampling.draw AS d ON d.draw_id = m.draw_id
        LIMIT 1;
    ELSE
        IF NOT EXISTS (SELECT g.ls_id FROM gone AS g EXCEPT SELECT c.ls_id FROM come AS c) THEN
            RETURN NULL;
        END IF;
        PERFORM pg_advisory_xact_lock(1398033751);
        SELECT m.ls_id, d.name AS draw_name INTO used
        FROM (SELECT g.ls_id FROM gone AS g EXCEPT SELECT c.ls_id FROM come AS c) AS changed
        JOIN sampling.draw_member AS m ON m.ls_id = changed.ls_id
        JOIN sampling.draw AS d ON d.draw_id = m.draw_id
        LIMIT 1;
    END IF;
    IF FOUND THEN
        RAISE EXCEPTION 'galaxy % is held by draw %: it stays in the pool', used.ls_id, used.draw_name
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END
$$;
"""

TRIGGERS = (
    """CREATE OR REPLACE TRIGGER galaxy_refuse_used_delete AFTER DELETE ON catalog.galaxy
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION catalog.refuse_used_galaxy();""",
    """CREATE OR REPLACE TRIGGER galaxy_refuse_used_update AFTER UPDATE ON catalog.galaxy
REFERENCING OLD TABLE AS gone NEW TABLE AS come FOR EACH STATEMENT EXECUTE FUNCTION catalog.refuse_used_galaxy();""",
    """CREATE OR REPLACE TRIGGER galaxy_refuse_used_truncate BEFORE TRUNCATE ON catalog.galaxy
FOR EACH STATEMENT EXECUTE FUNCTION catalog.refuse_used_galaxy();""",
)

OLD_REFUSE_MIXED_DRAW = """
-- Trigger function: a draw takes galaxies of its own survey only.
CREATE OR REPLACE FUNCTION sampling.refuse_mixed_draw() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    stranger record;
BEGIN
    SELECT d.name AS draw_name, d.survey AS draw_survey, g.ls_id, g.survey AS galaxy_survey
    INTO stranger
    FROM changed AS m
    JOIN sampling.draw AS d ON d.draw_id = m.draw_id
    JOIN catalog.galaxy AS g ON g.ls_id = m.ls_id
    WHERE g.survey <> d.survey
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'draw % is of survey %, galaxy % of survey %: a draw never mixes surveys',
            stranger.draw_name, stranger.draw_survey, stranger.ls_id, stranger.galaxy_survey
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;
"""


def upgrade() -> None:
    op.execute(REFUSE_MIXED_DRAW)
    op.execute(REFUSE_USED_GALAXY)
    for trigger in TRIGGERS:
        op.execute(trigger)
    op.drop_constraint("fk_draw_member_ls_id_galaxy", "draw_member", schema="sampling")


def downgrade() -> None:
    op.create_foreign_key(
        "fk_draw_member_ls_id_galaxy",
        "draw_member",
        "galaxy",
        ["ls_id"],
        ["ls_id"],
        source_schema="sampling",
        referent_schema="catalog",
    )
    for word in ("delete", "update", "truncate"):
        op.execute(f"DROP TRIGGER galaxy_refuse_used_{word} ON catalog.galaxy")
    op.execute("DROP FUNCTION catalog.refuse_used_galaxy()")
    op.execute(OLD_REFUSE_MIXED_DRAW)
