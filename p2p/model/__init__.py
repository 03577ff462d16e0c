"""Floor 2: frozen values that nodes exchange, store and agree on."""
