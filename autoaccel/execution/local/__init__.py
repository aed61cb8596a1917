"""Trials as processes on this machine, forked from a warm server."""
