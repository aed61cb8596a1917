"""A Ray cluster of logical nodes on this machine, for tests: `python nodes.py NODES CPUS`.

It prints its address, then obeys: a line with the name of a node, or `any`, kills that node. It ends with its input.
"""

import sys
from contextlib import ExitStack
from tempfile import TemporaryDirectory

from ray.cluster_utils import Cluster


def main():
    with ExitStack() as folders:
        serve(lambda: folders.enter_context(TemporaryDirectory(ignore_cleanup_errors=True)))


def serve(new_folder):
    """Start the nodes, each with a folder of its own, as on machines of their own: it unpacks what is sent there."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    count, cpus = map(int, sys.argv[1:])
    added = [cluster.add_node(num_cpus=cpus, temp_dir=new_folder()) for _ in range(count)]
    nodes = {node.node_id: node for node in added}
    print(cluster.address, flush=True)
    for line in sys.stdin:
        name = next(iter(nodes)) if line.strip() == "any" else line.strip()
        cluster.remove_node(nodes.pop(name), allow_graceful=False)
        print("killed", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
