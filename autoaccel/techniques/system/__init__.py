"""What it runs on: precision, memory layout, where the data lies."""
