"""Event logs, and the first event at which two runs part."""

import json
from pathlib import Path

import msgpack
import pytest
from typer.testing import CliRunner

from sim_harness.cli import app
from sim_harness.explain.log import FORMAT, Entry, LogError, entry_text, logged, read_log
from sim_harness.explain.parting import Source, part, shown
from sim_harness.scenario.run import Run
from tests.sim_harness.scenario.worlds import HEAD, small


def write(path: Path, *events: list[object]) -> str:
    """A log with these events."""
    head = {
        "format": FORMAT,
        "name": "made up",
        "seed": 1,
        "commit": None,
        "python": "3",
        "hash_seed": True,
    }
    path.write_bytes(b"".join(msgpack.packb(one) for one in (head, *events)))
    return str(path)


def test_a_log_holds_every_event_and_changes_nothing(tmp_path: Path) -> None:
    plain, run = Run(small(), 5), Run(small(), 5)
    plain.run_until_ms(4_000)
    path = tmp_path / "it.log"
    with logged(run, path):
        run.run_until_ms(4_000)
    head, entries = read_log(path)
    found = list(entries)
    assert (head.name, head.seed) == ("small", 5)
    assert len(found) == run.world.heap.events
    assert [one.at_us for one in found] == sorted(one.at_us for one in found)
    assert run.world.digest == plain.world.digest


def test_equal_runs_do_not_part(tmp_path: Path) -> None:
    path = tmp_path / "story.toml"
    path.write_text(HEAD)
    parting = part(Source(f"{path}@3"), Source(f"{path}@3"))
    assert parting.is_same
    assert shown(parting) == [f"the runs are the same: {parting.common:,} events"]


def test_the_first_difference_is_found_with_what_was_common(tmp_path: Path) -> None:
    same: list[list[object]] = [[number, "tick", number] for number in range(20)]
    one = write(tmp_path / "a.log", *same, [20, "rpc", 1, 2], [30, "end"])
    other = write(tmp_path / "b.log", *same, [20, "rpc", 1, 3], [31, "end"])
    parting = part(Source(one), Source(other))
    assert parting.common == 20
    assert parting.before[-1] == "t=0.000019s tick 19"
    assert len(parting.before) == 8
    assert parting.first == ("t=0.000020s rpc 1 2", "t=0.000030s end")
    assert parting.second == ("t=0.000020s rpc 1 3", "t=0.000031s end")
    assert "  A t=0.000020s rpc 1 2" in shown(parting)


def test_a_run_that_ends_sooner_parts_there(tmp_path: Path) -> None:
    one = write(tmp_path / "a.log", [1, "tick"])
    other = write(tmp_path / "b.log", [1, "tick"], [2, "tock"])
    parting = part(Source(one), Source(other))
    assert (parting.common, parting.first, parting.second) == (1, (), ("t=0.000002s tock",))
    assert "  A has ended" in shown(parting)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93abc", msgpack.packb({"format": "x"})])
def test_what_is_no_log_is_a_sentence(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "it.log"
    path.write_bytes(data)
    with pytest.raises(LogError, match="is no event log"):
        read_log(path)


def test_events_read_like_sentences() -> None:
    entry = Entry(4_170_312, "rpc", (3, 0, 120, b"\x3f\x2a\x00\xff\x01", b"in words"))
    assert entry_text(entry) == "t=4.170312s rpc 3 0 120 3f2a00ff in words"


def test_a_run_is_compared_with_its_own_log_and_with_another_seed(tmp_path: Path) -> None:
    story, log = tmp_path / "story.toml", tmp_path / "it.log"
    story.write_text(HEAD)
    run = CliRunner().invoke(app, ["run", str(story), "--seed", "2", "--log", str(log)])
    assert run.exit_code == 0, run.output
    same = CliRunner().invoke(app, ["diff", f"{story}@2", str(log)])
    assert (same.exit_code, same.stdout[:17]) == (0, "the runs are the ")
    other = CliRunner().invoke(app, ["diff", f"{story}@3", str(log), "--json"])
    assert other.exit_code == 1
    assert json.loads(other.stdout)["heads"][0]["seed"] == 3
    missing = CliRunner().invoke(app, ["diff", str(story), str(tmp_path / "no.log")])
    assert missing.exit_code == 2
    assert missing.stderr.startswith("sim-harness: cannot read ")
