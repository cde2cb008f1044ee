"""Find the head of a model, observe it, and collect windows of inputs."""
