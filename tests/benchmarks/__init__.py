"""What it costs, measured side by side and by hand."""
