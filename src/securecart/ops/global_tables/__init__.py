"""Global tables for engines that have none: what is written in one region's DynamoDB is soon in the other's.

The semantics are those of AWS's multi-region eventual consistency: of two writes to one item the later one wins in both
regions, by time and then by region. `replicate` runs the replicator, `compare` and `copy` look at whole tables, `ask` and
`caught_up` tell how the running replicator stands.
"""

from securecart.ops.global_tables.running import compare_urls, copy_urls, replicate
from securecart.ops.global_tables.standing import Standing, Way, ask, caught_up
from securecart.ops.global_tables.whole import Difference
from securecart.stores.dynamodb.items import Table

__all__ = ["Difference", "Standing", "Table", "Way", "ask", "caught_up", "compare_urls", "copy_urls", "replicate"]
