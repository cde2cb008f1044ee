"""Which labels, and which pairs of labels, any input can make the most likely ones, with a proof for every answer."""
