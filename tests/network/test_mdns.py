"""Multicast DNS: what is announced, what is heard, and two nodes that find each other by it."""

from functools import partial

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from p2p.network.mdns import ADDRESSES_MAX, discover, dns_addresses, txt_records


@given(
    st.lists(
        st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=200),
        max_size=12,
        unique=True,
    )
)
def test_addresses_survive_their_record_up_to_the_bound(addresses: list[str]) -> None:
    assert dns_addresses(txt_records(addresses)) == tuple(addresses[:ADDRESSES_MAX])


@given(st.binary(max_size=600))
def test_any_record_is_read_without_an_error(text: bytes) -> None:
    assert len(dns_addresses(text)) <= ADDRESSES_MAX


def test_other_entries_and_other_alphabets_are_passed_over() -> None:
    record = b"\x05hello" + b"\x0adnsaddr=\xff\xfe" + txt_records(["/ip4/1.2.3.4/tcp/1/p2p/x"])
    assert dns_addresses(record) == ("/ip4/1.2.3.4/tcp/1/p2p/x",)
    assert dns_addresses(None) == ()


@pytest.mark.live
async def test_two_nodes_of_one_network_find_each_other() -> None:
    """On the loopback interface alone: nothing leaves this machine."""
    first, second = "/ip4/127.0.0.1/tcp/1/p2p/one", "/ip4/127.0.0.1/tcp/2/p2p/two"
    heard: set[tuple[str, str]] = set()
    both_met = trio.Event()

    def hear(me: str, addresses: tuple[str, ...]) -> None:
        heard.update((me, address) for address in addresses)
        if {(first, second), (second, first)} <= heard:
            both_met.set()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for me in (first, second):
                await nursery.start(
                    partial(discover, [me], partial(hear, me), interfaces=["127.0.0.1"])
                )
            await both_met.wait()
            nursery.cancel_scope.cancel()
    assert (first, first) not in heard
