"""What a user sets, from Python or YAML, and the checks of it."""
