"""Pools and draws that exist already.

From: revision 0012
To: revision 0013
Why: an earlier pool's manifest lacks columns that a sweep has, and an earlier draw may not say how likely each galaxy
    was to be drawn, nor out of how many. What is missing is NULL, and only where a row says that it was imported.
Cost on 114 M galaxies: one scan of catalog.galaxy to validate its new rule, 1 to 2 minutes during which loads and
    searches go on; the new column has a constant default, so no row is rewritten, and rows written from now on are 8
    bytes longer (0.9 GB if all are)
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

MAY_LACK = (
    "flux_i", "flux_w1", "flux_ivar_g", "flux_ivar_r", "flux_ivar_z", "mw_transmission_g", "mw_transmission_r",
    "mw_transmission_z", "nobs_g", "nobs_r", "psf_fwhm_g_arcsec", "psf_fwhm_r_arcsec", "psf_fwhm_z_arcsec",
    "psfdepth_g", "psfdepth_r", "psfdepth_z", "galdepth_g", "galdepth_r", "galdepth_z", "ebv_mag", "maskbits",
    "fitbits", "shape_r_arcsec", "shape_e1", "shape_e2", "sersic",
)  # fmt: skip
NOT_KNOWN = ("n_eligible_n1", "n_eligible_n2", "n_target_n1", "n_target_n2")

FLUXES = "Fluxes in nanomaggies, not dereddened; mag = 22.5 - 2.5 log10(flux)."
ELIGIBLE_N2 = "Hard confusers eligible for N2: of this type, and the EXP ones of the nobs bin assigned here by hash"
PROBABILITY = "Probability that the draw takes this galaxy, by whichever pool; 1/it weights back to the survey"
UNLESS_IMPORTED = ". NULL for positives and mined negatives, and where an imported draw does not say (a trigger asks all others for it)"
COMMENTS = {
    "TABLE catalog.galaxy": (
        f"The pool: one Tractor source per row, from the sweeps. {FLUXES}",
        f"The pool: one Tractor source per row, from the sweeps or from an earlier pool's manifest. {FLUXES}",
    ),
    "COLUMN catalog.sweep_file.n_not_selected": (
        "Rows outside the pool's selection (type, magnitude)",
        "Rows outside the pool's selection (type, magnitude); of an import, rows in the catalog before it",
    ),
    "COLUMN sampling.draw.seed": (
        "Seed of the draw keys",
        "Seed of the draw keys; NULL of an imported draw: not known",
    ),
    "COLUMN sampling.stratum.n_eligible_n1": (
        "Galaxies eligible for N1: of this type, after N2 was drawn",
        "Galaxies eligible for N1: of this type, after N2 was drawn; NULL of an imported draw: not known",
    ),
    "COLUMN sampling.stratum.n_eligible_n2": (
        ELIGIBLE_N2,
        f"{ELIGIBLE_N2}; NULL of an imported draw",
    ),
    "COLUMN sampling.stratum.n_target_n1": (
        "N1 negatives wanted",
        "N1 negatives wanted; NULL of an imported draw: not known",
    ),
    "COLUMN sampling.stratum.n_target_n2": ("N2 negatives wanted", "N2 negatives wanted; NULL of an imported draw"),
    "COLUMN sampling.draw_member.inclusion_probability": (
        PROBABILITY,
        PROBABILITY + UNLESS_IMPORTED,
    ),
}
"""What carries each comment: before, after."""

REFUSE_UNKNOWN = """-- Trigger function: only an imported draw, or a mined negative, may leave open how likely a negative was to be drawn.
CREATE OR REPLACE FUNCTION sampling.refuse_unknown_probability() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    unknown record;
BEGIN
    SELECT d.name AS draw_name, m.ls_id
    INTO unknown
    FROM changed AS m
    JOIN sampling.draw AS d ON d.draw_id = m.draw_id
    WHERE m.label = 0 AND m.inclusion_probability IS NULL AND NOT d.is_imported AND m.category IS DISTINCT FROM 'mined'
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'draw %: negative % has no inclusion probability: every draw but an imported one knows it',
            unknown.draw_name, unknown.ls_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;
"""

TRIGGERS = (
    """CREATE OR REPLACE TRIGGER draw_member_refuse_unknown_insert AFTER INSERT ON sampling.draw_member
REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_unknown_probability();
""",
    """CREATE OR REPLACE TRIGGER draw_member_refuse_unknown_update AFTER UPDATE ON sampling.draw_member
REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_unknown_probability();
""",
)


def upgrade() -> None:
    # Validating the new rule of the pool commits what was done before it: an upgrade that is interrupted there comes
    # here again and finds it done.
    op.execute(
        "ALTER TABLE catalog.sweep_file ADD COLUMN IF NOT EXISTS kind text NOT NULL DEFAULT 'sweep', "
        "ADD COLUMN IF NOT EXISTS differences jsonb, DROP CONSTRAINT IF EXISTS ck_sweep_file_kind_known, "
        "ADD CONSTRAINT ck_sweep_file_kind_known CHECK (kind IN ('sweep', 'import'))"
    )
    op.execute("COMMENT ON COLUMN catalog.sweep_file.kind IS 'sweep; import: the Parquet manifest of an earlier pool'")
    op.execute(
        "COMMENT ON COLUMN catalog.sweep_file.differences IS 'Import: by column, values compared and values that "
        "differ from what we have or derive; NULL of a sweep'"
    )
    _let_imported_draws_not_know()
    # The pool last: from here to the end of the transaction nobody else reads it.
    _let_imports_lack_columns()
    for what, (_, after) in COMMENTS.items():
        _comment(what, after)
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE catalog.galaxy VALIDATE CONSTRAINT ck_galaxy_complete_unless_imported")


def _let_imports_lack_columns() -> None:
    op.execute(
        "ALTER TABLE catalog.galaxy ADD COLUMN IF NOT EXISTS is_imported boolean NOT NULL DEFAULT false, "
        "DROP CONSTRAINT IF EXISTS ck_galaxy_complete_unless_imported, "
        + "".join(f"ALTER COLUMN {name} DROP NOT NULL, " for name in MAY_LACK)
        + f"ADD CONSTRAINT ck_galaxy_complete_unless_imported "
        f"CHECK (is_imported OR num_nulls({', '.join(MAY_LACK)}) = 0) NOT VALID"
    )
    op.execute(
        "COMMENT ON COLUMN catalog.galaxy.is_imported IS 'Whether it came from an earlier pool''s manifest, which may "
        "lack columns (NULL), not from a sweep'"
    )


def _let_imported_draws_not_know() -> None:
    op.execute(
        "ALTER TABLE sampling.draw ADD COLUMN IF NOT EXISTS is_imported boolean NOT NULL DEFAULT false, "
        "ADD COLUMN IF NOT EXISTS differences jsonb, ALTER COLUMN seed DROP NOT NULL"
    )
    op.execute(
        "COMMENT ON COLUMN sampling.draw.differences IS 'Import: by column, values compared and values that differ from "
        "what we have or derive; NULL where it was drawn here'"
    )
    op.execute(
        "COMMENT ON COLUMN sampling.draw.is_imported IS "
        "'Whether it was brought in from an earlier manifest instead of drawn here'"
    )
    for name in NOT_KNOWN:
        op.execute(f"ALTER TABLE sampling.stratum ALTER COLUMN {name} DROP NOT NULL")
    op.execute(
        "ALTER TABLE sampling.draw_member DROP CONSTRAINT ck_draw_member_probability_when_negative, "
        "ADD CONSTRAINT ck_draw_member_probability_when_negative "
        "CHECK (inclusion_probability IS NULL OR (label = 0 AND category IS DISTINCT FROM 'mined'))"
    )
    op.execute(REFUSE_UNKNOWN)
    for trigger in TRIGGERS:
        op.execute(trigger)


def downgrade() -> None:
    op.execute(
        """DO $$
BEGIN
    IF EXISTS (SELECT FROM catalog.sweep_file WHERE kind = 'import')
        OR EXISTS (SELECT FROM sampling.draw WHERE is_imported)
    THEN
        RAISE EXCEPTION 'revision 0012 has no place for imported pools and draws: delete them first, or stay at 0013';
    END IF;
END
$$"""
    )
    for what, (before, _) in COMMENTS.items():
        _comment(what, before)
    op.execute("DROP TRIGGER draw_member_refuse_unknown_insert ON sampling.draw_member")
    op.execute("DROP TRIGGER draw_member_refuse_unknown_update ON sampling.draw_member")
    op.execute("DROP FUNCTION sampling.refuse_unknown_probability()")
    op.execute(
        "ALTER TABLE sampling.draw_member DROP CONSTRAINT ck_draw_member_probability_when_negative, "
        "ADD CONSTRAINT ck_draw_member_probability_when_negative "
        "CHECK ((inclusion_probability IS NULL) = (label = 1 OR category IS NOT DISTINCT FROM 'mined'))"
    )
    for name in NOT_KNOWN:
        op.execute(f"ALTER TABLE sampling.stratum ALTER COLUMN {name} SET NOT NULL")
    op.execute(
        "ALTER TABLE sampling.draw DROP COLUMN is_imported, DROP COLUMN differences, ALTER COLUMN seed SET NOT NULL"
    )
    op.execute(
        "ALTER TABLE catalog.galaxy DROP CONSTRAINT ck_galaxy_complete_unless_imported, DROP COLUMN is_imported, "
        + ", ".join(f"ALTER COLUMN {name} SET NOT NULL" for name in MAY_LACK)
    )
    op.execute("ALTER TABLE catalog.sweep_file DROP COLUMN kind, DROP COLUMN differences")


def _comment(what: str, comment: str) -> None:
    quoted = comment.replace("'", "''")
    op.execute(f"COMMENT ON {what} IS '{quoted}'")
