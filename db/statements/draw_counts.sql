-- What the pass found in each cell: eligible galaxies, exactly, and how many of them are kept for the keys of N1 and of N2.
SELECT
    c.cell,
    sum(p.n_galaxies) AS n_eligible,
    count(*) FILTER (WHERE sampling.draw_key(p.ls_id, :salt_n1) <= c.last_key_n1) AS n_kept_n1,
    count(*) FILTER (WHERE sampling.draw_key(p.ls_id, :salt_n2) <= c.last_key_n2) AS n_kept_n2
FROM draw_pass AS p
JOIN json_to_recordset(CAST(:cells AS json)) AS c (cell integer, last_key_n1 bigint, last_key_n2 bigint) ON c.cell = p.cell
GROUP BY c.cell
