"""Sweeps: one scenario over a grid of settings and seeds, on this machine or on a cluster."""
