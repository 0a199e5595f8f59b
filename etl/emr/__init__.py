"""Stages on an EMR cluster: presets, preflight, one archive of code, one launcher for all jobs.

`launch` sends `request` after `preflight` and `upload`; on the cluster `job` runs the function of the command line.
"""
