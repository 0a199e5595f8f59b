"""Members of a draw are checked as a set, not row by row.

From: revision 0013
To: revision 0014
Why: three foreign keys took a large part of the time in which a draw writes its members; that on the galaxy locked each
    galaxy's row: half a million random reads, and as many pages written. Triggers keep the same promises, in both
    directions, and one more: a member's stratum is one of its draw.
Cost on 114 M galaxies: none: constraints go, triggers come; the way down checks every member (seconds)
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

REFUSE_MIXED_DRAW = """
-- Trigger function: a member belongs to a draw that is there, to a stratum of that draw, and to a galaxy of the pool, of the
-- draw's own survey.
-- It stands in for three foreign keys, which would look for each member by itself. Those on draw and stratum would take a good
-- part of a draw's time; that on the galaxy would lock each galaxy's row: half a million random reads, and as many pages
-- written, at the end of every draw. This looks at all new members at once, and for galaxies in the index alone: the survey is
-- in the key (release 9990 is the mock sky's). The lock keeps galaxies, draws and strata from going at the same moment; see
-- refuse_used_galaxy and refuse_used_by_members.
CREATE OR REPLACE FUNCTION sampling.refuse_mixed_draw() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    stranger record;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1398033751);
    SELECT m.draw_id, m.stratum_id
    INTO stranger
    FROM (SELECT DISTINCT c.draw_id, c.stratum_id FROM changed AS c) AS m
    LEFT JOIN sampling.draw AS d ON d.draw_id = m.draw_id
    LEFT JOIN sampling.stratum AS s ON s.stratum_id = m.stratum_id AND s.draw_id = m.draw_id
    WHERE d.draw_id IS NULL OR (m.stratum_id IS NOT NULL AND s.stratum_id IS NULL)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'draw % with stratum % is not in sampling.stratum', stranger.draw_id, stranger.stratum_id
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    SELECT m.draw_id, m.ls_id
    INTO stranger
    FROM changed AS m
    WHERE m.ls_id IS NOT NULL AND NOT EXISTS (SELECT FROM catalog.galaxy AS g WHERE g.ls_id = m.ls_id)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'draw %: galaxy % is not in catalog.galaxy',
            (SELECT d.name FROM sampling.draw AS d WHERE d.draw_id = stranger.draw_id), stranger.ls_id
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
-- out waits for the draws that are being written, and the other way round. An UPDATE comes here row by row, and only where it
-- changes the key: one of all other columns of the whole pool keeps no row aside.
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
        PERFORM pg_advisory_xact_lock(1398033751);
        SELECT m.ls_id, d.name AS draw_name INTO used
        FROM sampling.draw_member AS m
        JOIN sampling.draw AS d ON d.draw_id = m.draw_id
        WHERE m.ls_id = OLD.ls_id
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

REFUSE_USED_BY_MEMBERS = """
-- Trigger function: a draw or a stratum that has members stays, and keeps its key. The other half of refuse_mixed_draw, whose
-- lock it takes: it waits for members that are being written, and the other way round. `stronglens draw delete` takes the
-- members out first. An UPDATE comes here row by row, and only where it changes a key.
CREATE OR REPLACE FUNCTION sampling.refuse_used_by_members() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    is_used boolean;
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF NOT EXISTS (SELECT FROM gone) THEN
            RETURN NULL;
        END IF;
    END IF;
    PERFORM pg_advisory_xact_lock(1398033751);
    IF TG_OP = 'TRUNCATE' THEN
        is_used := EXISTS (SELECT FROM sampling.draw_member);
    ELSIF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'draw' THEN
        is_used := EXISTS (SELECT FROM gone AS g JOIN sampling.draw_member AS m ON m.draw_id = g.draw_id);
    ELSIF TG_OP = 'DELETE' THEN
        is_used := EXISTS (SELECT FROM gone AS g JOIN sampling.draw_member AS m ON m.stratum_id = g.stratum_id);
    ELSIF TG_TABLE_NAME = 'draw' THEN
        is_used := EXISTS (SELECT FROM sampling.draw_member AS m WHERE m.draw_id = OLD.draw_id);
    ELSE
        is_used := EXISTS (SELECT FROM sampling.draw_member AS m WHERE m.stratum_id = OLD.stratum_id);
    END IF;
    IF is_used THEN
        RAISE EXCEPTION '% of sampling.% is refused: it has members; run `stronglens draw delete`', TG_OP, TG_TABLE_NAME
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
FOR EACH ROW WHEN (OLD.ls_id IS DISTINCT FROM NEW.ls_id) EXECUTE FUNCTION catalog.refuse_used_galaxy();""",
    """CREATE OR REPLACE TRIGGER galaxy_refuse_used_truncate BEFORE TRUNCATE ON catalog.galaxy
FOR EACH STATEMENT EXECUTE FUNCTION catalog.refuse_used_galaxy();""",
    """CREATE OR REPLACE TRIGGER draw_refuse_used_delete AFTER DELETE ON sampling.draw
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_used_by_members();""",
    """CREATE OR REPLACE TRIGGER draw_refuse_used_update AFTER UPDATE ON sampling.draw
FOR EACH ROW WHEN (OLD.draw_id IS DISTINCT FROM NEW.draw_id) EXECUTE FUNCTION sampling.refuse_used_by_members();""",
    """CREATE OR REPLACE TRIGGER draw_refuse_used_truncate BEFORE TRUNCATE ON sampling.draw
FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_used_by_members();""",
    """CREATE OR REPLACE TRIGGER stratum_refuse_used_delete AFTER DELETE ON sampling.stratum
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_used_by_members();""",
    """CREATE OR REPLACE TRIGGER stratum_refuse_used_update AFTER UPDATE ON sampling.stratum
FOR EACH ROW WHEN (OLD.stratum_id IS DISTINCT FROM NEW.stratum_id OR OLD.draw_id IS DISTINCT FROM NEW.draw_id)
EXECUTE FUNCTION sampling.refuse_used_by_members();""",
    """CREATE OR REPLACE TRIGGER stratum_refuse_used_truncate BEFORE TRUNCATE ON sampling.stratum
FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_used_by_members();""",
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

REFERENCES = (
    ("galaxy", "ls_id", "catalog", None),
    ("draw", "draw_id", "sampling", "CASCADE"),
    ("stratum", "stratum_id", "sampling", None),
)


def upgrade() -> None:
    for function in (REFUSE_MIXED_DRAW, REFUSE_USED_GALAXY, REFUSE_USED_BY_MEMBERS):
        op.execute(function)
    for trigger in TRIGGERS:
        op.execute(trigger)
    for table, column, _, _ in REFERENCES:
        op.drop_constraint(f"fk_draw_member_{column}_{table}", "draw_member", schema="sampling")


def downgrade() -> None:
    for table, column, schema, on_delete in REFERENCES:
        op.create_foreign_key(
            f"fk_draw_member_{column}_{table}",
            "draw_member",
            table,
            [column],
            [column],
            source_schema="sampling",
            referent_schema=schema,
            ondelete=on_delete,
        )
    for word in ("delete", "update", "truncate"):
        op.execute(f"DROP TRIGGER galaxy_refuse_used_{word} ON catalog.galaxy")
    for table in ("draw", "stratum"):
        for word in ("delete", "update", "truncate"):
            op.execute(f"DROP TRIGGER {table}_refuse_used_{word} ON sampling.{table}")
    op.execute("DROP FUNCTION catalog.refuse_used_galaxy()")
    op.execute("DROP FUNCTION sampling.refuse_used_by_members()")
    op.execute(OLD_REFUSE_MIXED_DRAW)
