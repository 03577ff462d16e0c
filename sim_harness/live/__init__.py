"""Real nodes: one OS process each, forked from a warmed parent, on this machine's loopback."""
