"""Sync: catching up by blocks."""
