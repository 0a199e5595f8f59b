"""What a model finds in the survey's top fraction: the quantile, its objects, and the new candidates among them.

The stage itself is `analysis.discover`.
"""
