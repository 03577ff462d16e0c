"""Which commands follow from which faults, word by word."""

import pytest

from sim_harness.live.kernel.rules import (
    classes_gone,
    classes_set,
    cut_table,
    hole_table,
    loss_table,
    queue_rules,
    sides_of,
    uplinks_of,
    uplinks_table,
)
from sim_harness.live.messages import CutSpec, RuleSpec


def test_a_cut_drops_what_goes_between_its_sides_and_counts_what_crosses() -> None:
    assert cut_table("t", [CutSpec(((0, 1), (2,)))], 4).splitlines() == [
        "table ip t {",
        "set cut0 {",
        "type ipv4_addr",
        "elements = { 127.1.0.1, 127.1.0.2, 127.1.0.3 }",
        "}",
        "set cut0_side0 {",
        "type ipv4_addr",
        "elements = { 127.1.0.1, 127.1.0.2 }",
        "}",
        "set cut0_side1 {",
        "type ipv4_addr",
        "elements = { 127.1.0.3 }",
        "}",
        "counter dropped { }",
        "counter crossed { }",
        "chain stop {",
        "type filter hook input priority 0; policy accept;",
        "ip saddr @cut0_side0 ip daddr @cut0 ip daddr != @cut0_side0 counter name dropped drop",
        "ip saddr @cut0_side1 ip daddr @cut0 ip daddr != @cut0_side1 counter name dropped drop",
        "}",
        "chain past {",
        "type filter hook input priority 10; policy accept;",
        "ip saddr @cut0_side0 ip daddr @cut0 ip daddr != @cut0_side0 counter name crossed",
        "ip saddr @cut0_side1 ip daddr @cut0 ip daddr != @cut0_side1 counter name crossed",
        "}",
        "}",
    ]


@pytest.mark.parametrize(
    ("direction", "match"),
    [
        ("out", "ip saddr @cut0_side0 ip daddr @cut0 ip daddr != @cut0_side0"),
        ("in", "ip daddr @cut0_side0 ip saddr @cut0 ip saddr != @cut0_side0"),
    ],
)
def test_a_one_way_cut_looks_at_one_direction(direction: str, match: str) -> None:
    lines = cut_table("t", [CutSpec(((0,), (1,), (2,)), direction)], 3).splitlines()
    assert [line for line in lines if "drop" in line and "ip" in line] == [
        f"{match} counter name dropped drop"
    ]


def test_nodes_that_a_cut_does_not_name_are_elsewhere_or_on_no_side() -> None:
    assert sides_of(CutSpec(((2,),), elsewhere=1), 4) == [[2], [0, 1, 3]]
    assert sides_of(CutSpec(((2,), (0,))), 4) == [[2], [0]]
    assert "127.1.0.2" not in cut_table("t", [CutSpec(((2,), (0,)))], 4)


def test_a_lost_packet_is_drawn_once_though_both_of_its_ends_are_hurt() -> None:
    lines = loss_table("t", RuleSpec((3, 1), loss=0.1)).splitlines()
    assert "elements = { 127.1.0.2, 127.1.0.4 }" in lines
    assert lines[lines.index("chain verdicts {") :] == [
        "chain verdicts {",
        "counter name seen",
        "numgen random mod 1000000 < 100000 counter name dropped drop",
        "}",
        "chain look {",
        "type filter hook input priority 0; policy accept;",
        "ip saddr @hurt goto verdicts",
        "ip daddr @hurt goto verdicts",
        "}",
        "}",
    ]
    assert "daddr" not in loss_table("t", RuleSpec((3,), "out", loss=0.1))
    assert "saddr" not in loss_table("t", RuleSpec((3,), "in", loss=0.1))


def test_a_black_hole_lets_handshakes_pass() -> None:
    lines = hole_table("t", RuleSpec((0,), swallows=True)).splitlines()
    assert [line for line in lines if line.endswith(" drop")] == [
        "tcp flags & psh == psh counter name dropped drop",
        "meta length > 100 counter name dropped drop",
    ]


def test_the_narrowest_rule_has_an_uplink() -> None:
    rules = [
        RuleSpec((0, 1), bytes_per_second=8_000),
        RuleSpec((1, 2), bytes_per_second=2_000_000),
        RuleSpec((3,), loss=0.5),
    ]
    assert uplinks_of(rules) == {0: 8_000, 1: 8_000, 2: 2_000_000}


def test_uplinks_that_changed_are_told_and_no_others() -> None:
    before, after = {0: 8_000, 1: 8_000, 9: 1}, {0: 8_000, 1: 2_000_000}
    assert classes_set(before, after).splitlines() == [
        (
            "class replace dev lo parent 1: classid 1:3 htb rate 16000000bit"
            " burst 40000 cburst 40000 quantum 1514"
        ),
        "qdisc replace dev lo parent 1:3 bfifo limit 2000000",
    ]
    assert classes_gone(before, after) == "class del dev lo classid 1:b\n"
    assert classes_set(after, after) == classes_gone(after, after) == ""


def test_what_a_node_sends_takes_its_own_uplink() -> None:
    clear = ["table ip gigmesh_uplinks", "delete table ip gigmesh_uplinks"]
    assert uplinks_table({1: 5, 0: 7}).splitlines() == [
        *clear,
        "table ip gigmesh_uplinks {",
        "chain send {",
        "type filter hook output priority 0; policy accept;",
        "meta priority set ip saddr map { 127.1.0.1 : 1:2, 127.1.0.2 : 1:3 }",
        "}",
        "}",
    ]
    assert uplinks_table({}).splitlines() == clear


def test_packets_that_a_delay_concerns_go_to_the_queue_once() -> None:
    rules = [RuleSpec((0,), "out", delay_us=1), RuleSpec((0, 1), "in", delay_us=1)]
    assert queue_rules([*rules, rules[0]]).splitlines() == [
        "*mangle",
        ":INPUT ACCEPT [0:0]",
        "-A INPUT -s 127.1.0.1/32 -j NFQUEUE --queue-num 1 --queue-bypass",
        "-A INPUT -d 127.1.0.1/32 -j NFQUEUE --queue-num 1 --queue-bypass",
        "-A INPUT -d 127.1.0.2/32 -j NFQUEUE --queue-num 1 --queue-bypass",
        "COMMIT",
    ]
    assert queue_rules([]).splitlines() == ["*mangle", ":INPUT ACCEPT [0:0]", "COMMIT"]
