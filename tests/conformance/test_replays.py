"""The replays themselves: a true trace passes, and one false word in it is found.

The traces here are our own; those of others stay outside the tree (`python -m tests.conformance`).
"""

import copy
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.__main__ import main
from tests.conformance.blame import replay_accountability
from tests.conformance.kinds import UNKNOWN, kind_of, replay_line
from tests.conformance.replays import (
    Trace,
    merged,
    replay_driver,
    replay_round_machine,
    replay_system_node,
    replay_vote_keeper,
)

NONE = [-1, None]
FOUR = {"v1": 1, "v2": 1, "v3": 1, "v4": 1}


def state(step: str, locked: list[Any] = NONE, round_: int = 0) -> Trace:
    return {"round": round_, "step": step, "locked": locked, "valid": locked}


def ballot(kind: str, src: str, value: str | None, round_: int = 0) -> Trace:
    return {"t": "vote", "kind": kind, "src": src, "round": round_, "value": value}


def out(kind: str, value: str | None) -> Trace:
    return {"t": "vote", "kind": kind, "round": 0, "value": value}


def event(input_: Any, outputs: Any, post: Trace) -> Trace:
    return {"in": input_, "out": outputs, "post": post}


PROPOSAL = {"t": "proposal", "round": 0, "value": "A", "pol": -1}
TIMEOUT = {"t": "timeout", "kind": "propose", "round": 0}
DECIDE = {"t": "decide", "round": 0, "value": "A"}
LOCKED = [0, "A"]

DRIVER: Trace = {
    "id": "ours",
    "me": "v2",
    "weights": FOUR,
    "tags": [],
    "strict": True,
    "events": [
        event({"t": "start"}, [{"t": "get_value", "round": 0}, TIMEOUT], state("propose")),
        event({"t": "propose_value", "value": "A"}, [PROPOSAL], state("propose")),
        event({**PROPOSAL, "src": "v2"}, [out("prevote", "A")], state("prevote")),
        event(ballot("prevote", "v2", "A"), [], state("prevote")),
        event(ballot("prevote", "v3", "A"), [], state("prevote")),
        event(ballot("prevote", "v4", "A"), [out("precommit", "A")], state("precommit", LOCKED)),
        event(ballot("precommit", "v2", "A"), [], state("precommit", LOCKED)),
        event(ballot("precommit", "v3", "A"), [], state("precommit", LOCKED)),
        event(TIMEOUT, [], state("precommit", LOCKED)),
        event(ballot("precommit", "v4", "A"), [DECIDE], state("commit", LOCKED)),
    ],
}
SYSTEM_NODE: Trace = {
    "me": "v1",
    "height": 1,
    "weights": FOUR,
    "in": [
        ballot("precommit", "v4", None),
        {"t": "start"},
        {**PROPOSAL, "src": "v2"},
        ballot("prevote", "v1", "A"),
        {"t": "certificate", "votes": [ballot("precommit", v, "A") for v in ("v2", "v3", "v4")]},
    ],
    "sent": [out("prevote", "A"), DECIDE],
    "final": state("commit"),
    "strict": True,
}
ROUND_MACHINE: Trace = {
    "id": "ours",
    "me": "v1",
    "height": 1,
    "events": [
        event(["PolkaNil", None], {"t": "ignored"}, state("no", round_=-1)),
        event(["NewRound", 0], TIMEOUT, state("propose")),
        event(["Proposal", [0, "A"]], out("prevote", "A"), state("prevote")),
        event(
            ["ProposalAndPolkaAndValid", "A"],
            out("precommit", "A"),
            state("precommit", LOCKED),
        ),
        event(
            ["ProposalAndPolkaAndValid", "A"],
            {"t": "none"},
            state("precommit", LOCKED),
        ),
        event(["RoundSkip", 3], {"t": "skip", "round": 3}, state("unstarted", LOCKED)),
        event(
            ["NewRoundProposer", 3],
            {"t": "proposal", "round": 3, "value": "A", "pol": 0},
            state("propose", LOCKED, 3),
        ),
        event(
            ["ProposalAndCommitAndValid", [0, "A"]],
            DECIDE,
            state("commit", LOCKED, 3),
        ),
    ],
}
OTHERS: Trace = {
    "id": "ours",
    "me": "v1",
    "height": 1,
    "events": [
        event(
            ["NewRoundProposer", 0],
            {"t": "get_value", "round": 0},
            state("propose"),
        )
    ],
}


def counted(vote: Trace, crossed: list[Any], evidence: list[Any]) -> Trace:
    return {"vote": vote, "current_round": 0, "out": crossed, "evidence": evidence}


GUILT = ["prevote", "v1", 0]
VOTE_KEEPER: Trace = {
    "id": "ours",
    "weights": FOUR,
    "events": [
        counted(ballot("prevote", "v1", "A"), ["No", None], []),
        counted(ballot("prevote", "v1", "B"), ["No", None], [GUILT]),
        counted(ballot("prevote", "v2", "A"), ["No", None], [GUILT]),
        counted(ballot("prevote", "v3", "A"), ["PolkaValue", [0, "A"]], [GUILT]),
        counted(ballot("prevote", "v4", None), ["PolkaAny", 0], [GUILT]),
        counted(ballot("prevote", "v4", None, 2), ["No", None], [GUILT]),
        counted(ballot("precommit", "v3", None, 2), ["Skip", 2], [GUILT]),
    ],
}


def ballots(round_: int, value: str | None, pol: int, *names: str) -> list[Trace]:
    common = {"height": 0, "round": round_, "value": value, "valid_round": pol}
    return [{"src": name, **common} for name in names]


ACCOUNTABILITY: Trace = {
    "id": "ours",
    "events": [
        {
            "weights": FOUR,
            "cert1": {"kind": "polka", "votes": ballots(3, "A", -1, "v1", "v2", "v3")},
            "cert2": {"kind": "polka", "votes": ballots(3, "B", -1, "v4", "v3", "v2")},
            "double_prevote": ["v2", "v3"],
            "amnesia": [],
        },
        {
            "weights": FOUR,
            "cert1": {"kind": "commit", "votes": ballots(1, "A", -1, "v1", "v2", "v3")},
            "cert2": {"kind": "polka", "votes": ballots(3, "B", 0, "v4", "v3", "v2")},
            "double_prevote": [],
            "amnesia": ["v3", "v2"],
        },
        {
            "weights": FOUR,
            "cert1": {"kind": "commit", "votes": ballots(1, "A", -1, "v1", "v2", "v3")},
            "cert2": {"kind": "polka", "votes": ballots(3, "B", 2, "v4", "v3", "v2")},
            "double_prevote": [],
            "amnesia": [],
        },
        {
            "weights": FOUR,
            "cert1": {
                "kind": "commit",
                "votes": ballots(1, "A", -1, "v1", "v2") + ballots(1, "C", -1, "v3"),
            },
            "cert2": {"kind": "polka", "votes": ballots(3, "B", 0, "v4", "v3", "v2")},
            "double_prevote": [],
            "amnesia": [],
        },
    ],
}
ALL = [
    (ACCOUNTABILITY, replay_accountability, "accountability"),
    (DRIVER, replay_driver, "driver"),
    (SYSTEM_NODE, replay_system_node, "system_nodes"),
    (ROUND_MACHINE, replay_round_machine, "consensus"),
    (OTHERS, replay_round_machine, "consensus"),
    (VOTE_KEEPER, replay_vote_keeper, "votekeeper"),
]


@pytest.mark.parametrize(("trace", "replay", "level"), ALL)
def test_a_true_trace_passes_as_its_kind(
    trace: Trace, replay: Callable[[Trace], None], level: str
) -> None:
    replay(trace)
    assert kind_of(trace) == level


def falsified(trace: Trace, path: list[Any], value: Any) -> Trace:
    changed = copy.deepcopy(trace)
    place: Any = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("trace", "replay"),
    [
        (falsified(DRIVER, ["events", 2, "out", 0, "value"], None), replay_driver),
        (falsified(DRIVER, ["events", 5, "post", "locked"], NONE), replay_driver),
        (falsified(DRIVER, ["events", 9, "out"], []), replay_driver),
        (falsified(SYSTEM_NODE, ["sent", 0, "value"], "B"), replay_system_node),
        (falsified(SYSTEM_NODE, ["final", "step"], "prevote"), replay_system_node),
        (falsified(ROUND_MACHINE, ["events", 2, "out", "kind"], "precommit"), replay_round_machine),
        (falsified(ROUND_MACHINE, ["events", 5, "post", "round"], 3), replay_round_machine),
        (falsified(DRIVER, ["events", 5, "post", "valid"], NONE), replay_driver),
        (falsified(DRIVER, ["events", 6, "out"], [DECIDE]), replay_driver),
        (falsified(ACCOUNTABILITY, ["events", 0, "double_prevote"], ["v2"]), replay_accountability),
        (falsified(ACCOUNTABILITY, ["events", 2, "amnesia"], ["v3"]), replay_accountability),
        (falsified(VOTE_KEEPER, ["events", 3, "out"], ["PolkaAny", 0]), replay_vote_keeper),
        (falsified(VOTE_KEEPER, ["events", 1, "evidence"], []), replay_vote_keeper),
    ],
)
def test_one_false_word_is_found(trace: Trace, replay: Callable[[Trace], None]) -> None:
    with pytest.raises(AssertionError):
        replay(trace)


def test_an_ambiguous_trace_is_held_to_safety_alone() -> None:
    replay_driver(falsified(DRIVER, ["strict"], False))
    replay_system_node(falsified(SYSTEM_NODE, ["strict"], False) | {"sent": []})


def test_a_run_cut_short_shows_a_beginning_of_what_we_send() -> None:
    replay_system_node({**SYSTEM_NODE, "sent": SYSTEM_NODE["sent"][:1], "final": None})


def test_own_messages_that_come_back_join_the_event_that_sent_them() -> None:
    groups = merged(DRIVER["events"], "v2", DRIVER["weights"])
    assert groups is not None
    assert [len(moment.outputs) for moment in groups] == [2, 2, 0, 1, 0, 0, 1]


def test_own_messages_that_come_back_late_are_not_merged() -> None:
    events = copy.deepcopy(DRIVER["events"])
    events[3], events[4] = events[4], events[3]
    assert merged(events, "v2", DRIVER["weights"]) is None
    replay_driver({**DRIVER, "events": events})


def test_a_timeout_that_the_trace_does_not_schedule_is_found() -> None:
    events = copy.deepcopy(DRIVER["events"][:5])
    events.append(event(ballot("prevote", "v4", "B"), [], state("prevote")))
    with pytest.raises(AssertionError, match="timeouts"):
        replay_driver({**DRIVER, "events": events})
    events[-1]["out"] = [{"t": "timeout", "kind": "prevote", "round": 0}]
    replay_driver({**DRIVER, "events": events})


def test_tags_and_strictness_may_be_missing_and_unknown_fields_say_nothing() -> None:
    bare = {key: value for key, value in DRIVER.items() if key not in {"tags", "strict", "id"}}
    replay_driver({**bare, "tags": ["never heard of"], "seed": 7})
    replay_driver(bare)


def test_a_node_that_never_starts_says_nothing() -> None:
    replay_system_node({**SYSTEM_NODE, "in": SYSTEM_NODE["in"][:1], "sent": [], "final": None})


@pytest.mark.parametrize("trace", [{}, {"events": []}, {"events": [1]}, {"events": [{}]}, 7, None])
def test_what_is_no_known_trace_is_unknown_and_fails(trace: Any) -> None:
    assert kind_of(trace) == UNKNOWN
    assert replay_line(json.dumps(trace)) == (UNKNOWN, "no known kind of trace")


def test_a_broken_line_fails_alone() -> None:
    kind, difference = replay_line("{")
    assert kind == UNKNOWN
    assert difference is not None
    assert replay_line(json.dumps({"in": [{"t": "dance"}], "sent": [], "weights": FOUR}))[1]


def write(folder: Path, *traces: Trace, name: str = "any name.jsonl.gz") -> None:
    text = "\n".join(json.dumps(trace) for trace in traces) + "\n\n"
    data = text.encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)


def test_the_command_counts_by_kind_and_fails_with_a_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, DRIVER, VOTE_KEEPER)
    (tmp_path / "below").mkdir()
    write(tmp_path / "below", ACCOUNTABILITY, DRIVER, name="driver.jsonl")
    (tmp_path / "README.md").write_text("no trace")
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "accountability: 1 passed, 0 failed",
        "driver: 2 passed, 0 failed",
        "votekeeper: 1 passed, 0 failed",
        "4 passed, 0 failed",
    ]
    write(tmp_path, DRIVER, falsified(VOTE_KEEPER, ["events", 0, "out"], ["Skip", 1]))
    assert main([str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "3 passed, 1 failed"
    assert printed.err.startswith("votekeeper any name.jsonl.gz:2: ours AssertionError")


def test_a_file_that_cannot_be_unpacked_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, DRIVER)
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b"x" * 99)[:20])
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 1 failed"


def test_a_folder_without_traces_is_a_failure(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 1


def test_no_folder_is_wrong_usage(tmp_path: Path) -> None:
    for arguments in ([], [str(tmp_path / "nowhere")]):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 2
