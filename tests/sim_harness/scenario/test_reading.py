"""Scenario files: read whole, or refused in one sentence that names the line."""
# ruff: noqa: E501 - one mistake a line

from pathlib import Path

import pytest

from p2p.primitives.units import Millis
from sim_harness.scenario.overrides import node_parameters_of, parameters_of
from sim_harness.scenario.reading import parse_scenario, read_scenario
from sim_harness.scenario.schema import (
    AdversarySpec,
    Comparison,
    Constant,
    Expect,
    Kill,
    Load,
    Network,
    Partition,
    Scenario,
)
from sim_harness.scenario.sections import ScenarioError
from sim_harness.virtual.cuts import Direction

FILE = Path("dir/story.toml")

WHOLE = """
name = "minority partition heals"
duration = "70s"
[network]
nodes = 12
validators = 7
latency = "20ms"
bandwidth = "10 Mbit/s"
[parameters]
epoch_ms = 5000
propose_timeout_ms = "2s"
flush_ms = 20
membership.peers_max = 16
[load]
consumers = 2
[[fault]]
at = "30s"
kind = "partition"
groups = ["validators[0:2]", "rest"]
direction = "out"
for = "20s"
[[fault]]
kind = "kill"
nodes = "random(2)"
at = "5s"
for = "2s"
every = "10s"
[[adversary]]
kind = "silent"
nodes = 2
[expect]
heights = 12
recovers_within = "20s"
always = ["lag <= 3"]
sometimes = ["caught_up"]
"""


def test_a_whole_file_is_read() -> None:
    scenario = parse_scenario(WHOLE, FILE)
    assert scenario == Scenario(
        name="minority partition heals",
        duration=Millis(70_000),
        network=Network(12, 7, Constant(Millis(20)), bandwidth=10_000_000),
        parameters=(
            ("epoch_ms", 5000),
            ("gossip.flush_ms", 20),
            ("membership.peers_max", 16),
            ("propose_timeout_ms", 2000),
        ),
        load=Load(consumers=2),
        faults=(
            Partition(
                at=Millis(30_000),
                lasts=Millis(20_000),
                groups=("validators[0:2]", "rest"),
                direction=Direction.OUT,
                line=16,
            ),
            Kill(
                at=Millis(5_000),
                lasts=Millis(2_000),
                every=Millis(10_000),
                nodes="random(2)",
                line=22,
            ),
        ),
        adversaries=(AdversarySpec("silent", 2, (), 28),),
        expect=Expect(
            heights=12,
            recovers_within=Millis(20_000),
            always=(Comparison("lag", "<=", 3),),
            sometimes=(Comparison("caught_up"),),
        ),
        directory="dir",
    )
    assert parameters_of(scenario.parameters).propose_timeout_ms == 2_000
    local = node_parameters_of(scenario.parameters)
    assert (local.gossip.flush_ms, local.membership.peers_max) == (20, 16)


def test_without_a_duration_the_faults_have_time_to_pass() -> None:
    text = 'name = "x"\n[[fault]]\nkind = "kill"\nnodes = "all"\nat = "60s"\nfor = "5s"'
    assert parse_scenario(text, FILE).duration == 75_000
    assert parse_scenario('name = "x"', FILE).duration == 20_000


HEAD = 'name = "x"\nduration = "30s"\n[network]\nnodes = 8\nvalidators = 4\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1: name is missing"),
        ("name = 3", "1: name must be text in quotes, not 3"),
        ('name = "x"\nnaem = 1', "2: unknown key 'naem'; did you mean 'name'?"),
        ('name = "x"\n[network]\nnode = 3', "3: unknown key 'node'; did you mean 'nodes'?"),
        ('name = "x"\n[network]\nnodes = 0', "3: nodes must be from 1 to 10000, not 0"),
        ('name = "x"\n\n[netwrok]', "3: unknown key 'netwrok'; did you mean 'network'?"),
        ('name = "x\nb = 1', '1: not valid TOML: Illegal character \'\\n\''),
        ('name = "x"\nname = "y"', "2: not valid TOML: Cannot overwrite a value"),
        ('name = "x"\nduration = "30"', "2: duration: expected a time such as '20s' or '150ms', not '30'"),
        (HEAD + "validators = 9".replace("validators", "jitter"), "6: jitter must be text in quotes, not 9"),
        (HEAD + 'regions = ["Tokio"]', "6: unknown region 'Tokio'; did you mean 'Tokyo'?"),
        (HEAD + 'rtt = "no.txt"', "6: rtt: there is no file dir/no.txt"),
        (HEAD + 'latency = "5ms"\nregions = "aws"', "6: regions and latency both say how far nodes are apart"),
        (HEAD + "[parameters]\nepoch = 5", "7: unknown parameter 'epoch'; did you mean 'epoch_ms'?"),
        (HEAD + "[parameters]\npeers_max = 5", "7: 'peers_max' may be gossip.peers_max or membership.peers_max"),
        (HEAD + "[parameters]\nfee_rate = 10001", "7: fee_rate: must be <= 10000"),
        (HEAD + "[parameters.gossip]\nflush = 5", "7: unknown parameter 'gossip.flush'; did you mean 'gossip.flush_ms'?"),
        (HEAD + '[fault]\nkind = "kill"', "6: write [[fault]]: there may be several"),
        (HEAD + '[[fault]]\nkind = "kil"', "7: unknown kind of fault 'kil'; did you mean 'kill'?"),
        (HEAD + '[[fault]]\nkind = "kill"', "6: nodes is missing"),
        (HEAD + '[[fault]]\nkind = "kill"\nnodes = "all"\nadd = "1s"', "9: unknown key 'add'; known: kind, at, for, every, nodes"),
        (HEAD + '[[fault]]\nnodes = "nodes[8]"\nkind = "kill"', "7: nodes: 'nodes[8]' matches no node; there are 8 nodes"),
        (HEAD + '[[fault]]\nnodes = "rest"\nkind = "kill"', "7: 'rest' belongs into the groups of a partition"),
        (HEAD + '[[fault]]\nkind = "kill"\nnodes = "all"\nat = "31s"', "9: at: the scenario ends after 30s"),
        (HEAD + '[[fault]]\nkind = "kill"\nnodes = "all"\nat = "20s"\nfor = "11s"', "10: for: lasts beyond the scenario's end after 30s"),
        (HEAD + '[[fault]]\nkind = "kill"\nnodes = "all"\nevery = "5s"', "9: every: a fault that comes again has a 'for' that is shorter"),
        (HEAD + '[[fault]]\nkind = "kill"\nnodes = "all"\nat = "-1s"', "9: at must be at least 0 ms"),
        (HEAD + '[[fault]]\nkind = "partition"\ngroups = ["all"]', "8: a partition has at least two groups"),
        (HEAD + '[[fault]]\nkind = "partition"\ngroups = ["all", "nobody"]', "8: groups: 'nobody' is no selector; known: all, nodes, validators, others, consumers, proposer, rest, region:NAME, holders(1)"),
        (HEAD + '[[fault]]\nkind = "loss"\nshare = "95%"', "8: a share of packets to lose is above 0% and up to 90%"),
        (HEAD + '[[fault]]\nkind = "loss"\nshare = "5%"\ndirection = "up"', "9: direction: expected 'both', 'out' or 'in', not 'up'"),
        (HEAD + '[[fault]]\nkind = "clock_skew"\nnodes = "all"', "6: a clock_skew has an offset or a drift"),
        (HEAD + '[[fault]]\nkind = "churn"\nsessions = "poisson"', "8: sessions: neither 'exponential' nor 'weibull', and no file dir/poisson"),
        (HEAD + '[[adversary]]\nkind = "quiet"', None),
        (HEAD + '[[adversary]]\nkind = "silent"\nloud = true', "8: loud: a silent has no option 'loud'; known: none"),
        (HEAD + '[expect]\nalways = ["height > x"]', "7: always: expected a statement such as 'height >= 3', not 'height > x'"),
        (HEAD + '[expect]\nsometimes = ["hight > 1"]', "7: sometimes: unknown quantity 'hight'; did you mean 'height'?"),
        (HEAD + '[expect]\nagreement = 1', "7: agreement must be true or false, not 1"),
    ],
)  # fmt: skip
def test_a_mistake_names_its_line(text: str, why: str | None) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text, FILE)
    if why is None:
        assert str(caught.value).startswith("dir/story.toml:7: kind: unknown adversary 'quiet'")
    else:
        assert str(caught.value) == f"dir/story.toml:{why}"


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        ScenarioError, match=r"^cannot read .*none.toml: No such file or directory$"
    ):
        read_scenario(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1 2\n3", "is not a square of round trips: 2 rows"),
        ("0 x\n1 0", ":1: not a row of milliseconds"),
        ("0 -1\n1 0", ":1: a negative round trip: -1; one that nobody measured is -"),
    ],
)
def test_a_matrix_is_checked_when_the_file_is_read(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "rtt.txt").write_text(text)
    with pytest.raises(ScenarioError) as caught:
        parse_scenario('name = "x"\n[network]\nrtt = "rtt.txt"', tmp_path / "story.toml")
    assert str(caught.value).startswith(f"{tmp_path / 'story.toml'}:3: rtt: ")
    assert str(caught.value).endswith(why)


def test_a_trace_of_sessions_is_checked_when_the_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text("12.5\n# a comment\nsoon\n")
    text = 'name = "x"\n[[fault]]\nkind = "churn"\nsessions = "trace"'
    with pytest.raises(ScenarioError, match=r"trace:3: expected seconds, not 'soon'$"):
        parse_scenario(text, tmp_path / "story.toml")
