"""The views of a run: the terminal display and the HTML report."""
