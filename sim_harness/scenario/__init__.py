"""Scenarios: what a network is, what goes wrong with it and what must hold, in one TOML file."""
