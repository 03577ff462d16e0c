"""Tendermint consensus in three pure layers: votes, the round machine, and the driver."""
