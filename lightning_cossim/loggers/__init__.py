"""From a report to loggers. Nothing is imported here: the TensorBoard tab reads `wire` and must not load torch."""
