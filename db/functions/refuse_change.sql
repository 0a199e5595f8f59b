-- Trigger function: refuses any change of the rows of a table whose rows are history.
CREATE OR REPLACE FUNCTION provenance.refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of %.% is refused: a configuration that ran is never edited; run with a new one',
        TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;
