"""The doctor tries everything and leaves nothing behind."""

import os
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from sim_harness import doctor
from sim_harness.cli import app
from sim_harness.live.kernel import offer as offers
from sim_harness.live.kernel.offer import Offer


def test_the_doctor_says_what_was_tried_and_what_words_rest_on() -> None:
    found = CliRunner().invoke(app, ["doctor", "--json"])
    assert found.exit_code == 0, found.output
    told = {one["name"]: one for one in msgspec.json.decode(found.output)["found"]}
    assert told["transport wrapper"]["works"]
    assert told["prlimit"]["used"]
    assert not told["netem"]["used"]
    assert [name for name, one in told.items() if one["option"] == "--faults kernel"] == [
        "nftables",
        "tc htb",
        "NFQUEUE",
    ]
    quota = told["cpu quota"]
    assert quota["used"] == quota["works"]
    assert quota["what"].startswith(
        "slow_cpu;" if quota["works"] else "slow_cpu is done by signals"
    )
    assert told["FUSE"]["option"] == "--disk fuse"
    assert told["FUSE"]["works"] == told["FUSE"]["what"].startswith("slow_disk")
    assert not told["libfaketime"]["used"]
    assert not list(Path("/sys/fs/cgroup").glob(f"**/gigmesh-{os.getpid()}"))
    assert "works" in CliRunner().invoke(app, ["doctor"]).output


def test_the_doctor_says_who_does_a_word_that_the_kernel_cannot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lacking = Offer(nftables="", htb="", nfqueue="no queue", netem="no netem")
    monkeypatch.setattr(offers, "find_offer", lambda: lacking)
    told = {one.name: (one.works, one.use, one.what) for one in doctor.examine()}
    assert told["nftables"] == (
        True,
        "used by --faults kernel",
        "partition, disconnect, loss, black_hole",
    )
    assert told["NFQUEUE"] == (
        False,
        "used by --faults kernel",
        "delay: by the transport; no queue",
    )
    assert told["netem"] == (False, "not used", "no netem")
    words = ("partition", "bandwidth", "delay", "slow_reader")
    assert [lacking.backend(word) for word in words] == [
        "nftables",
        "tc htb",
        "transport",
        "transport",
    ]
