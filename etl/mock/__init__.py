"""A small stand-in survey in DR10's own formats, rendered around real candidate positions.

`plan` chooses patches, `conditions` and `population` say what is there, `scene` renders it, `coadd` and `sweep` write
it, `sky` runs the whole. Everything that comes out is labelled mock: these are not observations.
"""
