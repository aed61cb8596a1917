"""Which recipe, with which budget, and when to stop: a state machine that does no input or output.

Events and the time go in, actions come out. It sees no torch, no process, no file and no clock.
"""
