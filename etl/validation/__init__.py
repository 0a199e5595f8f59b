"""Stage 8: are a draw's cutouts sound, and do the classes differ in anything but arcs.

`unread` says which files to read; `measure` reads them, with `reading`, `quality` and `colours` to find what is wrong
and `border` to describe what is not; `kept` writes both down. `matching` pairs the classes, `adjust` and `auc` compare
them, `shortcuts` audits, `gates` decides, `verdict` holds training to it; `validate` is the stage.
"""

EXIT_NO_GO = 3
"""Exit status of a validation that says NO-GO, on this machine and on a cluster."""
