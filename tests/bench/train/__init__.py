"""How fast models are trained, scored and evaluated: `make bench-train`."""
