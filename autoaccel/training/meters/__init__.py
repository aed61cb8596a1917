"""Measure the cost of a training, and the share of its budget that is spent."""
