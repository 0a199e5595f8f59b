-- Grain: one quarantined cutout.
-- Inputs: imaging.quarantine, cutout.
-- Units: ra, dec in degrees.
-- Excludes: rejected cutouts, which have no file. A cutout leaves when a later validation finds it sound.
CREATE OR REPLACE VIEW results.quarantine AS
SELECT
    c.cutout_id,
    c.survey,
    c.version,
    c.layer,
    c.lens_id,
    c.ls_id,
    c.ra,
    c.dec,
    c.uri,
    q.reason,
    q.detail,
    q.found_at
FROM imaging.quarantine AS q
JOIN imaging.cutout AS c ON c.cutout_id = q.cutout_id;
