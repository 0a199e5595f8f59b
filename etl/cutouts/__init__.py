"""Stage 7 and the pixels of stage 8: which cutouts a draw needs, where their pixels come from, what a file holds.

`targets` asks the database, `coadd` and `service` give pixels, `brick` judges and writes, `record` keeps the rows, and
`make` is the stage. `register` takes in what exists already; `files` is the npz layout, `metrics` measures.
"""
