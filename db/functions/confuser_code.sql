-- Kind of hard confuser that a galaxy is: 1 ring, 2 edge_on, 3 large, 4 blue_clumpy (the first that fits), 0 none.
-- type_letter is ascii(type), a number, which compares faster than text does; ellipticity2 is the square of Tractor's
-- ellipticity, (1 - q) / (1 + q), which needs no root. Fluxes in nanomaggies, not dereddened; shape_r in arcsec. The limits
-- after them are the rules of a draw: g - r <= limit and r <= limit are written in fluxes.
CREATE OR REPLACE FUNCTION sampling.confuser_code(
    type_letter integer, flux_g real, flux_r real, sersic real, shape_r real, ellipticity2 double precision,
    ring_sersic_min double precision, ring_flux_r_min double precision,
    edge_on_ellipticity_min double precision, edge_on_shape_r_min double precision,
    large_shape_r_min double precision, large_flux_r_min double precision,
    blue_flux_ratio_min double precision, blue_flux_r_min double precision
) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN flux_r >= ring_flux_r_min
        AND (type_letter = ascii('D') OR (type_letter = ascii('S') AND sersic >= ring_sersic_min)) THEN 1
    WHEN shape_r >= edge_on_shape_r_min AND type_letter <> ascii('R')
        AND ellipticity2 >= edge_on_ellipticity_min * edge_on_ellipticity_min THEN 2
    WHEN shape_r >= large_shape_r_min AND flux_r >= large_flux_r_min THEN 3
    WHEN flux_g > 0 AND flux_g >= flux_r * blue_flux_ratio_min AND flux_r >= blue_flux_r_min THEN 4
    ELSE 0
END;
