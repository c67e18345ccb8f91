"""What a person does about a region, with everything that the shop's rooms have to do about it too.

Owns no table. `promote`, `move`, `fence` and `rejoin` carry out what `securecart.ops.regions` decides, step by step, and then
bring in order what follows from the event log: carts that the lost region sold are emptied, the histories of a region that
comes back are written anew. `lost_captures` finds money that was taken for orders which were lost with a region, and
`give_back` returns it. `securecart region` and the region drill share all of it.
"""

from securecart.regions.actions import Captured, Equality, compare, fence, give_back, lost_captures, move, promote, rejoin

__all__ = ["Captured", "Equality", "compare", "fence", "give_back", "lost_captures", "move", "promote", "rejoin"]
