"""Floor 3: pure machines, `step(input, now_ms) -> list[Effect]`: no clock, dice, disk or wire."""
