"""Techniques of efficient training, by the survey's families.

Of autoaccel, a technique's file imports `techniques.base`, `catalog` and `schedules` only, so that an exported
training script can take a copy of it along.
"""
