"""What a node process tells the harness."""

import socket
from pathlib import Path

import trio

from sim_harness.live.messages import PACKET_BYTES_MAX, AdsNoted, unpack_word
from sim_harness.live.node_watch import Watcher
from sim_harness.live.task import Reporter
from tests.api.fake_node import KEY, FakeNode


async def test_ads_that_were_learned_before_anybody_watched_are_told(tmp_path: Path) -> None:
    """Given a node that has its ad; when it is watched from now on; then the ad is told."""
    node = FakeNode(tmp_path)
    known = [(ad.value.provider, ad.value.seq) for ad in node.replica.registry.ads()]
    assert [provider for provider, _ in known] == [KEY.account]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        watcher = Watcher(node, Reporter(theirs), with_ads=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watcher.follow)
            with trio.fail_after(5):
                await trio.lowlevel.wait_readable(ours.fileno())
            told = unpack_word(ours.recv(PACKET_BYTES_MAX))
            nursery.cancel_scope.cancel()
    assert isinstance(told, AdsNoted)
    assert [(ad.provider, ad.seq) for ad in told.ads] == known
