"""Write reports to loggers. This file imports nothing: the TensorBoard tab imports `wire` and must not load torch."""
