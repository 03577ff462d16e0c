"""Faults of what a person wrote or asked for."""


class UserError(Exception):
    """One sentence to a person: what is wrong, where, and what to do. Never a traceback."""
