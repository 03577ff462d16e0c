"""Virtual worlds as pytest fixtures, with the seed in the report of every test that fails.

    pytest_plugins = ["sim_harness.pytest_plugin"]        # in the conftest.py at the top

    @pytest.mark.world(nodes=7, validators=7)
    def test_partition_heals_without_a_fork(world: World) -> None:
        west, east = split(world.validators, 2, 5)
        world.run_until(height_at_least(3))
        with world.partition(west, east):
            world.run_for(seconds(30))
        world.run_until(caught_up(west, east), within=seconds(60))
        world.check()

`--world-seed 7` repeats a failure, `--world-seeds 20` runs every such test with twenty seeds. Nodes
of `world` are started; `new_world(...)` makes worlds with other arguments, to be started by hand.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Protocol

import pytest

if TYPE_CHECKING:
    from sim_harness.virtual.world import World

NODES: Final = 4
SEED: Final = 1
WORLDS: Final = pytest.StashKey[list["World"]]()
MARK: Final = "world(nodes=..., validators=..., ...): arguments of the `world` fixture's World"


class NewWorld(Protocol):
    """Makes a world with the seed of the test."""

    def __call__(self, **arguments: object) -> "World":
        """Arguments of `World`; 4 nodes, all of them validators, unless said."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--world-seed` and `--world-seeds`."""
    group = parser.getgroup("sim_harness", "virtual worlds")
    group.addoption("--world-seed", type=int, default=SEED, help="seed of virtual worlds")
    group.addoption("--world-seeds", type=int, default=1, help="how many seeds, from that one on")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", MARK)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a seed."""
    count = metafunc.config.getoption("--world-seeds")
    if "world_seed" in metafunc.fixturenames and count > 1:
        first = metafunc.config.getoption("--world-seed")
        metafunc.parametrize("world_seed", range(first, first + count), ids="seed{}".format)


@pytest.fixture
def world_seed(request: pytest.FixtureRequest) -> int:
    """The seed of this test's worlds."""
    seed: int = request.config.getoption("--world-seed")
    return seed


@pytest.fixture
def new_world(request: pytest.FixtureRequest, world_seed: int) -> NewWorld:
    """Makes worlds of this test's seed, and remembers them for the report."""
    from sim_harness.virtual.world import World

    made = request.node.stash.setdefault(WORLDS, [])

    def make(**arguments: object) -> World:
        nodes = arguments.pop("nodes", NODES)
        validators = arguments.pop("validators", nodes)
        seed = arguments.pop("seed", world_seed)
        world = World(seed=seed, nodes=nodes, validators=validators, **arguments)  # type: ignore[arg-type]
        made.append(world)
        return world

    return make


@pytest.fixture
def world(request: pytest.FixtureRequest, new_world: NewWorld) -> "World":
    """A world as the test's `world` marker says, with all nodes started."""
    mark = request.node.get_closest_marker("world")
    made = new_world(**(mark.kwargs if mark is not None else {}))
    made.start()
    return made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failure names the seed, what became of its worlds, and the words that repeat it."""
    report = yield
    worlds = item.stash.get(WORLDS, [])
    if report.failed and worlds:  # type: ignore[attr-defined]
        report.sections.append(("virtual world", "\n".join(_told(item, worlds))))  # type: ignore[attr-defined]
    return report


def _told(item: pytest.Item, worlds: "list[World]") -> list[str]:
    lines = []
    for world in worlds:
        at_s = (world.now_ms - world.genesis.time_ms) / 1_000
        heights = " ".join(str(node.height) if node.is_up else "-" for node in world.nodes)
        lines.append(f"seed {world.seed}, at {at_s:.3f} s, heights {heights}")
        lines.append(f"digest {world.digest}")
    name = item.nodeid.partition("[seed")[0]
    return [*lines, f"repeat: pytest '{name}' --world-seed {worlds[0].seed}"]
