"""What a sweep runs: settings of a scenario's keys, and seeds.

--set network.nodes=50,100 --set parameters.flush_ms=0,50 --repeat 3   ->   2 x 2 x 3 runs
"""

import re
import tomllib
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Final

import msgspec
import tomlkit
from tomlkit.exceptions import TOMLKitError

from p2p.primitives.digests import digest
from sim_harness.scenario.reading import parse_scenario
from sim_harness.scenario.schema import Scenario
from sim_harness.scenario.sections import ScenarioError

Setting = int | float | bool | str
RUNS_MAX: Final = 100_000


class Axis(msgspec.Struct, frozen=True):
    """One key of the scenario file, and its values."""

    key: str
    values: tuple[Setting, ...]


class Job(msgspec.Struct, frozen=True):
    """One run: all that a worker needs, wherever it is."""

    text: str
    """Of the scenario, with the settings in it."""
    directory: str
    """Where its paths begin."""
    settings: tuple[tuple[str, Setting], ...]
    seed: int
    world: str
    kernel: bool = False
    """Whether the kernel breaks the network of live nodes."""

    @property
    def name(self) -> str:
        """What tells it from all others of the sweep, and of other sweeps."""
        world = self.world + (" kernel" if self.kernel else "")
        return digest(self.text.encode(), world.encode(), b"%d" % self.seed).hex()[:16]

    def scenario(self) -> Scenario:
        """As it is to be run. Raises ScenarioError."""
        return parse_scenario(self.text, Path(self.directory) / "sweep.toml")


def parse_axis(text: str) -> Axis:
    """`network.nodes=50,100`. Raises ValueError."""
    key, equals, values = text.partition("=")
    if not equals or not key.strip() or not values.strip():
        raise ValueError(f"--set {text}: expected KEY=VALUE,VALUE such as network.nodes=50,100")
    if values.lstrip().startswith(("[", "{")):
        raise ValueError(f"--set {text}: a list or a table cannot be swept; give single values")
    found = tuple(parse_value(one.strip()) for one in values.split(","))
    if len(set(map(str, found))) < len(found):
        raise ValueError(f"--set {text}: a value stands there twice")
    return Axis(key.strip(), found)


def parse_axes(texts: Sequence[str]) -> list[Axis]:
    """All of them, each key once. Raises ValueError."""
    axes = [parse_axis(text) for text in texts]
    keys = [axis.key for axis in axes]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"--set {key} is said twice: give its values in one, as {key}=V,V")
    return axes


def parse_value(text: str) -> Setting:
    """A value as TOML has it; whatever is none is a text, such as 20ms."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, int | float | bool | str) else text


def jobs_of(
    file: Path,
    axes: Sequence[Axis],
    *,
    repeat: int,
    seed: int,
    world: str,
    kernel: bool = False,
) -> list[Job]:
    """Every run of a sweep; seeds vary fastest. Raises ScenarioError."""
    text = read_text(file)
    parse_scenario(text, file)
    jobs = []
    for values in product(*(axis.values for axis in axes)):
        settings = tuple(zip((axis.key for axis in axes), values, strict=True))
        changed = with_settings(text, settings)
        # A combination that makes no sense is refused before anything runs.
        try:
            parse_scenario(changed, file)
        except ScenarioError as error:
            raise ScenarioError(f"{_said(settings)}: {_without_line(str(error), file)}") from None
        place = str(file.parent.absolute())
        jobs += [
            Job(changed, place, settings, seed + number, world, kernel) for number in range(repeat)
        ]
    if len(jobs) > RUNS_MAX:
        raise ScenarioError(f"{len(jobs)} runs are more than {RUNS_MAX}")
    return jobs


def read_text(file: Path) -> str:
    """A scenario's file. Raises ScenarioError."""
    try:
        text = file.read_text(encoding="utf-8")
        tomlkit.parse(text)
    except OSError as error:
        raise ScenarioError(f"cannot read {file}: {error.strerror}") from None
    except (UnicodeDecodeError, TOMLKitError) as error:
        raise ScenarioError(f"{file}: not valid TOML: {error}") from None
    return text


def _said(settings: Sequence[tuple[str, Setting]]) -> str:
    return " ".join(f"--set {key}={value}" for key, value in settings) or "the scenario"


def _without_line(sentence: str, file: Path) -> str:
    """Lines of a text that was made from the file are those of no file."""
    return re.sub(rf"^{re.escape(str(file))}(:\d+)?: ", "", sentence)


def with_settings(text: str, settings: Sequence[tuple[str, Setting]]) -> str:
    """The text of a scenario with other values; `fault.0.for` names a table of an array."""
    document = tomlkit.parse(text).unwrap()
    for key, value in settings:
        place: object = document
        *path, last = key.split(".")
        for word in path:
            place = _inside(place, word, key)
        if isinstance(place, list) and last.isdecimal() and int(last) < len(place):
            place[int(last)] = value
        elif isinstance(place, dict):
            place[last] = value
        else:
            raise ScenarioError(f"--set {key}: there is no such place in the scenario")
    return tomlkit.dumps(document)


def _inside(place: object, word: str, key: str) -> object:
    if isinstance(place, dict):
        return place.setdefault(word, {})
    if isinstance(place, list) and word.isdecimal() and int(word) < len(place):
        return place[int(word)]
    raise ScenarioError(f"--set {key}: {word!r} is no part of the scenario")
