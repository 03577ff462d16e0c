"""The doctor tries everything and leaves nothing behind."""

import os
from pathlib import Path

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
    quota = told["cpu quota"]
    assert quota["used"] == quota["works"]
    assert quota["what"].startswith(
        "slow_cpu;" if quota["works"] else "slow_cpu is done by signals"
    )
    assert "--disk fuse" in told["FUSE"]["what"]
    assert told["FUSE"]["works"] == told["FUSE"]["what"].startswith("slow_disk")
    assert not told["libfaketime"]["used"]
    assert not list(Path("/sys/fs/cgroup").glob(f"**/gigmesh-{os.getpid()}"))
    assert "works" in CliRunner().invoke(app, ["doctor"]).output
