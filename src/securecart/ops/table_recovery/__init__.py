"""DynamoDB tables at an earlier moment: kept by snapshots and a journal, or by AWS itself; recovered whole or by item.

It knows nothing of shops: tables, keys, moments. `keep` is the archiver's part; `from_archive` and `from_table` give a table as
it was: `restore` makes a new table of it, `compare` and `carry_out` bring the live one to it, `look` and `put_back` one item.
"""

from securecart.ops.table_recovery.holdings import folders, survey
from securecart.ops.table_recovery.in_place import Comparison, Done, carry_out, compare
from securecart.ops.table_recovery.keeping import Plan, Source, keep
from securecart.ops.table_recovery.model import Holdings, folder_of, gaps, windows
from securecart.ops.table_recovery.native import keep_on_aws, restore_natively, window_of
from securecart.ops.table_recovery.one import OneItem, key_from, look, put_back
from securecart.ops.table_recovery.past import FromArchive, FromTable, Past, from_archive, from_table
from securecart.ops.table_recovery.restoring import Restored, restore

__all__ = [
    "Comparison",
    "Done",
    "FromArchive",
    "FromTable",
    "Holdings",
    "OneItem",
    "Past",
    "Plan",
    "Restored",
    "Source",
    "carry_out",
    "compare",
    "folder_of",
    "folders",
    "from_archive",
    "from_table",
    "gaps",
    "keep",
    "keep_on_aws",
    "key_from",
    "look",
    "put_back",
    "restore",
    "restore_natively",
    "survey",
    "window_of",
    "windows",
]
