"""A replay tells what nodes saw, changes nothing, and draws who told whom what."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from p2p.primitives.units import Millis
from sim_harness.cli import app
from sim_harness.explain.messages import CONSENSUS, Messages
from sim_harness.explain.replay import Window, replay
from sim_harness.explain.sequence import Folded, sequence
from sim_harness.scenario.run import Run
from sim_harness.scenario.sections import ScenarioError
from tests.sim_harness.scenario.worlds import small

STORY = small('kind = "kill"; nodes = "nodes[2]"; at = "4s"; for = "3s"')


def told(window: Window) -> tuple[list[str], str]:
    lines: list[str] = []
    run = Run(STORY, 1)
    replay(run, window, lines.append)
    return lines, run.world.digest


def test_it_tells_of_the_nodes_and_of_faults_in_order() -> None:
    lines, _ = told(Window(Millis(8_000), Millis(3_500), (0, 3)))
    assert any(" n00 " in line for line in lines)
    assert any(" n03 " in line for line in lines)
    assert not any(" n01 h=" in line for line in lines)
    moments = [float(line[2 : line.index("s ")]) for line in lines]
    assert moments == sorted(moments)
    assert moments[0] >= 3.5
    assert "t=4.000s ---- fault: kill n2 killed" in lines
    assert "t=7.000s ---- fault over: kill n2 killed" in lines
    assert lines[-1].startswith("t=8.000s digest ")


def test_watching_changes_nothing(tmp_path: Path) -> None:
    plain = Run(STORY, 1)
    plain.run_until_ms(8_000)
    assert told(Window(Millis(8_000)))[1] == plain.world.digest
    drawn = Run(STORY, 1)
    replay(drawn, Window(Millis(8_000)), lambda line: None, svg=tmp_path / "it.svg")
    assert drawn.world.digest == plain.world.digest


@pytest.mark.parametrize(
    ("window", "why"),
    [
        (Window(Millis(1_000), nodes=(5,)), "there is no node 5; the last one is 4"),
        (Window(Millis(1_000), Millis(1_000)), "there is nothing between --from and --until"),
    ],
)
def test_what_is_not_there_is_a_sentence(window: Window, why: str) -> None:
    with pytest.raises(ScenarioError, match=why):
        replay(Run(STORY, 1), window, lambda line: None)


def test_messages_are_matched_from_node_to_node() -> None:
    run = Run(STORY, 1)
    messages = Messages(run)
    run.run_until_ms(8_000)
    arrived = [one for one in messages.sent if one.arrived_us is not None]
    assert {one.kind for one in arrived} >= {"proposal", "prevote", "precommit", "block"}
    assert {one.kind for one in messages.sent} <= set(CONSENSUS)
    assert all(one.arrived_us >= one.sent_us for one in arrived if one.arrived_us is not None)
    gossip = [one for one in arrived if one.kind != "sync" and one.arrived_us is not None]
    # 20 ms from anybody to anybody; the disks of receivers add to it.
    assert min(one.arrived_us - one.sent_us for one in gossip if one.arrived_us) >= 20_000
    assert any(mark.text.startswith("commit 1 ") for mark in messages.marks)


def test_the_picture_is_sound_and_names_what_is_in_it() -> None:
    run = Run(STORY, 1)
    messages = Messages(run)
    run.run_until_ms(8_000)
    picture = sequence(run, messages, 3_500, 8_000)
    root = ElementTree.fromstring(picture)
    texts = [one.text or "" for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "small, seed 1: 3.500 s to 8.000 s" in texts
    assert {"n00", "n04", "ends", "starts", "prevote", "precommit"} <= set(texts)
    assert any(text.endswith(" ms of silence") for text in texts)
    width, height = (float(one) for one in root.attrib["viewBox"].split()[2:])
    for line in root.iter("{http://www.w3.org/2000/svg}line"):
        assert 0 <= float(line.attrib["x1"]) <= width
        assert 0 <= float(line.attrib["y2"]) <= height


def test_silence_is_folded_and_order_kept() -> None:
    y = Folded([0, 10_000, 20_000, 5_000_000, 5_010_000], 0, 100)
    assert y.folds == [(20_000, 5_000_000)]
    places = [y(one) for one in (0, 5_000, 10_000, 20_000, 3_000_000, 5_000_000, 5_010_000)]
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0, 100)
    assert y(-5) == 0
    assert y(9_000_000) == 100


def test_the_command_draws_and_tells_of_several_nodes(tmp_path: Path) -> None:
    picture = tmp_path / "it.svg"
    words = ["replay", "102", "--until", "4s", "--node", "0", "--node", "1", "--svg", str(picture)]
    done = CliRunner().invoke(app, [*words, "--show", "prevote"])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == f"picture: {picture}"
    assert " n01 " in done.stdout
    assert picture.read_text().startswith("<svg ")
    wrong = CliRunner().invoke(app, ["replay", "102", "--node", "99"])
    assert (wrong.exit_code, wrong.stderr[:33]) == (2, "sim-harness: there is no node 99;")
