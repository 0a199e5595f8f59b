"""What the scores mean: operating points, intervals and the tables that people read.

Python computes here what SQL cannot and writes it to rows; the views of `results` publish them.
"""
