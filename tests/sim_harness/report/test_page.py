"""The page: the answer first, everything in it, and nothing from elsewhere."""

import re
from html.parser import HTMLParser

import msgspec
import pytest

from sim_harness.live.results import LiveResult, NodeCost, ResourcePoint, WorkResult
from sim_harness.report.page import render_page
from sim_harness.report.story import story
from sim_harness.report.svg import Scale, element
from sim_harness.scenario.faults import FaultRecord
from sim_harness.scenario.results import Check, DealingResult, Distribution, Result, Violation
from sim_harness.scenario.run import run_scenario
from tests.sim_harness.scenario.worlds import HEAD, small

VOID = {"meta"}


class Tags(HTMLParser):
    """Checks that every tag is closed in turn, and gathers the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data.strip())


@pytest.fixture(scope="module")
def result() -> Result:
    head = HEAD.replace('"small"', '"a <small> & quick one"').replace("nodes = 5", "nodes = 6")
    load = '[load]\nconsumers = 1\n[[adversary]]\nkind = "silent"\n'
    story = small(
        'kind = "partition"; groups = ["nodes[4]", "rest"]; at = "5s"; for = "5s"',
        'kind = "restart"; nodes = "validators[0]"; at = "4s"; every = "5s"',
        expect='sometimes = ["round >= 50"]',
        head=head + load,
    )
    return run_scenario(story, 1, file="small.toml")


def read(page: str) -> str:
    """The text of a well-formed page."""
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    return " ".join(word for word in tags.words if word)


def test_the_answer_and_the_way_to_repeat_it_come_first(result: Result) -> None:
    text = read(render_page(result))
    assert text.index("PASS") < text.index("a <small> & quick one") < text.index(result.replay)
    assert text.index(result.replay) < text.index("What happened")
    assert "Never happened, so not tested: round >= 50" in text


def test_the_page_needs_nothing_but_a_browser(result: Result) -> None:
    page = render_page(result)
    assert set(re.findall(r"https?://[^\"' ]*", page)) <= {"http://www.w3.org/2000/svg"}
    assert "<script" not in page
    assert "src=" not in page
    assert len(page) < 400_000


def test_faults_nodes_liars_and_money_are_on_the_page(result: Result) -> None:
    text = read(render_page(result))
    for words in ("partition", "n4 | n0-n3, n5", "restart", "Liars", "silent", "Work and pay"):
        assert words in text
    assert "messages kept back" in text
    assert f"{result.trades[0].settled:,}" in text


def test_a_failure_is_said_at_the_top(result: Result) -> None:
    checks = (*result.checks, Check("heights", "at least 9", "3", holds=False))
    violation = Violation("agreement", "node 2 at height 5", 7_000, ("t=6.9s n02 commits 5",))
    failed = msgspec.structs.replace(result, verdict="fail", checks=checks, violations=(violation,))
    text = read(render_page(failed))
    assert text.index("FAIL") < text.index("Broken: agreement") < text.index("replay exactly")
    assert "Not as expected: heights. Wanted at least 9; found 3." in text
    assert "t=6.9s n02 commits 5" in text


def test_a_network_that_never_committed_has_a_page_too(result: Result) -> None:
    empty = msgspec.structs.replace(
        result, commits=(), samples=(), trades=(), faults=(), heights=(0,), healed_ms=None
    )
    assert "No height was committed." in read(render_page(empty))


def test_the_story_is_told_in_order_of_time(result: Result) -> None:
    told = story(result)
    assert [one.at_ms for one in told] == sorted(one.at_ms for one in told)
    assert any(one.kind == "hurt" and one.text.startswith("partition for 5.0 s") for one in told)
    assert any(one.kind == "good" and "the last repair" in one.text for one in told)
    late = Check("heights", "at least 9", "3 in 12345ms", holds=False)
    last = story(msgspec.structs.replace(result, checks=(late,), recovered_ms=None))[-1]
    assert (last.kind, last.text) == ("bad", "heights does not hold: 3 in 12345ms")


def test_a_long_wait_between_blocks_is_told(result: Result) -> None:
    moments = (0, 2_000, 4_000, 6_000, 15_000, 17_000)
    commits = tuple(
        msgspec.structs.replace(result.commits[0], height=height, first_ms=at_ms)
        for height, at_ms in enumerate(moments, 1)
    )
    slow = msgspec.structs.replace(result, commits=commits, faults_end_ms=16_000)
    (wait,) = (one for one in story(slow) if one.kind == "slow")
    assert (wait.at_ms, wait.text) == (
        6_000,
        "the longest wait for a block: 9.0 s, until height 5 (as a rule 2.0 s)",
    )


def test_a_live_run_says_what_it_cost_and_what_was_measured_of_each_fault(result: Result) -> None:
    text = read(render_page(lived(result)))
    for words in (
        "run again: sim-harness run",
        "0 B crossed, 15 sends held",
        "293 MiB at most, 48.8 MiB a node",
        "0.91 % of a core a node; the busiest, n1: 1.50 %",
        "19 of 25",
        "2 x the blob 4f439f8b... could not be fetched",
    ):
        assert words in text
    assert "digest" not in text


def test_three_hundred_live_nodes_are_a_page_of_a_quarter_of_a_megabyte_at_most(
    result: Result,
) -> None:
    """Given 300 nodes over 300 s and all tables full; then it stays small."""
    commits_ms = tuple(range(0, 300_000, 1_700))
    nodes = tuple(
        msgspec.structs.replace(
            result.nodes[0],
            index=index,
            commits_ms=tuple(at_ms + index for at_ms in commits_ms),
            rounds_ms=commits_ms[::20],
            lives_ms=((0, 9_000 + index), (12_000, None)),
        )
        for index in range(300)
    )
    large = msgspec.structs.replace(
        lived(result),
        nodes=nodes,
        nodes_count=300,
        end_ms=300_000,
        dealings=tuple(DealingResult(n, m, 1, 0, 1, 1, 1) for n in range(40) for m in range(80)),
        faults=tuple(
            FaultRecord("restart", at_ms, [at_ms % 300], "n7", at_ms // 9_000, at_ms + 100)
            for at_ms in range(0, 290_000, 1_000)
        ),
        resources=tuple(ResourcePoint(at, 2_000, 90, 5, 80) for at in range(0, 300_000, 5_000)),
    )
    assert len(render_page(large)) < 250_000


def lived(result: Result) -> LiveResult:
    """The same run, as if real processes had made it."""
    (partition,) = (fault for fault in result.faults if fault.kind == "partition")
    measured = msgspec.structs.replace(partition, measured="0 B crossed, 15 sends held, 5.0 s")
    blob = "4f439f8b64843dbce5bde53f6de7c8b765e8a3f83e013d446a292fbbe64cbed6"
    why = f"2 x the blob {blob} could not be fetched"
    fields = {name: getattr(result, name) for name in Result.__struct_fields__}
    return LiveResult(
        **fields
        | {"faults": (measured,), "world": "live", "replay": "sim-harness run x --world live"},
        peak_memory_mib=292.6,
        bring_up_s=21.2,
        started_s=18.9,
        rss_sum_mib=500.0,
        cpu_percent_node=0.91,
        cpu_percent_total=7.3,
        machine="2 cores",
        load_average=54.6,
        dropped=0,
        run_directory="runs/x",
        interrupted=False,
        work=(WorkResult("add", 25, 19, 6, Distribution(19, 1, 2, 3, 4), 10_000, 5, (why,)),),
        resources=(ResourcePoint(0, 200, 10, 1, 39), ResourcePoint(5_000, 292, 20, 1, 40)),
        costs=(NodeCost(0, 0.5, 40, 39), NodeCost(1, 1.5, 41, 40)),
    )


def test_many_nodes_fit_on_the_page(result: Result) -> None:
    nodes = tuple(
        msgspec.structs.replace(result.nodes[0], index=index, crashes=index % 3)
        for index in range(1_000)
    )
    page = render_page(msgspec.structs.replace(result, nodes=nodes))
    assert "980 others" in page
    assert "the first 200 of 1000" in page
    assert len(page) < 1_000_000


def test_text_in_pictures_is_escaped() -> None:
    drawn = element("text", text="a < b & c", title='"x"', stroke_width=2.0)
    assert drawn == '<text stroke-width="2"><title>&quot;x&quot;</title>a &lt; b &amp; c</text>'


@pytest.mark.parametrize(
    ("high", "ticks"), [(60_000, [0, 20_000, 40_000, 60_000]), (1, [0, 1]), (7, [0, 2, 4, 6])]
)
def test_ticks_are_round(high: float, ticks: list[float]) -> None:
    assert Scale(0, high, 0, 100).ticks(4) == ticks


def test_a_scale_stays_within_its_picture() -> None:
    scale = Scale(0, 10, 100, 200)
    assert [scale(value) for value in (-5, 0, 5, 10, 50)] == [100, 100, 150, 200, 200]
