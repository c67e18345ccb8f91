"""One shop in two regions: who takes the writes, and how that is handed over, taken over and given back.

Owns no table. `observe` asks every database node of both regions, its Patroni and its PostgreSQL; the decisions (`to_promote`,
`to_move`, `to_fence`, `to_return`) are pure functions from what was seen to a list of steps, or an error that says what to do
first; `carry_out` does one step and says in a sentence what became of it. No step is taken by itself: that a region is given
up is a person's decision.
"""

from securecart.ops.regions.actions import bring_down, carry_out, compare_databases
from securecart.ops.regions.model import Node, Region, Regions, Step, to_fence, to_move, to_promote, to_return
from securecart.ops.regions.observing import home_of, observe, whole_home

__all__ = [
    "Node",
    "Region",
    "Regions",
    "Step",
    "bring_down",
    "carry_out",
    "compare_databases",
    "home_of",
    "observe",
    "to_fence",
    "to_move",
    "to_promote",
    "to_return",
    "whole_home",
]
