"""The Lightning part of the package. This file imports nothing, so plain loops can use its modules without Lightning."""
