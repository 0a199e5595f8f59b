-- Fold of a coarse HEALPix cell by rule: floor(u n_folds), where u is the first 4 bytes, big-endian, of
-- SHA-256('<cell>_<seed>_fold') / 2^32. Only the leak check uses it: folds are assigned once, in Python.
CREATE OR REPLACE FUNCTION sampling.fold_of_cell(coarse integer, seed integer, n_folds integer) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    (
        ('x' || left(encode(sha256(convert_to(coarse::text || '_' || seed::text || '_fold', 'UTF8')), 'hex'), 8))
            ::bit(32)::bigint & 4294967295
    ) * n_folds / 4294967296
)::integer;
