"""Where the monitor runs, and what a user gets there: each a row of the README's table, each a real training."""
