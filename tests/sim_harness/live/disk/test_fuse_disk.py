"""The file system under the homes: files are files there, and it fails as it is told to."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import trio

from p2p.model.persistence import Table
from p2p.storage.sqlite import SqliteStore
from sim_harness.live.disk.fuse_disk import FuseDisk, open_disk
from sim_harness.live.disk.offer import fuse_lacks

pytestmark = pytest.mark.live

ENTERED = """
import os, sys, sqlite3
from pathlib import Path
from sim_harness.live.disk.namespaces import enter
enter(int(sys.argv[1]))
home = Path(sys.argv[2])
"""


@cache
def lacks() -> str:
    return fuse_lacks()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    if lacks():
        pytest.skip(lacks())
    for name in ("node-000", "node-001"):
        (tmp_path / "homes" / name).mkdir(parents=True)
    return tmp_path / "homes"


def mounts() -> str:
    return Path("/proc/mounts").read_text(encoding="utf-8")


async def inside(disk: FuseDisk, code: str) -> str:
    """What a program prints that sees the mount; its home is node 0's."""
    command = [sys.executable, "-c", ENTERED + code, str(disk.pid), str(disk.root / "node-000")]
    done = await trio.run_process(
        command, capture_stdout=True, stderr=subprocess.STDOUT, check=False
    )
    return done.stdout.decode().strip()


FILES = """
(home / "a").mkdir(mode=0o700)
(home / "a" / "f").write_text("one")
with (home / "a" / "f").open("a") as file:
    file.write("two")
os.rename(home / "a", home / "b")
os.chmod(home / "b" / "f", 0o640)
os.symlink("b/f", home / "s")
os.link(home / "b" / "f", home / "l")
(home / "gone").write_bytes(b"x")
os.unlink(home / "gone")
try:
    os.rmdir(home / "b")
except OSError as error:
    print(error.strerror)
with (home / "b" / "f").open("r+b") as file:
    file.truncate(4)
print(sorted(os.listdir(home)), os.readlink(home / "s"), (home / "s").read_text())
found = os.stat(home / "l")
print(oct(found.st_mode), found.st_nlink, found.st_size, os.stat(home / "b").st_mode & 0o777)
with (home / "b" / "f").open("wb") as file:
    file.write(bytes(300_000))
print(os.stat(home / "l").st_size, os.statvfs(home).f_bavail > 0)
"""


async def test_files_are_files_and_lie_beneath_when_it_is_gone(root: Path) -> None:
    async with open_disk(root) as disk:
        told = await inside(disk, FILES)
        assert (root / "node-000" / "b" / "f").stat().st_size == 300_000
    assert told.splitlines() == [
        "Directory not empty",
        "['b', 'l', 's'] b/f onet",
        "0o100640 2 4 448",
        "300000 True",
    ]
    assert sorted(os.listdir(root)) == ["node-000", "node-001"]
    assert str(root) not in mounts()


async def test_a_slow_disk_is_slow_for_any_file_of_its_node_alone(root: Path) -> None:
    async with open_disk(root) as disk:
        await disk.slow(0, 80_000)
        slow, other = await disk.probe(0), await disk.probe(1)
        await disk.slow(0, 0)
        again = await disk.probe(0)
    assert slow.sync_us >= 80_000
    assert other.sync_us < 80_000
    assert again.sync_us < 80_000
    assert (slow.syncs, again.syncs, other.syncs) == (1, 2, 1)


FULL = """
def tried(work):
    try:
        work()
    except (OSError, sqlite3.OperationalError) as error:
        return getattr(error, "strerror", None) or str(error)

print(tried(lambda: (home / "new").write_bytes(b"x")))
print(tried(lambda: (home / "dir").mkdir()))
with (home / "old").open("r+b") as file:
    print(tried(lambda: os.write(file.fileno(), b"x")), tried(lambda: file.truncate(10**6)))
    file.truncate(1)
print((home / "old").read_text())
(home / "old").unlink()
"""


async def test_a_full_disk_refuses_what_needs_room_with_the_kernels_word(root: Path) -> None:
    (root / "node-000" / "old").write_text("abc")
    async with open_disk(root) as disk:
        await disk.fill(0, full=True)
        told = await inside(disk, FULL)
        assert (await disk.probe(0)).error == "No space left on device"
        assert (await disk.probe(1)).error == ""
        await disk.fill(0, full=False)
        after = await disk.probe(0)
    no = "No space left on device"
    assert told.splitlines() == [no, no, f"{no} {no}", "a"]
    assert (after.error, after.refused) == ("", 5)


CUT = """
import time
from p2p.model.persistence import Put, Table
from p2p.storage.sqlite import SqliteStore
store = SqliteStore(home / "gigmesh.db")
for number in range(5):
    store.commit([Put(Table.META, b"%d" % number, bytes(3_000))])
print(os.getpid(), flush=True)
sys.stdin.readline()
store.commit([Put(Table.META, b"5", bytes(20_000))])
print("it went on")
"""


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_power_cut_ends_the_process_and_takes_only_what_was_not_synced(
    root: Path, seed: int
) -> None:
    """Given five commits; when power fails in the sixth; then five are there, and it or it not."""
    database = root / "node-000" / "gigmesh.db"
    async with open_disk(root) as disk:
        command = [sys.executable, "-c", ENTERED + CUT, str(disk.pid), str(database.parent)]
        with subprocess.Popen(  # noqa: ASYNC220
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            pid = int(await trio.to_thread.run_sync(process.stdout.readline))
            await disk.cut_power(0, pid, seed)
            said, _ = await trio.to_thread.run_sync(process.communicate, "go on\n")
        assert (process.returncode, said) == (-9, "")
        lost = disk.lost[0]
        assert lost.buffered > 20_000
        assert lost.torn > 0
        assert lost.dropped + lost.torn < lost.buffered
        assert (await disk.probe(0)).error == "Input/output error"
        await disk.settle(0)
        assert (await disk.probe(0)).error == ""
        opened, _, _ = CUT.partition("for number")
        told = await inside(disk, opened + "print(store.get(Table.META, b'4') == bytes(3_000))")
        assert told == "True"
    store = SqliteStore(database)
    keys = [key for key, _ in store.scan(Table.META) if key.isdigit()]
    store.close()
    assert keys[:5] == [b"0", b"1", b"2", b"3", b"4"]
