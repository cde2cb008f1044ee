"""Overlap of many labels: the most likely labels of each input, and a weighted sample of pairs."""
