"""Faults of the network by the machine's own kernel, in a network namespace of the run's own."""
