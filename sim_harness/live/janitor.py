"""Removes what a harness made, also when it is killed before the parent of its nodes is there.

A shell waits for the end of a pipe whose other end only we hold. Later the zygote removes the same
places, once its children are dead (decision 0021); the janitor waits a moment for that.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SCRIPT: Final = 'read _; sleep 1; rm -rf -- "$@"'


@contextmanager
def janitor(paths: Sequence[Path]) -> Iterator[None]:
    """For a block: see to it that these places do not outlive us; an orderly end removes them."""
    if not paths:
        yield
        return
    words = ["sh", "-c", SCRIPT, "janitor", *(str(path.absolute()) for path in paths)]
    # In a session of its own, so that Ctrl-C reaches the harness alone.
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            yield
        finally:
            process.kill()
