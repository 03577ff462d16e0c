"""A network on one machine: homes that agree with one another."""

import socket
from pathlib import Path

import pytest

from p2p.model.parameters import Parameters, with_overrides
from p2p.node.errors import UserError
from p2p.node.testnet import NetworkPlan, free_base_port, make_testnet
from p2p.primitives.keys import peer_text
from p2p.primitives.units import Amount, Millis


def test_homes_share_a_genesis_and_know_other_nodes(tmp_path: Path) -> None:
    parameters = with_overrides(Parameters(), {"epoch_ms": 400})
    plan = NetworkPlan(nodes=5, validators=2, base_port=27000, parameters=parameters)
    made = make_testnet(tmp_path / "net", plan)

    assert [home.path.name for home in made.homes] == [f"node-00{i}" for i in range(5)]
    assert {home.read_genesis() for home in made.homes} == {made.genesis}
    assert made.genesis.parameters == parameters
    assert [entry.account for entry in made.genesis.validators] == [
        key.account for key in made.keys[:2]
    ]
    assert [home.read_key().account for home in made.homes] == [key.account for key in made.keys]
    names = [
        f"/ip4/127.0.0.1/tcp/{27000 + index}/p2p/{peer_text(key.peer)}"
        for index, key in enumerate(made.keys)
    ]
    seeds = [home.read_config().network.seeds for home in made.homes]
    assert seeds[1] == (names[0], names[2])
    assert seeds[4] == (names[3], names[2], names[0])
    told_of = [name for of_one in seeds for name in of_one]
    assert max(told_of.count(name) for name in names) <= 3
    assert [home.read_config().offer.region for home in made.homes[:3]] == [
        "eu-west",
        "us-east",
        "ap-south",
    ]


def test_a_secret_makes_the_same_network_again(tmp_path: Path) -> None:
    plan = NetworkPlan(secret=b"seed", time_ms=Millis(1_000), base_port=27000)
    first, second = (make_testnet(tmp_path / name, plan) for name in ("a", "b"))
    other = make_testnet(
        tmp_path / "c", NetworkPlan(secret=b"tree", time_ms=Millis(1_000), base_port=27000)
    )
    assert first.genesis.chain_id == second.genesis.chain_id != other.genesis.chain_id


def test_free_ports_lie_in_a_row_below_those_of_outgoing_connections() -> None:
    base = free_base_port("127.0.0.1", 8)
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert base + 8 <= lowest
    for port in range(base, base + 8):
        with socket.socket() as one:
            one.bind(("127.0.0.1", port))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (NetworkPlan(nodes=0), "a testnet has 1 to 10000 nodes, not 0"),
        (NetworkPlan(nodes=3, validators=4), "3 nodes have 1 to 3 validators, not 4"),
        (NetworkPlan(nodes=200, validators=101), "200 nodes have 1 to 100 validators, not 101"),
        (NetworkPlan(base_port=65533), "from port 65533 on there are no 4 usable ports"),
        (NetworkPlan(bond=Amount(0)), "cannot begin a chain so: no account is bonded"),
        (NetworkPlan(host="1.2.3"), "found no 4 free ports in a row on 1.2.3"),
        (NetworkPlan(base_port=27000, host="1.2"), "cannot configure a node so: '/ip4/1.2/tcp"),
    ],
)
def test_what_cannot_be_made_is_explained_and_leaves_nothing(
    plan: NetworkPlan, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        make_testnet(tmp_path / "net", plan)
    assert str(caught.value).startswith(message)
    assert not (tmp_path / "net").exists()


def test_an_existing_directory_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{tmp_path} exists already: choose another directory$"):
        make_testnet(tmp_path, NetworkPlan())
