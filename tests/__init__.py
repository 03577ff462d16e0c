"""Tests; the tree mirrors `p2p` and `sim_harness`."""
