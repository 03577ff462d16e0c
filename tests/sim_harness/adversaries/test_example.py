"""The example of docs/adversaries.md does what it says."""

import runpy
from pathlib import Path

import pytest

from sim_harness.adversaries import ADVERSARIES

EXAMPLE = Path(__file__).parents[3] / "examples" / "adversary.py"


def test_an_adversary_of_ones_own_needs_one_small_class(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ADVERSARIES, "half_deaf", ADVERSARIES["silent"])
    monkeypatch.delitem(ADVERSARIES, "half_deaf")
    example = runpy.run_path(str(EXAMPLE), run_name="example")
    took, swallowed = example["run"](1)
    assert took < 60_000
    assert swallowed > 100
    example["main"]()
    assert capsys.readouterr().out.count("no fork") == 3
