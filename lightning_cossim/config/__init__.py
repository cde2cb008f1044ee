"""The settings that users write in Python or YAML, and the checks of their values."""
