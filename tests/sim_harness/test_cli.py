"""The `sim-harness` command line, without a network."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sim_harness.cli import app, parse_seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60.0), ("90", 90.0), ("5m", 300.0), ("1h", 3600.0)]
)
def test_times_are_read_with_their_unit(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-5", "1.5m", "ten", "9999999"])
def test_what_is_no_time_is_bad_usage(text: str) -> None:
    result = CliRunner().invoke(app, ["up", f"--for={text}"])
    assert result.exit_code == 2
    assert "such as 60s" in result.output


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from sim_harness.cli import main; sys.argv = ['sim-harness', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'trio', 'libp2p', 'msgspec', 'nacl'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout


def test_a_disk_that_cannot_be_had_is_bad_usage_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    story = tmp_path / "story.toml"
    story.write_text('name = "s"\nduration = "1s"\n[network]\nnodes = 4\n')
    for command in (["up"], ["run", str(story), "--world", "live"]):
        result = CliRunner().invoke(app, [*command, "--disk", "fuse"])
        assert result.exit_code == 2
        assert "--disk fuse needs pyfuse3" in result.output
    result = CliRunner().invoke(app, ["run", str(story), "--disk", "fuse"])
    assert result.exit_code == 2
    assert "is for --world live" in result.output
