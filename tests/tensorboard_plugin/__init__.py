"""TensorBoard's tab: what is written for it, served, and seen."""
