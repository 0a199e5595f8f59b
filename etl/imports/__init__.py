"""Pools and draws that a group made before, brought in from Parquet manifests without computing them again.

Keys are built anew, all that follows from other columns is derived again and compared, and differences are named.
"""
