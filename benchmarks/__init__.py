"""Measurements of the parts whose speed the design rests on; each is a module to run."""
