"""The database cluster as an operator meets it: which node is what, hand over, take over, bring a node back.

The failover itself is Patroni's and needs nobody; on AWS it is RDS's. Here is what a person asks for: `observe` gives one
frozen snapshot, `switchover`, `failover` and `rejoin` decide from it on a list of steps or refuse, and `carry_out` takes
one step after the other, each answering one sentence.
"""

from securecart.ops.cluster.actions import Cluster, carry_out, observe
from securecart.ops.cluster.model import Node, Snapshot, Step, failover, rejoin, switchover

__all__ = ["Cluster", "Node", "Snapshot", "Step", "carry_out", "failover", "observe", "rejoin", "switchover"]
