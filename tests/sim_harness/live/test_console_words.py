"""What a person types at a running network: read, refused with a hint, completed."""

import pytest

from p2p.primitives.units import Millis
from sim_harness.live.console_words import (
    HELP,
    Adding,
    Corrupting,
    Hurting,
    Plain,
    Restarting,
    WordError,
    complete,
    parse,
)
from sim_harness.live.line_editor import LineEditor
from sim_harness.scenario import schema
from sim_harness.scenario.selectors import Population

NETWORK = Population(100, 7, 0, tuple(("Tokyo", "London")[at % 2] for at in range(100)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kill 17", Hurting(schema.Kill(nodes="nodes[17:18]"))),
        (
            "kill 3,5-6 for 2s",
            Hurting(schema.Kill(nodes="nodes[3:4], nodes[5:7]", lasts=Millis(2_000))),
        ),
        (
            "pause region:Tokyo 10s",
            Hurting(schema.Pause(nodes="region:Tokyo", lasts=Millis(10_000))),
        ),
        ("pause 7", Hurting(schema.Pause(nodes="nodes[7:8]"))),
        (
            "partition 0-49 | rest for 20s",
            Hurting(schema.Partition(groups=("nodes[0:50]", "rest"), lasts=Millis(20_000))),
        ),
        (
            "delay 100ms +-20ms",
            Hurting(schema.Delay(add=Millis(80), jitter=Millis(40), nodes="all")),
        ),
        ("delay 50ms validators", Hurting(schema.Delay(add=Millis(50), nodes="validators"))),
        ("loss 5% random(3)", Hurting(schema.Loss(share=500, nodes="random(3)"))),
        ("bandwidth 256 kbit/s 2", Hurting(schema.Bandwidth(rate=256_000, nodes="nodes[2:3]"))),
        ("clock -3s 1", Hurting(schema.ClockSkew(offset=Millis(-3000), nodes="nodes[1:2]"))),
        ("slow_cpu 10% 1", Hurting(schema.SlowCpu(speed=1000, nodes="nodes[1:2]"))),
        ("torn_write 4", Hurting(schema.TornWrite(nodes="nodes[4:5]", lasts=Millis(2_000)))),
        ("restart 17", Restarting("nodes[17:18]")),
        ("byzantine 3 equivocator", Corrupting("nodes[3:4]", "equivocator")),
        ("add some file.txt", Adding("some file.txt", None)),
        ("add file.txt 5", Adding("file.txt", 5)),
        ("HEAL", Plain("heal")),
    ],
)
def test_a_line_means_what_scenarios_say(text: str, said: object) -> None:
    assert parse(text, NETWORK) == said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kill", r"^whom\?; kill WHO \[for SPAN\]: SIGKILL"),
        ("kill 100", "nodes 0 to 99"),
        ("kil 1", "did you mean kill"),
        ("pause region:Mars 1s", "matches no node"),
        ("partition 1", "two groups"),
        ("byzantine 3 saint", "no kind of liar"),
        ("delay soon", "delay SPAN"),
        ("add", "which file"),
    ],
)
def test_a_line_that_means_nothing_is_refused_with_what_would(text: str, why: str) -> None:
    with pytest.raises(WordError, match=why):
        parse(text, NETWORK)


def test_tab_completes_words_whom_they_mean_and_liars() -> None:
    assert complete("pa", NETWORK) == ["partition", "pause"]
    assert complete("kill reg", NETWORK) == ["region:Tokyo", "region:London"]
    assert complete("byzantine 3 equ", NETWORK) == ["equivocator"]
    assert set(complete("", NETWORK)) == set(HELP)


def test_keys_become_lines_and_arrows_bring_back_old_ones() -> None:
    editor = LineEditor(lambda text: complete(text, NETWORK))
    assert editor.feed("kll\x7f\x7fill 1\r") == ["kill 1"]
    assert editor.feed("hea\t\n") == ["heal"]
    assert editor.feed("pa\t") == []
    assert (editor.text, editor.offers) == ("pa", ["partition", "pause"])
    editor.feed("\x15\x1b[A\x1b[A")
    assert editor.text == "kill 1"
    assert editor.feed("\x1b[B\r") == ["heal"]
    assert editor.feed("\r") == []
