"""A Ray cluster of logical nodes on this machine, for tests: `python ray_nodes.py NODES`.

It prints its address, then obeys: a line with the name of a node, or `any`, kills that node. It ends with its input.
"""

import sys

from ray.cluster_utils import Cluster


def main():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = {node.node_id: node for node in [cluster.add_node(num_cpus=1) for _ in range(int(sys.argv[1]))]}
    print(cluster.address, flush=True)
    for line in sys.stdin:
        name = next(iter(nodes)) if line.strip() == "any" else line.strip()
        cluster.remove_node(nodes.pop(name), allow_graceful=False)
        print("killed", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
