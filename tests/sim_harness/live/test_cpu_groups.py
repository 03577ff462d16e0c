"""Processor quotas: what is written where, and nothing that is left of them."""

import subprocess
import sys
from pathlib import Path

import pytest
import trio

from sim_harness.live.cpu_groups import CpuGroups, try_quota
from sim_harness.live.zygote import open_zygote

SPIN = [sys.executable, "-c", "while True: pass"]


def tree(top: Path, *files: str) -> None:
    """What the kernel would have put into a new group."""
    for name in files:
        (top / name).write_text("", encoding="ascii")


def test_of_version_two_the_controller_is_handed_down_and_the_quota_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Path.mkdir

    def mkdir(path: Path, *, exist_ok: bool = False) -> None:
        make(path, exist_ok=exist_ok)
        tree(path, "cgroup.subtree_control", "cgroup.procs", "cpu.max")

    tree(tmp_path, "cgroup.subtree_control", "cgroup.procs")
    monkeypatch.setattr(Path, "mkdir", mkdir)
    groups = CpuGroups(7, tmp_path)
    groups.limit(3, 0.25)
    groups.put(3, 4711)
    base = tmp_path / "gigmesh-7"
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu"
    assert (base / "cgroup.subtree_control").read_text() == "+cpu"
    assert (base / "n3" / "cpu.max").read_text() == "25000 100000"
    assert (base / "n3" / "cgroup.procs").read_text() == "4711"
    groups.free(3)
    assert (tmp_path / "cgroup.procs").read_text() == "4711"


@pytest.mark.live
def test_a_quota_holds_a_process_and_is_gone_with_the_zygote() -> None:
    """Given a process at a twentieth of a core; when the zygote ends; then its groups are gone."""
    works, told = try_quota()
    if not works:
        pytest.skip(f"no processor quotas here: {told}")

    async def main() -> Path:
        async with open_zygote("tests.sim_harness.live.stand_in:run") as zygote:
            groups = CpuGroups(zygote.pid)
            groups.limit(3, 0.05)
            with subprocess.Popen(SPIN) as process:  # noqa: ASYNC220
                try:
                    groups.put(3, process.pid)
                    with trio.fail_after(20):
                        while groups.throttled(3) < 3:  # noqa: ASYNC110 - the kernel tells nobody
                            await trio.sleep(0.05)
                finally:
                    process.kill()
            assert groups.base.exists()
            return groups.base

    base = trio.run(main)
    assert not base.exists()
