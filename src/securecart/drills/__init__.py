"""Drills: put a real shop under load, break something in it on purpose, and check its promises afterwards.

Owns no table. The crash drill (`crash`) runs a whole shop from a home of its own (`own_shop`), lets shoppers buy through
the HTTP door (`crowd`), kills one of its processes at a random moment (`kills`), and holds the databases against what
the shoppers were told (`securecart.promises`). What shoppers and `readers` of pages got is noted on a `timeline`.
"""

from securecart.drills.crash import drill_crash
from securecart.drills.kills import KINDS
from securecart.drills.model import CrashPlan, Round, Verdict
from securecart.drills.own_shop import own_shop

__all__ = ["KINDS", "CrashPlan", "Round", "Verdict", "drill_crash", "own_shop"]
