"""Python's cycle collector, while a world runs.

It looks at everything that lives each time some thousand objects were made, and a world makes them
by the million. Nearly all of them die without it, by reference counts. So it looks more rarely: at
most `YOUNG_MAX` objects more wait for it than before.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

YOUNG_MAX: Final = 100_000
"""Some 10 MiB."""
YOUNG_ROUNDS: Final = 20
OLD_ROUNDS: Final = 50


@contextmanager
def collected_rarely() -> Iterator[None]:
    """Let the collector rest more often while the block lasts; blocks may be nested."""
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], YOUNG_MAX) if before[0] else 0, YOUNG_ROUNDS, OLD_ROUNDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
