"""Meters for the cost of a training, and its progress: the share of its budget that is spent."""
