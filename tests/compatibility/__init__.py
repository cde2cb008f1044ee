"""Where the monitor runs, and what a user gets there: each a row of the table of docs/where_it_runs.md, each a real training."""
