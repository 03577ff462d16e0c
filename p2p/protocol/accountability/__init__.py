"""Accountability: who lied, shown by what they signed."""
