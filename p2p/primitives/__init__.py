"""Floor 1: units, canonical codec, keys and signatures, Merkle trees."""
