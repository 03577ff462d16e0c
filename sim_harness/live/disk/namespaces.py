"""Mount namespaces by the C library: a mount that only a family of processes sees, and dies with.

    disk process: be_apart() -> mount        zygote: enter(pid of it) -> fork nodes, in there

Nobody else sees the mount, so there is nothing to unmount: the kernel does it when the last process
in there has ended, however it ended. The harness goes on seeing the files beneath, where they were.
"""

import ctypes
import os
from pathlib import Path
from typing import Final

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 1 << 18
MNT_DETACH: Final = 2

_libc = ctypes.CDLL(None, use_errno=True)


def be_apart() -> None:
    """Give this process mounts of its own; without privilege, as root of a user namespace.

    Raises OSError.
    """
    user, group = os.geteuid(), os.getegid()
    _check(_libc.unshare(CLONE_NEWNS if user == 0 else CLONE_NEWNS | CLONE_NEWUSER), "unshare")
    if user:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    _check(_libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "mount")


def enter(pid: int) -> None:
    """See the mounts of another process, from the same directory. Raises OSError."""
    here = Path.cwd()
    kinds = [("mnt", CLONE_NEWNS)]
    if os.stat(f"/proc/{pid}/ns/user").st_ino != os.stat("/proc/self/ns/user").st_ino:
        kinds.insert(0, ("user", CLONE_NEWUSER))
    for name, kind in kinds:
        descriptor = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.setns(descriptor, kind), "setns")
        finally:
            os.close(descriptor)
    os.chdir(here)


def detach(path: Path) -> None:
    """Take a mount away from a path, as far as this namespace is concerned. Raises OSError."""
    _check(_libc.umount2(os.fsencode(path), MNT_DETACH), "umount")


def _check(result: int, call: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
