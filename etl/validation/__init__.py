"""Stage 8: are a draw's cutouts sound, and do the classes differ in anything but arcs.

`measure` reads files, `matching` pairs the classes, `auc` counts, `shortcuts` audits, `gates` decides;
`validate` is the stage.
"""
