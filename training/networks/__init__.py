"""The networks that a recipe can name.

Each takes images of shape (n, 3, h, w), bands g, r, z, and answers with one logit each, shape (n, 1). The last thing
that happens in every one of them is a linear layer, whose input is the image's embedding.
"""
