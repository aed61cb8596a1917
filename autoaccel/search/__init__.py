"""The search: decides which recipe to train, with which budget, and when to stop.

It is a state machine that takes events and the time and returns actions. It does no I/O, and it uses no torch,
processes, files or clock.
"""
