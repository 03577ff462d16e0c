"""Scenarios: what a network is, what goes wrong with it and what must hold, in one TOML file.

As a library: `read_scenario(path)`, `parse_scenario(text, path)`, `draw_scenario(seed)` and
`write_scenario(scenario)`; `run_scenario(scenario, seed)` gives the whole `Result`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sim_harness.scenario.reading import parse_scenario, read_scenario
    from sim_harness.scenario.results import Result
    from sim_harness.scenario.run import Run, run_scenario
    from sim_harness.scenario.schema import Scenario
    from sim_harness.scenario.writing import write_scenario
    from sim_harness.swarm.draw import draw_scenario

__all__ = [
    "Result",
    "Run",
    "Scenario",
    "draw_scenario",
    "parse_scenario",
    "read_scenario",
    "run_scenario",
    "write_scenario",
]

_PLACES: Final = {
    "Result": "sim_harness.scenario.results",
    "Run": "sim_harness.scenario.run",
    "Scenario": "sim_harness.scenario.schema",
    "draw_scenario": "sim_harness.swarm.draw",
    "parse_scenario": "sim_harness.scenario.reading",
    "read_scenario": "sim_harness.scenario.reading",
    "run_scenario": "sim_harness.scenario.run",
    "write_scenario": "sim_harness.scenario.writing",
}


def __getattr__(name: str) -> object:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'sim_harness.scenario' has no attribute {name!r}")
