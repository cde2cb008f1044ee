"""Reports without a training run: read checkpoints, analyze one, compare two, and write the results to files."""
