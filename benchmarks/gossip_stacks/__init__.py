"""The same gossip network in each stack, one process a stack: see `benchmarks.gossip`."""
