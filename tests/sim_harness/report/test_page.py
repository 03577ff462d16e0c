"""The page: the answer first, everything in it, and nothing from elsewhere."""

import re
from html.parser import HTMLParser

import msgspec
import pytest

from sim_harness.report.page import render_page
from sim_harness.report.svg import Scale, element
from sim_harness.scenario.results import Check, Result, Violation
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


def test_many_nodes_fit_on_the_page(result: Result) -> None:
    nodes = tuple(
        msgspec.structs.replace(result.nodes[0], index=index, crashes=index % 3)
        for index in range(1_000)
    )
    page = render_page(msgspec.structs.replace(result, nodes=nodes))
    assert "and 960 more nodes" in page
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
