"""What one peer can make us remember is bounded, and gone soon after it."""

import json
import subprocess
import sys

from p2p.primitives.units import KIB, MIB

PEER_BYTES_MAX = 1 * MIB + 256 * KIB
"""Beside what waits to be sent: docs/gossip.md states it."""


def test_a_peer_that_fills_every_table_costs_a_bounded_number_of_bytes_and_leaves_few() -> None:
    """In a process of its own, whose memory nothing else moves."""
    command = [sys.executable, "-m", "benchmarks.gossip_memory", "--json", "--rounds", "2"]
    figures = json.loads(subprocess.check_output(command))
    queue = figures["hostile_queue"]
    assert 256 * KIB < queue <= 4 * MIB
    assert 256 * KIB < figures["hostile_peer"] - queue <= PEER_BYTES_MAX
    assert figures["gone_peer"] <= 16 * KIB
