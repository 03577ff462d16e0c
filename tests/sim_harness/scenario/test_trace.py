"""A replay tells what one node saw, and changes nothing."""

from sim_harness.scenario.run import Run
from sim_harness.scenario.trace import Trace
from tests.sim_harness.scenario.worlds import small

STORY = small('kind = "kill"; nodes = "proposer"; at = "4s"; for = "6s"')


def told(node: int, until_ms: int) -> tuple[list[str], str]:
    """The lines of a node, and the digest of the run."""
    run = Run(STORY, 1)
    lines: list[str] = []
    Trace(run.world, run.world.nodes[node], lines.append)
    run.run_until_ms(until_ms)
    return lines, run.world.digest


def test_a_trace_reads_like_the_paper() -> None:
    victim = Run(STORY, 1)
    victim.run_until_ms(4_500)
    dead = victim.faults.records[0].nodes[0]
    lines, _ = told((dead + 1) % 4, 9_000)
    text = "\n".join(lines)
    assert lines[0].endswith("started -> persist 1  # from its disk") or " started" in lines[0]
    for words in (
        "timer chain/height",
        "# Tendermint L24: the proposal is judged",
        "# Tendermint L40: locked",
        "COMMIT 1 ",
        "# Tendermint L51: decide",
        f"lost n{dead:02}: reset",
        " nil by ",
        "# Tendermint L57: propose timeout",
        "enter round 1",
    ):
        assert words in text, words
    assert all(line.startswith("t=") for line in lines)
    assert text.count("PREVOTE 1/0") <= 4  # of each validator once


def test_watching_changes_nothing() -> None:
    run = Run(STORY, 1)
    run.run_until_ms(9_000)
    assert told(0, 9_000)[1] == run.world.digest


def test_the_same_seed_tells_the_same_story() -> None:
    assert told(2, 9_000) == told(2, 9_000)
