"""Decide which labels and pairs of labels some embedding can make the most likely ones, with a proof for every answer."""
