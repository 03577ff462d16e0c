"""A line that is typed under a live view: letters, backspace, Tab, and the lines before.

The terminal gives every key at once and shows none of them; the view draws the line. Without a
terminal, lines come as they are.
"""

import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

HISTORY_MAX: Final = 200
LINE_MAX: Final = 500
CHUNK: Final = 1024

Complete = Callable[[str], list[str]]


class LineEditor:
    """What was typed so far; `feed` takes keys and gives whole lines."""

    def __init__(self, complete: Complete) -> None:
        self.text = ""
        self.offers: list[str] = []
        """What Tab found when there was more than one."""
        self._complete = complete
        self._history: list[str] = []
        self._place = 0
        self._escape = ""

    def feed(self, keys: str) -> list[str]:
        """Take keys; the lines that they ended."""
        lines = []
        for key in keys:
            if self._escape or key == "\x1b":
                self._escaped(key)
            elif key in "\r\n":
                line, self.text, self.offers = self.text.strip(), "", []
                if line:
                    self._history = [*self._history, line][-HISTORY_MAX:]
                    lines.append(line)
                self._place = len(self._history)
            elif key in "\x7f\b":
                self.text, self.offers = self.text[:-1], []
            elif key == "\x15":  # Ctrl-U
                self.text, self.offers = "", []
            elif key == "\t":
                self._tab()
            elif key.isprintable() and len(self.text) < LINE_MAX:
                self.text += key
                self.offers = []
        return lines

    def _escaped(self, key: str) -> None:
        self._escape += key
        if len(self._escape) < 3 and self._escape in ("\x1b", "\x1b["):
            return
        if self._escape == "\x1b[A" and self._place > 0:
            self._place -= 1
            self.text = self._history[self._place]
        elif self._escape == "\x1b[B" and self._place < len(self._history):
            self._place += 1
            past = self._place >= len(self._history)
            self.text = "" if past else self._history[self._place]
        self._escape = ""

    def _tab(self) -> None:
        found = self._complete(self.text)
        head, _, last = self.text.rpartition(" ")
        start = f"{head} " if head or self.text.startswith(" ") else ""
        common = _common(found)
        if len(common) > len(last):
            self.text = start + common + (" " if len(found) == 1 else "")
        self.offers = found if len(found) > 1 else []


def _common(words: list[str]) -> str:
    """The letters that all begin with."""
    first, last = min(words, default=""), max(words, default="")
    at = 0
    while at < len(first) and first[at] == last[at]:
        at += 1
    return first[:at]


@contextmanager
def raw_terminal() -> Iterator[None]:
    """Every key at once, Ctrl-C still a signal; as before at the end."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


async def read_keys(descriptor: int) -> str:
    """What was typed, or came through a pipe; nothing at its end."""
    await trio.lowlevel.wait_readable(descriptor)
    return os.read(descriptor, CHUNK).decode(errors="replace")
