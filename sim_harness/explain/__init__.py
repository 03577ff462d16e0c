"""Explaining: what a node saw, where two runs part, and who told whom what, as a picture."""
