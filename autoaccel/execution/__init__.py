"""Where trials run: processes forked from a warm fork server, this process, or a simulation.

Executors emit events and obey requests; what a metric means is none of their business.
"""
