"""Small scenarios, written in the words of files."""

from pathlib import Path

from sim_harness.scenario.reading import parse_scenario
from sim_harness.scenario.run import Run
from sim_harness.scenario.schema import Scenario

HEAD = """
name = "small"
duration = "20s"
[network]
nodes = 5
validators = 4
latency = "20ms"
jitter = "0ms"
[parameters]
epoch_ms = 1000
propose_timeout_ms = 1000
prevote_timeout_ms = 500
precommit_timeout_ms = 500
"""


def small(*faults: str, expect: str = "", head: str = HEAD) -> Scenario:
    """A scenario with faults given as lines `kind = ...; at = ...`."""
    sections = ["[[fault]]\n" + fault.replace("; ", "\n") for fault in faults]
    text = "\n".join([head, *sections, f"[expect]\n{expect}" if expect else ""])
    return parse_scenario(text, Path("small.toml"))


def run_to(scenario: Scenario, until_s: float, *, seed: int = 1) -> Run:
    """A run that stands still at a moment."""
    run = Run(scenario, seed)
    run.run_until_ms(int(until_s * 1_000))
    return run
