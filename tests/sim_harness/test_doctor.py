"""The doctor tries everything and leaves nothing behind."""

import msgspec
from typer.testing import CliRunner

from sim_harness.cli import app


def test_the_doctor_says_what_was_tried_and_what_words_rest_on() -> None:
    found = CliRunner().invoke(app, ["doctor", "--json"])
    assert found.exit_code == 0, found.output
    told = {one["name"]: one for one in msgspec.json.decode(found.output)["found"]}
    assert told["transport wrapper"]["works"]
    assert told["prlimit"]["used"]
    assert not told["netem"]["used"]
    assert "works" in CliRunner().invoke(app, ["doctor"]).output
