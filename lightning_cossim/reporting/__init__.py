"""From a GapReport to the loggers."""
