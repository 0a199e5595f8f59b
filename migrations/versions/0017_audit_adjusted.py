"""The shortcut audit keeps what it judged by.

From: revision 0016
To: revision 0017
Why: matched objects still differ by so much in a feature that shortcuts of some ten per cent drown: the noise of an
    image is judged by what regression on brightness, shape and conditions leaves of it. The row says which, and keeps
    that AUC of every feature.
Cost on 114 M galaxies: none: a few dozen rows a draw
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

TABLE = "imaging.shortcut_feature"

COMMENTS = {
    f"TABLE {TABLE}": (
        "Shortcut audit: how well one feature (or one classifier) alone separates the classes, raw and matched on r magnitude, type, PSF and depth. AUC folded as max(AUC, 1 - AUC).",
        "Shortcut audit: how well one feature (or one classifier) alone separates the classes, raw, matched on r magnitude, type, PSF and depth, and adjusted besides. AUC folded as max(AUC, 1 - AUC).",
    ),
    f"COLUMN {TABLE}.auc_lo": (
        "2.5 % of auc_matched, bootstrap by sky cell",
        "2.5 % of the AUC judged by, bootstrap by sky cell",
    ),
    f"COLUMN {TABLE}.auc_hi": (
        "97.5 % of auc_matched, bootstrap by sky cell",
        "97.5 % of the AUC judged by, bootstrap by sky cell",
    ),
}

OLD_VIEW = """-- Grain: one feature, or one classifier, of the audit of one draw's cutouts.
-- Inputs: imaging.shortcut_feature; sampling.draw.
-- Units: AUC folded as max(AUC, 1 - AUC); interval by bootstrap over sky cells, 95 %.
-- Excludes: nothing. is_fault: red where lensing itself is no excuse.
CREATE OR REPLACE VIEW results.shortcut_audit AS
SELECT
    d.draw_id,
    d.name AS draw_name,
    d.survey,
    f.version,
    f.feature,
    f.kind,
    f.is_expected_physics,
    f.n_positives,
    f.n_negatives,
    f.n_matched_positives,
    f.auc_raw,
    f.auc_matched,
    f.auc_lo,
    f.auc_hi,
    'bootstrap by sky cell'::text AS interval_method,
    f.verdict,
    (f.verdict = 'red' AND NOT f.is_expected_physics) AS is_fault
FROM imaging.shortcut_feature AS f
JOIN sampling.draw AS d ON d.draw_id = f.draw_id;
"""

VIEW = """-- Grain: one feature, or one classifier, of the audit of one draw's cutouts.
-- Inputs: imaging.shortcut_feature; sampling.draw.
-- Units: AUC folded as max(AUC, 1 - AUC); interval by bootstrap over sky cells, 95 %, of the AUC that judged_by names.
-- Excludes: nothing. is_fault: red where lensing itself is no excuse.
CREATE OR REPLACE VIEW results.shortcut_audit AS
SELECT
    d.draw_id,
    d.name AS draw_name,
    d.survey,
    f.version,
    f.feature,
    f.kind,
    f.is_expected_physics,
    f.n_positives,
    f.n_negatives,
    f.n_matched_positives,
    f.auc_raw,
    f.auc_matched,
    f.auc_lo,
    f.auc_hi,
    'bootstrap by sky cell'::text AS interval_method,
    f.verdict,
    (f.verdict = 'red' AND NOT f.is_expected_physics) AS is_fault,
    f.auc_adjusted,
    f.judged_by
FROM imaging.shortcut_feature AS f
JOIN sampling.draw AS d ON d.draw_id = f.draw_id;
"""


def upgrade() -> None:
    op.add_column(
        "shortcut_feature",
        sa.Column(
            "auc_adjusted",
            sa.Double(),
            nullable=True,
            comment="Folded AUC of what matched objects have left of the feature after regression on brightness, shape "
            "and conditions; NULL for classifiers and where too few remain",
        ),
        schema="imaging",
    )
    op.add_column(
        "shortcut_feature",
        sa.Column("judged_by", sa.Text(), nullable=True, comment="Which AUC the interval and the verdict are of"),
        schema="imaging",
    )
    # What was judged before was the matched AUC, or the raw one where too few positives could be matched.
    op.execute(
        "UPDATE imaging.shortcut_feature "
        "SET judged_by = CASE WHEN auc_matched IS NULL THEN 'raw' ELSE 'matched' END"
    )
    op.alter_column("shortcut_feature", "judged_by", nullable=False, schema="imaging")
    op.create_check_constraint(
        op.f("ck_shortcut_feature_auc_adjusted_range"),
        "shortcut_feature",
        "auc_adjusted IS NULL OR (auc_adjusted >= 0 AND auc_adjusted <= 1)",
        schema="imaging",
    )
    op.create_check_constraint(
        op.f("ck_shortcut_feature_judged_by_known"),
        "shortcut_feature",
        "judged_by IN ('raw', 'matched', 'adjusted')",
        schema="imaging",
    )
    for what, (_, after) in COMMENTS.items():
        _comment(what, after)
    op.execute(VIEW)
    _comment("VIEW results.shortcut_audit", _header(VIEW))


def downgrade() -> None:
    op.execute("DROP VIEW results.shortcut_audit")
    op.execute(OLD_VIEW)
    _comment("VIEW results.shortcut_audit", _header(OLD_VIEW))
    for what, (before, _) in COMMENTS.items():
        _comment(what, before)
    op.drop_column("shortcut_feature", "judged_by", schema="imaging")
    op.drop_column("shortcut_feature", "auc_adjusted", schema="imaging")


def _comment(what: str, comment: str) -> None:
    quoted = comment.replace("'", "''")
    op.execute(f"COMMENT ON {what} IS '{quoted}'")


def _header(view: str) -> str:
    return " ".join(line[2:].strip() for line in view.splitlines() if line.startswith("--"))
