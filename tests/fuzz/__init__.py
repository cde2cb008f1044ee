"""Damaged files, arguments and states: each is tried in a child process with limits. `python -m tests.fuzz KIND` tries more."""
