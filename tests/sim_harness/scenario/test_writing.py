"""A scenario that was written reads back the same."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.primitives.units import Millis
from sim_harness.scenario import schema
from sim_harness.scenario.reading import parse_scenario, read_scenario
from sim_harness.scenario.schema import Fault, Scenario
from sim_harness.scenario.writing import write_scenario
from sim_harness.virtual.cuts import Direction
from sim_harness.virtual.regions import REGIONS

FILE = Path("dir/story.toml")
EXAMPLES = sorted(Path("examples/scenarios").glob("*.toml"))


def _bare(scenario: Scenario) -> Scenario:
    """Without the lines, which writing may move."""
    faults = tuple(msgspec.structs.replace(one, line=0) for one in scenario.faults)
    liars = tuple(msgspec.structs.replace(one, line=0) for one in scenario.adversaries)
    return msgspec.structs.replace(scenario, faults=faults, adversaries=liars)


spans = st.integers(1, 20_000).map(Millis)
directions = st.sampled_from(Direction)
common = {
    "at": spans,
    "lasts": spans,
    "every": st.none() | st.integers(20_001, 60_000).map(Millis),
    "nodes": st.sampled_from(["all", "validators[0:2]", "random(2) of others", "proposer"]),
}
faults: st.SearchStrategy[Fault] = st.one_of(
    st.builds(schema.Kill, **common),
    st.builds(schema.Restart, **common),
    st.builds(schema.TornWrite, **common),
    st.builds(schema.DiskFull, **common),
    st.builds(schema.Delay, add=spans, jitter=spans, direction=directions, **common),
    st.builds(schema.Loss, share=st.integers(1, 9_000), direction=directions, **common),
    st.builds(schema.Bandwidth, rate=st.integers(1_000, 10**9), **common),
    st.builds(schema.SlowDisk, add=spans, **common),
    st.builds(schema.CorruptPage, table=st.sampled_from(["", "blocks", "state"]), **common),
    st.builds(schema.SlowCpu, speed=st.integers(1, 10_000), **common),
    st.builds(schema.ClockSkew, offset=spans, drift=st.integers(-900, 900), **common),
    st.builds(
        schema.Churn,
        sessions=st.sampled_from(["weibull", "exponential"]),
        mean=st.integers(100, 9_000).map(Millis),
        shape=st.floats(0.1, 10),
        **common,
    ),
    st.builds(
        schema.Partition,
        groups=st.just(("validators[0:2]", "rest")),
        direction=directions,
        **{key: value for key, value in common.items() if key != "nodes"},
    ),
)
scenarios = st.builds(
    Scenario,
    name=st.text(max_size=20),
    about=st.text(max_size=20),
    duration=st.just(Millis(60_000)),
    network=st.builds(
        schema.Network,
        nodes=st.integers(6, 50),  # Two others beside four validators.
        validators=st.integers(2, 4),
        distance=st.one_of(
            st.builds(schema.Constant, spans),
            st.builds(schema.Regions, st.lists(st.sampled_from(REGIONS), min_size=1).map(tuple)),
        ),
        jitter=spans,
        bandwidth=st.integers(8, 10**10),
        cpu=st.none() | st.integers(1, 10_000),
    ),
    parameters=st.just((("epoch_ms", 2_000), ("gossip.flush_ms", 5))),
    load=st.one_of(
        st.builds(schema.Load, st.integers(0, 3), st.integers(0, 60), st.integers(0, 60)),
        st.builds(
            schema.Load,
            st.integers(1, 3),
            st.integers(0, 60),
            adds_per_minute=st.integers(0, 60),
            blob_bytes=st.just((0, 9_000)),
            replicas=st.integers(1, 3),
            blob_epochs=st.integers(1, 9),
            window_bytes=st.integers(1_024, 9_999),
        ),
    ),
    faults=st.lists(faults, max_size=4).map(tuple),
    adversaries=st.just((schema.AdversarySpec("silent", "validators[0]"),)),
    expect=st.builds(
        schema.Expect,
        heights=st.integers(0, 9),
        no_bans=st.booleans(),
        ad_delivery=st.none() | st.integers(0, 10_000),
        ad_latency_p95=st.none() | spans,
        recovers_within=spans,
        sometimes=st.just((schema.Comparison("round", ">", 2),)),
    ),
    directory=st.just("dir"),
)


@given(scenarios)
def test_any_scenario_reads_back(scenario: Scenario) -> None:
    assert _bare(parse_scenario(write_scenario(scenario), FILE)) == _bare(scenario)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_reads_back(path: Path) -> None:
    scenario = read_scenario(path)
    again = parse_scenario(write_scenario(scenario), path)
    assert _bare(again) == _bare(scenario)
