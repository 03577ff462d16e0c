"""What one peer can make us remember is bounded, and gone soon after it."""

import tracemalloc
from collections.abc import Iterator

import pytest

from benchmarks.gossip_memory import remembered
from p2p.primitives.units import KIB, MIB

PEER_BYTES_MAX = 1 * MIB + 256 * KIB
"""Beside what waits to be sent: docs/gossip.md states it."""


@pytest.fixture(autouse=True)
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_a_peer_that_fills_every_table_costs_a_bounded_number_of_bytes_and_leaves_few() -> None:
    silent, after_silent, _ = remembered(2, attacked=False)
    hostile, after_hostile, queue = remembered(2, attacked=True)
    assert 256 * KIB < queue <= 4 * MIB
    assert 256 * KIB < hostile - silent - queue <= PEER_BYTES_MAX
    assert after_hostile - after_silent <= 16 * KIB
