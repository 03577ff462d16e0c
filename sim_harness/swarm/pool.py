"""Seeds side by side in processes: each starts from nothing, so that none depends on another."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
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

    Raises WorkerDied.
    """
    if jobs == 1:
        for task in tasks:
            yield task, work(task)
        return
    # Spawned, not forked: a child knows what it imports, and nothing that was done here before.
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
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
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
