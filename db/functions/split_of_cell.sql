-- Split of a HEALPix cell by rule: u = first 4 bytes, big-endian, of SHA-256('<pixel>_<seed>') / 2^32.
-- Only the leak check uses it: assignment is done once, in Python, and this is the independent second opinion.
CREATE OR REPLACE FUNCTION sampling.split_of_cell(
    pixel integer, seed integer, train_below double precision, val_below double precision
) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT CASE WHEN h.u < train_below THEN 'train' WHEN h.u < val_below THEN 'val' ELSE 'test' END
    FROM (
        SELECT (
            ('x' || left(encode(sha256(convert_to(pixel::text || '_' || seed::text, 'UTF8')), 'hex'), 8))
                ::bit(32)::bigint & 4294967295
        ) / 4294967296.0::double precision AS u
    ) AS h
);
