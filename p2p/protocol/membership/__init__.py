"""Membership: which connections to have."""
