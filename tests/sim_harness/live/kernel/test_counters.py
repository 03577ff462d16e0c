"""What nft and tc print, as they print it."""

from sim_harness.live.kernel.counters import Counter, class_bytes, class_drops, counters

NFT = (
    '{"nftables": [{"metainfo": {"version": "1.0.6", "json_schema_version": 1}},'
    ' {"counter": {"family": "ip", "name": "seen", "table": "t", "handle": 4,'
    ' "packets": 51, "bytes": 38228}},'
    ' {"counter": {"family": "ip", "name": "dropped", "table": "t", "handle": 5,'
    ' "packets": 0, "bytes": 0}}]}'
)
TC = """\
class htb 1:2 root leaf 2: prio 0 rate 64Kbit ceil 64Kbit burst 1600b cburst 1600b
 Sent 37094 bytes 27 pkt (dropped 3, overlimits 25 requeues 0)
 backlog 27252b 18p requeues 0
 lended: 27 borrowed: 0 giants: 0
 tokens: -2956504 ctokens: -2956504

class htb 1:a root prio 0 rate 8Mbit ceil 8Mbit burst 20000b cburst 20000b
 Sent 0 bytes 0 pkt (dropped 0, overlimits 0 requeues 0)
 backlog 0b 0p requeues 0
"""


def test_counters_are_read_by_name() -> None:
    assert counters(NFT) == {"seen": Counter(51, 38_228), "dropped": Counter()}


def test_classes_are_read_by_name() -> None:
    assert class_bytes(TC) == {"1:2": 37_094, "1:a": 0}
    assert class_drops(TC) == {"1:2": 3, "1:a": 0}
    assert class_bytes("") == {}
