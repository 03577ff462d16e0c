"""Seeds side by side in processes: each starts from nothing, so that none depends on another.

No process outlives its parent, however that ends: each waits on a pipe that the parent alone holds.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import wait as wait_sentinels
from typing import Final, TypeVar

Task = TypeVar("Task")
Answer = TypeVar("Answer")

WAITING_PER_JOB: Final = 3
"""Tasks handed out ahead, so that nobody waits, and few are lost when the swarm stops."""


class WorkerDied(Exception):
    """A process of the pool ended: out of memory, or killed."""


def run_all(
    work: Callable[[Task], Answer], tasks: Iterable[Task], jobs: int
) -> Iterator[tuple[Task, Answer]]:
    """Answers as they come. One job: in this process. Close the iterator to stop early.

    What is under way then, or when it is interrupted, is abandoned at once. Raises WorkerDied.
    """
    if jobs == 1:
        for task in tasks:
            yield task, work(task)
        return
    # Spawned, not forked: a child knows what it imports, and nothing that was done here before.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_end_with_parent)
    todo = iter(tasks)
    under_way: dict[Future[Answer], Task] = {}
    try:
        while True:
            room = jobs * WAITING_PER_JOB - len(under_way)
            under_way |= {pool.submit(work, task): task for task in islice(todo, room)}
            if not under_way:
                return
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=list(under_way).index):
                yield under_way.pop(future), future.result()
    except BrokenProcessPool as error:
        lost = ", ".join(str(task) for task in under_way.values())
        raise WorkerDied(f"a process died while it ran one of {lost}") from error
    except BaseException:
        for process in multiprocessing.active_children():
            if process not in others:
                process.terminate()
        raise
    finally:
        pool.shutdown(wait=True)


def _end_with_parent() -> None:
    """In a worker: Ctrl-C is the parent's business, and its end is ours."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_outlive_nobody, args=(parent.sentinel,), daemon=True).start()


def _outlive_nobody(sentinel: int) -> None:
    wait_sentinels([sentinel])
    os._exit(1)
