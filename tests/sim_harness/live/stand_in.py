"""A process that stands in for a node where only the process matters: it imports nothing heavy."""

import hashlib
import os
import random
import select
import signal
import socket
import sys
import time

from sim_harness.live.messages import CommitNoted, Ready, Status
from sim_harness.live.task import NodeTask

TICK_S = 0.02
warmed_in: list[int] = []


def warm() -> None:
    """Called once, in the parent of all."""
    warmed_in.append(os.getpid())


def run(task: NodeTask) -> None:
    """Listen on a port, keep a height on disk, and tell it until told to stop."""
    if "crash" in task.options:
        print("out of cheese", flush=True)
        sys.exit(3)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if "stubborn" in task.options:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    # What a child must have of its own: randomness; and of its parent's: what was warmed.
    peer = f"{random.random()} {warmed_in[0]}"
    task.reporter.tell(Ready(b"a", peer, (), url))
    file = task.home / "height"
    height = int(file.read_text() or "0") if file.exists() else 0
    while True:
        height += 1
        fresh = file.with_suffix(".new")
        fresh.write_text(str(height))
        fresh.replace(file)  # a reader finds one height or the other, never half of one
        secret = task.options.get("fork", "") + str(height)
        root = hashlib.sha256(secret.encode()).digest()
        task.reporter.tell(CommitNoted(height, root, root, 0, 0))
        word = Status(height, root, root, 0, 0, 0, 0, 0, 0, 0, 0, 0, dropped=task.reporter.dropped)
        task.reporter.tell(word)
        if "flood" in task.options:
            if height == int(task.options["flood"]):
                return
            continue
        readable, _, _ = select.select([task.reporter.fileno()], [], [], TICK_S)
        if readable:
            time.sleep(60)  # Deaf to the end of its socket: the kernel must end it.
