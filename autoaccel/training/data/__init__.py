"""The user's task, and its samples on their way to a batch."""
