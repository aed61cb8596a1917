"""What a training costs, and how far its budget is spent."""
