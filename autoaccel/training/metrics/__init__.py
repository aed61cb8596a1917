"""The loss and the metric."""
