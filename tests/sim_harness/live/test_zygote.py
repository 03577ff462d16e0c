"""The zygote's contract, with processes that import nothing heavy."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from signal import SIGKILL, SIGTERM

import psutil
import pytest
import trio

from sim_harness.live.messages import Ready, Status
from sim_harness.live.zygote import Child, ZygoteError, open_zygote

pytestmark = pytest.mark.live

STAND_IN = "tests.sim_harness.live.stand_in:run"


async def _first(child: Child, kind: type[Ready] | type[Status]) -> Ready | Status:
    while (word := await child.word()) is not None:
        if isinstance(word, kind):
            return word
    raise AssertionError("the child ended before it said that")


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait_gone(pids: list[int], seconds: float = 5.0) -> list[int]:
    """Those that are still there after a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(map(_alive, pids)):
        time.sleep(0.01)
    return [pid for pid in pids if _alive(pid)]


async def test_children_share_what_was_warmed_and_have_randomness_of_their_own(
    tmp_path: Path,
) -> None:
    with trio.fail_after(20):
        async with open_zygote(STAND_IN) as zygote:
            said = []
            for node in (0, 1):
                home = tmp_path / str(node)
                home.mkdir()
                child = await zygote.spawn(node=node, home=home, log=home / "log")
                ready = await _first(child, Ready)
                assert isinstance(ready, Ready)
                said.append(ready.peer.split())
            assert [warmed_in for _, warmed_in in said] == [str(zygote.pid)] * 2
            assert said[0][0] != said[1][0]


async def test_a_killed_child_is_reported_and_a_new_one_takes_its_home(tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with open_zygote(STAND_IN) as zygote:
            first = await zygote.spawn(node=0, home=tmp_path, log=tmp_path / "log")
            await _first(first, Status)
            await first.signal(SIGKILL)
            await first.exited.wait()
            assert first.code == -SIGKILL
            reached = int((tmp_path / "height").read_text())
            second = await zygote.spawn(node=0, home=tmp_path, log=tmp_path / "log")
            status = await _first(second, Status)
            assert isinstance(status, Status)
            assert status.height == reached + 1
            await second.signal(SIGTERM)
            await second.exited.wait()
            assert second.code == 0


async def test_output_goes_to_the_log_and_the_exit_code_to_the_harness(tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with open_zygote(STAND_IN) as zygote:
            log = tmp_path / "log"
            child = await zygote.spawn(node=0, home=tmp_path, log=log, options={"crash": "1"})
            await child.exited.wait()
            assert child.code == 3
            assert log.read_text() == "out of cheese\n"


async def test_a_harness_that_does_not_listen_delays_no_node(tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with open_zygote(STAND_IN) as zygote:
            options = {"flood": "1000"}
            child = await zygote.spawn(node=0, home=tmp_path, log=tmp_path / "l", options=options)
            await child.exited.wait()
            heard = 0
            while await child.word() is not None:
                heard += 1
            assert 0 < heard < 1_000


async def test_closing_leaves_no_process_even_of_those_that_ignore_sigterm(tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with open_zygote(STAND_IN) as zygote:
            pids = [zygote.pid]
            for node in range(3):
                options = {"stubborn": "1"}
                log = tmp_path / "log"
                child = await zygote.spawn(node=node, home=tmp_path, log=log, options=options)
                await _first(child, Status)
                pids.append(child.pid)
        assert _wait_gone(pids, 1.0) == []


async def test_closing_lets_go_of_every_socket(tmp_path: Path) -> None:
    before = psutil.Process().num_fds()
    with trio.fail_after(20):
        async with open_zygote(STAND_IN) as zygote:
            dead = await zygote.spawn(node=0, home=tmp_path, log=tmp_path / "log")
            await dead.signal(SIGKILL)
            await dead.exited.wait()
            await zygote.spawn(node=1, home=tmp_path, log=tmp_path / "log")
            assert psutil.Process().num_fds() == before + 3
    assert psutil.Process().num_fds() == before


async def test_an_entry_that_cannot_be_imported_is_an_error() -> None:
    with trio.fail_after(20):
        with pytest.raises(ZygoteError, match="did not start"):
            async with open_zygote("tests.no_such_module:run"):
                pass


HARNESS = """
    import sys
    from pathlib import Path
    import trio
    from sim_harness.live.zygote import open_zygote

    async def main():
        scratch = [Path(sys.argv[2]) / name for name in ("homes", "gigmesh-up-1")]
        for path in scratch:
            path.mkdir()
        async with open_zygote(sys.argv[1], scratch=scratch) as zygote:
            pids = [zygote.pid]
            for node in range(3):
                home = Path(sys.argv[2])
                child = await zygote.spawn(node=node, home=home, log=home / "log")
                pids.append(child.pid)
            print(*pids, flush=True)
            await trio.sleep_forever()

    trio.run(main)
"""


@pytest.mark.parametrize("victim", ["harness", "zygote"])
def test_nobody_is_orphaned_by_a_sigkill(tmp_path: Path, victim: str) -> None:
    harness = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HARNESS), STAND_IN, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with harness:
        assert harness.stdout is not None
        pids = [int(word) for word in harness.stdout.readline().split()]
        assert len(pids) == 4
        assert all(map(_alive, pids))
        scratch = [tmp_path / name for name in ("homes", "gigmesh-up-1")]
        assert all(path.is_dir() for path in scratch)
        os.kill(harness.pid if victim == "harness" else pids[0], signal.SIGKILL)
        assert _wait_gone(pids) == []
        if victim == "harness":
            assert not any(path.exists() for path in scratch), "the zygote outlived it by a moment"
