"""The HTML report. It reads the store's values only, so it works on a run that was killed."""
