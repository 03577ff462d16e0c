"""SVG as text: elements, scales and axes for charts that need no script."""

import math
from html import escape
from typing import Final

INK: Final = "#1f2933"
FAINT: Final = "#d9e0e7"
GREY: Final = "#7b8794"
BLUE: Final = "#0072b2"
ORANGE: Final = "#e69f00"
GREEN: Final = "#009e73"
RED: Final = "#d55e00"
PINK: Final = "#cc79a7"
SKY: Final = "#56b4e9"
YELLOW: Final = "#f0e442"
"""Okabe and Ito's colours, which colour-blind people tell apart."""


def element(name: str, /, **attributes: object) -> str:
    """An element; underscores in names of attributes become hyphens.

    `text` stands inside, and `title` shows when one points at it.
    """
    text, title = str(attributes.pop("text", "")), str(attributes.pop("title", ""))
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
    )
    inside = (f"<title>{escape(title)}</title>" if title else "") + escape(text)
    return f"<{name}{words}>{inside}</{name}>" if inside else f"<{name}{words}/>"


def label(x: float, y: float, text: str, **attributes: object) -> str:
    """Text at a point."""
    return element("text", text=text, x=x, y=y, **attributes)


def picture(width: float, height: float, parts: list[str], title: str) -> str:
    """A whole picture, as wide as the page lets it be; `title` is for who cannot see it."""
    head = (
        f'<svg viewBox="0 0 {_short(width)} {_short(height)}" role="img" '
        f'aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg">'
    )
    return head + "".join(parts) + "</svg>"


class Scale:
    """Maps values to places on a line."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = low, high if high > low else low + 1
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self, count: int, *, whole: bool = True) -> list[float]:
        """Round values, about so many; fractions, too, where not only whole ones make sense."""
        rough = (self.high - self.low) / max(1, count)
        power = 10.0 ** math.floor(math.log10(max(rough, 1 if whole else 1e-9)))
        step = next((power * one for one in (1, 2, 5, 10) if power * one >= rough), power * 10)
        first = -(-self.low // step) * step
        return [first + step * n for n in range(int((self.high - first) // step) + 1)]


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return str(value)
