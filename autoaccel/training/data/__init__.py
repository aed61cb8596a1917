"""The user's task, and the loading of its samples into batches."""
