"""The local engines: real servers as child processes, one file each with the same three verbs.

`start` begins the process, `wait_until_ready` returns once it answers, `stop` ends it properly. The supervisor
runs them in order, brings back one that dies, and takes them down together. Everything they keep is in one home
folder, and everything listens on loopback only.
"""

from securecart.engines.home import Home, RunningEngine, kind_of
from securecart.engines.observe import EngineStatus, HomeStatus, observe
from securecart.engines.process import address_of
from securecart.engines.supervisor import Step, Supervisor, plan, shop_processes, stop_running, stores, supervisor_of

__all__ = [
    "EngineStatus",
    "Home",
    "HomeStatus",
    "RunningEngine",
    "Step",
    "Supervisor",
    "address_of",
    "kind_of",
    "observe",
    "plan",
    "shop_processes",
    "stop_running",
    "stores",
    "supervisor_of",
]
