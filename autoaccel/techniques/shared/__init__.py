"""Code shared by several techniques."""
