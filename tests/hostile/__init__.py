"""Hostile peers against a whole node in its own process."""
