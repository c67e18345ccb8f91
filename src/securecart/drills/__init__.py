"""Drills: put a real shop under load, break something in it on purpose, and check its promises afterwards.

Owns no table. The crash drill (`crash`) runs a whole shop from a home of its own (`own_shop`), lets shoppers buy through
the HTTP door (`crowd`), kills one of its processes at a random moment (`kills`), and holds the databases against what
the shoppers were told (`securecart.promises`). The failover drill (`failover`) does one of its `deeds` to the node that
leads; what shoppers and `readers` of pages got is noted on a `timeline` and drawn as a `chart`, and a `witness` of its own
asks the nodes who leads. The dependency drill (`dependency`) kills the cache, DynamoDB or a web process and lets it stay away
for a while.
The region drill (`region`) kills the region that takes the writes, or has it hand over, with
shoppers in both regions; `holders` are those whose sessions and carts are looked for afterwards.
The undelete drill (`undelete`) makes an operator's mistake, one of the `mishaps`, and has the very command that an operator would
run bring back what it took; `copies` of the rows and what shoppers are `shown` tell whether just that came back.
"""

from securecart.drills.chart import draw_svg, draw_text
from securecart.drills.crash import drill_crash
from securecart.drills.deeds import MODES, Mode
from securecart.drills.dependency import HELPERS, DependencyPlan, DependencyVerdict, Helper, drill_dependency
from securecart.drills.failover import FailoverPlan, FailoverVerdict, drill_failover
from securecart.drills.kills import KINDS
from securecart.drills.model import CrashPlan, Round, Verdict
from securecart.drills.own_shop import own_shop
from securecart.drills.region import drill_region
from securecart.drills.region_model import RegionPlan, RegionVerdict
from securecart.drills.summary import Figure, runs_in, summarise
from securecart.drills.undelete import drill_undelete
from securecart.drills.undelete_model import FORMS, UndeletePlan, UndeleteVerdict, Undone

__all__ = [
    "FORMS",
    "HELPERS",
    "KINDS",
    "MODES",
    "CrashPlan",
    "DependencyPlan",
    "DependencyVerdict",
    "FailoverPlan",
    "FailoverVerdict",
    "Figure",
    "Helper",
    "Mode",
    "RegionPlan",
    "RegionVerdict",
    "Round",
    "UndeletePlan",
    "UndeleteVerdict",
    "Undone",
    "Verdict",
    "draw_svg",
    "draw_text",
    "drill_crash",
    "drill_dependency",
    "drill_failover",
    "drill_region",
    "drill_undelete",
    "own_shop",
    "runs_in",
    "summarise",
]
