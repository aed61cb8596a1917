"""Trials as processes of this machine, forked from a warm server."""
