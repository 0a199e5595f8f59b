"""Stage 7 and the pixels of stage 8: which cutouts a draw needs, how bricks are sliced, what a file holds.

`targets` asks the database, `coadd` reads bricks, `files` is the npz layout, `metrics` measures, `make` is the stage.
"""
