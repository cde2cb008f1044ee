"""From a model to numbers: find its head, observe it, collect a window of inputs."""
