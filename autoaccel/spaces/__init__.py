"""Search spaces: which recipes may be proposed."""
