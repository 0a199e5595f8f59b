"""What a model is asked about beside its own manifest, and how its answers are written down.

The stage itself is `training.score`.
"""
