"""Floor 4b: the `Transport` port and the only door to libp2p."""
