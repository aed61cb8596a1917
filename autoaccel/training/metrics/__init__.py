"""The task's loss and metric."""
