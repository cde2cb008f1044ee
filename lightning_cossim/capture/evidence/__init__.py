"""Keep the inputs behind the numbers of pairs of labels: where they come from, what they look like, and which ones matter."""
