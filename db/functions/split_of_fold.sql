-- Split of a coarse HEALPix cell when one fold is held out, by rule: test in that fold; elsewhere train where u < train_below,
-- else val, where u is the first 4 bytes, big-endian, of SHA-256('<cell>_<seed>_val_<fold>') / 2^32.
-- Only the leak check uses it: assignment is done once, in Python, and this is the independent second opinion.
CREATE OR REPLACE FUNCTION sampling.split_of_fold(
    coarse integer, seed integer, n_folds integer, fold integer, train_below double precision
) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN sampling.fold_of_cell(coarse, seed, n_folds) = fold THEN 'test'
    WHEN (
        (
            'x' || left(
                encode(sha256(convert_to(coarse::text || '_' || seed::text || '_val_' || fold::text, 'UTF8')), 'hex'), 8
            )
        )::bit(32)::bigint & 4294967295
    ) / 4294967296.0::double precision < train_below THEN 'train'
    ELSE 'val'
END;
