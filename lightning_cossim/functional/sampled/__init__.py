"""Overlaps in large vocabularies, from the most likely labels of each input and a weighted sample of pairs."""
