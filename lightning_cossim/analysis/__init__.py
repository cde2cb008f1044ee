"""Reports without a training: read a checkpoint, analyze it, compare two, write what was found."""
