"""What it means for the shop that its database goes back: rows brought back, projections told, stores made to agree.

`preview` shows what differs from an earlier moment, `bring_back` undoes an accident row by row while the shop sells. What
follows when the whole database goes back is in `settle`.
"""

from securecart.ops.recovery.restoring import Tell
from securecart.undo.accident import Accident, Transaction
from securecart.undo.moments import moment_of
from securecart.undo.preview import Preview, TableSeen, preview
from securecart.undo.rows import Ask, Part, Report, bring_back

__all__ = [
    "Accident",
    "Ask",
    "Part",
    "Preview",
    "Report",
    "TableSeen",
    "Tell",
    "Transaction",
    "bring_back",
    "moment_of",
    "preview",
]
