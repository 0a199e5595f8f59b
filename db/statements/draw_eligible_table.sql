-- The galaxies that a draw may take, for the length of its transaction.
CREATE TEMPORARY TABLE draw_eligible (
    ls_id bigint PRIMARY KEY,
    nobs_z_bin text NOT NULL,
    type text NOT NULL,
    is_exp boolean NOT NULL,
    category text,
    ra double precision NOT NULL,
    dec double precision NOT NULL,
    healpix_128 integer NOT NULL,
    key_n1 double precision NOT NULL,
    key_n2 double precision NOT NULL
) ON COMMIT DROP
