"""The schema's history: one revision an intent, frozen once released.

Revisions never import our models, and the SQL of views and functions is frozen inside them.
"""
