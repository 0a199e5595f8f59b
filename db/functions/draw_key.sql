-- Uniform key of a galaxy under a salt (the seed and the purpose of a draw, hashed): a whole 64-bit number, signed.
-- PostgreSQL's hash of an integer folds its halves into one, so that of a whole ls_id would put many galaxies of one
-- brick's number on one key; here each half, below 2^32, is hashed by itself, the second salted with the first.
-- The hash must not differ between versions of PostgreSQL: a test holds it to golden values and to a reimplementation.
CREATE OR REPLACE FUNCTION sampling.draw_key(ls_id bigint, salt bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN hashint8extended(ls_id & 4294967295, hashint8extended(ls_id >> 32, salt));
