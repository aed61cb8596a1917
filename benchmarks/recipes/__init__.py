"""Comparisons on real trainings."""
