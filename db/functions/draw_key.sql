-- Uniform key in [0, 1) of a galaxy under a seed and a purpose: the first 4 bytes, big-endian, of
-- SHA-256('<ls_id>_<seed>_<purpose>') / 2^32. Independent of the PostgreSQL version and of the order of rows.
CREATE OR REPLACE FUNCTION sampling.draw_key(ls_id bigint, seed integer, purpose text) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    ('x' || left(encode(sha256(convert_to(ls_id::text || '_' || seed::text || '_' || purpose, 'UTF8')), 'hex'), 8))
        ::bit(32)::bigint & 4294967295
) / 4294967296.0::double precision;
