"""The folder of a training: what it was, its epochs, its weights, its scores, sealed file by file.

A training is whole in its folder before the database hears of it: it needs none, and one that goes away costs nothing.
"""
