"""Floor 5: the thin shell that carries out what the replica orders."""
