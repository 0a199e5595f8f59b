-- Whether a cell of val belongs to the part that scores are calibrated on: u < 1/2, where u is the first 4 bytes, big-endian,
-- of SHA-256('<pixel>_<seed>_calibration') / 2^32. The leak check uses it, and the migration for schemes that were there.
CREATE OR REPLACE FUNCTION sampling.is_calibration_cell(pixel integer, seed integer) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    ('x' || left(encode(sha256(convert_to(pixel::text || '_' || seed::text || '_calibration', 'UTF8')), 'hex'), 8))
        ::bit(32)::bigint & 4294967295
) < 2147483648;
