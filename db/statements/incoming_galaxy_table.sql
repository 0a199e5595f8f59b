-- The galaxies of a file that is loaded anew, for the length of its transaction.
CREATE TEMPORARY TABLE incoming_galaxy (LIKE catalog.galaxy INCLUDING DEFAULTS) ON COMMIT DROP
