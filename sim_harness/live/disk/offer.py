"""Whether this machine can have disks of the kind that is asked for: found out by trying."""

import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
from typing import Final

from sim_harness.live.disk.words import PACKET_BYTES_MAX, Mounted, Refused, unpack_news

TRY_S: Final = 20.0


def fuse_lacks() -> str:
    """Why there can be no file system of ours, in a sentence; nothing if it mounts."""
    if importlib.util.find_spec("pyfuse3") is None:
        return (
            "--disk fuse needs pyfuse3: apt install libfuse3-dev fuse3 pkg-config,"
            " then pip install 'gigmesh[kernel]'"
        )
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "--disk fuse needs /dev/fuse, which is not there or not ours to open"
    why = _try()
    return f"--disk fuse cannot mount here: {why}" if why else ""


def _try() -> str:
    """Mount one over an empty directory, which nobody else sees; why not, if not."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with tempfile.TemporaryDirectory(prefix="gigmesh-disk-") as root, ours:
        ours.settimeout(TRY_S)
        with theirs:
            command = [sys.executable, "-m", "sim_harness.live.disk.disk_process"]
            process = subprocess.Popen(
                [*command, str(theirs.fileno()), root],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        try:
            data = ours.recv(PACKET_BYTES_MAX)
        except TimeoutError:
            data = b""
        finally:
            process.kill()
            process.wait()
    match unpack_news(data) if data else None:
        case Mounted():
            return ""
        case Refused(why=why):
            return why
        case _:
            return "the process that serves it did not start"
