"""Errors that are sentences for a person, found inside the groups that nurseries make of them."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from p2p.node.errors import UserError
from sim_harness.live.cluster import ClusterError
from sim_harness.live.disk.fuse_disk import DiskGone
from sim_harness.live.kernel.namespace import KernelError
from sim_harness.live.zygote import ZygoteError

T = TypeVar("T")

_SENTENCES = (UserError, ClusterError, DiskGone, KernelError, ZygoteError)


class Failed(Exception):
    """What was asked for failed; the text says why, a sentence a line."""


def run_to_end(work: Callable[[], Awaitable[T]]) -> T:
    """Run on trio. Raises Failed for the world's faults; our own bugs come as they are."""
    try:
        return trio.run(work)
    except BaseException as error:
        found = leaves(error)
        if all(isinstance(one, _SENTENCES) for one in found):
            raise Failed("\n".join(dict.fromkeys(map(str, found)))) from error
        raise


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions inside a group, or the one that is none."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]
