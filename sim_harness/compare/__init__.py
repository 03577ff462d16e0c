"""Comparison of runs: medians, percentiles, intervals of confidence, and a verdict."""
