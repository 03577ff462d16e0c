"""Gigmesh: a coordinator-free network for physical infrastructure."""

__version__ = "0.1.0"
