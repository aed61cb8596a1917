"""Executors, which run trials in processes forked from a warm fork server, in this process, or in a simulation.

Executors carry out requests and return events; they do not interpret metrics.
"""
