"""Swarms: whole scenarios drawn from seeds, run side by side, until one breaks a promise."""
