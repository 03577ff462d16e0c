"""Commands of `p2p`, a file for each thing that they are about."""
