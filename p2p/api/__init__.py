"""Floor 6: command line and local HTTP API."""
