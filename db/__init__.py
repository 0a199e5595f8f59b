"""The schema of the catalog and the only door to it.

Engine and embedded server, SQLAlchemy models, Arrow COPY, the sky (Q3C), and the SQL of every published view.
This package imports nothing else of the project.
"""
