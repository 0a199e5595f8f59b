-- Bin of the number of z exposures that defines a stratum: 1-2, 3-5, 6-10, 11+; NULL where there is none.
CREATE OR REPLACE FUNCTION sampling.nobs_z_bin(nobs_z smallint) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN nobs_z BETWEEN 1 AND 2 THEN '1-2'
    WHEN nobs_z BETWEEN 3 AND 5 THEN '3-5'
    WHEN nobs_z BETWEEN 6 AND 10 THEN '6-10'
    WHEN nobs_z >= 11 THEN '11+'
END;
