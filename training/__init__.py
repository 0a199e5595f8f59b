"""From a SQL manifest to a checkpoint and its scores.

Manifest, dataset, preprocessing, augmentation, model, training loop, scoring; recipes in `configs/`.
"""
