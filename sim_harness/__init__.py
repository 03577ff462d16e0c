"""Launch networks of nodes, live or in virtual time, and break them on purpose.

As a library: `from sim_harness import World, scenario`. What is named here is imported when it is
first used, so that `import sim_harness` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sim_harness import scenario
    from sim_harness.virtual.world import World

__all__ = ["World", "scenario"]

_PLACES: Final = {"World": "sim_harness.virtual.world"}


def __getattr__(name: str) -> object:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    if name == "scenario":
        return import_module("sim_harness.scenario")
    raise AttributeError(f"module 'sim_harness' has no attribute {name!r}")
