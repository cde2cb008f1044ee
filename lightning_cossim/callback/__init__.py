"""The Lightning shell. Nothing is imported here, so that a plain loop can use its parts without Lightning."""
