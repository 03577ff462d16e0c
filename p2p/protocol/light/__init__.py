"""The light client: a header from far away, proven by a few kilobytes. Pure, without a node."""
