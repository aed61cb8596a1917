"""What people see of a run: the terminal, the HTML page."""
