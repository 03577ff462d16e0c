"""The local HTTP API over a node that decides alone, without sockets."""

from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest
import trio

from p2p.api.bodies import BODY_BYTES_MAX
from p2p.api.server import make_app
from p2p.model.ad import Price, Resources
from p2p.model.inputs import PeerConnected
from p2p.model.ledger import RewardRow
from p2p.model.offer import Offer
from p2p.model.persistence import Put, Table, number_key
from p2p.model.topic import Topic, topic_name
from p2p.model.transaction import channel_id
from p2p.primitives.codec import encode
from p2p.primitives.keys import Key, account_text, peer_text
from p2p.primitives.units import MIB, Amount, ChannelId, Height
from p2p.protocol.gossip import PeerRated
from tests.api.fake_node import ADDRESS, GENESIS, KEY, OTHER, FakeNode

ME, THEM = account_text(KEY.account), account_text(OTHER.account)
TOKEN = "00ff" * 16


@pytest.fixture
async def client(node: FakeNode) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=make_app(node, TOKEN))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1:80", headers=headers
    ) as made:
        yield made


# ---- who may ask ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status", "sentence"),
    [
        ({"Authorization": ""}, 401, "show the token of the node's home"),
        ({"Authorization": f"Bearer {TOKEN}0"}, 401, "show the token of the node's home"),
        ({"Authorization": f"bearer {TOKEN}"}, 401, "show the token of the node's home"),
        ({"Host": "evil.example:80"}, 421, "this API answers to loopback names only"),
        ({"Host": "127.0.0.1.evil.example"}, 421, "this API answers to loopback names only"),
        ({"Host": "[::1"}, 421, "this API answers to loopback names only"),
        ({"Origin": "http://evil.example"}, 403, "this API does not serve other web pages"),
        ({"Origin": "null"}, 403, "this API does not serve other web pages"),
    ],
)
async def test_strangers_are_turned_away(
    client: httpx.AsyncClient, headers: dict[str, str], status: int, sentence: str
) -> None:
    answer = await client.get("/status", headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"].startswith(sentence)


@pytest.mark.parametrize("host", ["localhost:9", "[::1]:9", "127.0.0.1"])
async def test_the_owner_may_ask_by_any_name_of_loopback(
    client: httpx.AsyncClient, host: str
) -> None:
    origin = f"http://{host}"
    assert (await client.get("/status", headers={"Host": host, "Origin": origin})).is_success


async def test_what_is_not_there_is_explained(client: httpx.AsyncClient) -> None:
    for method, path, status, sentence in (
        ("GET", "/nothing", 404, "there is no such page in this API"),
        ("DELETE", "/offer", 405, "this page takes another method"),
        ("GET", "/blocks/9", 404, "no block of height 9 is stored here"),
        ("GET", "/blocks/x", 400, "a height is a number from 0 to 9007199254740992, not 'x'"),
        ("GET", "/rewards?height=9", 404, "no rewards of height 9 are stored here"),
        ("GET", "/ads?limit=10001", 400, "a limit is a number from 0 to 10000, not '10001'"),
        ("GET", "/account?id=me", 400, "not the peer id of an Ed25519 key: 'me'"),
    ):
        answer = await client.request(method, path)
        assert (answer.status_code, answer.json()) == (status, {"error": sentence})


# ---- what it answers --------------------------------------------------------------------------


async def test_the_status_says_how_the_node_is(client: httpx.AsyncClient, node: FakeNode) -> None:
    node.advance(2)
    status = (await client.get("/status")).json()
    assert (status["peer_id"], status["height"], status["validator_power"]) == (ME, 2, 1_000_000)
    assert status["chain_id"] == GENESIS.chain_id.hex()
    assert status["state_root"] == node.replica.state.root.hex()
    assert (status["balance"], status["bonded"]) == (5_000_000, 1_000_000)
    assert (status["addresses"], status["peers"], status["halted"]) == ([ADDRESS], 0, None)


async def test_a_node_is_healthy_while_blocks_come(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    node.advance(1)
    assert (await client.get("/health")).json() == {
        "ok": True,
        "why": None,
        "height": 1,
        "block_age_ms": 0,
    }
    node.clock_ms = type(node.clock_ms)(node.clock_ms + 20_001)
    stale = await client.get("/health")
    assert (stale.status_code, stale.json()["why"]) == (503, "no block came for a long time")
    node.replica.chain.halted = "I1: the supply is wrong"
    assert (await client.get("/health")).json()["why"] == "I1: the supply is wrong"


async def test_blocks_are_shown_with_the_names_of_the_design(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    node.advance(3)
    block = (await client.get("/blocks/2")).json()
    header = block["block"]["header"]
    assert (header["height"], header["proposer"]) == (2, ME)
    assert header["chain_id"] == GENESIS.chain_id.hex()
    assert [entry["validator"] for entry in block["certificate"]["signatures"]] == [ME]
    assert block["header_digest"] == block["certificate"]["header_digest"]
    assert (await client.get("/blocks/latest")).json()["block"]["header"]["height"] == 3


async def test_lists_have_what_the_node_knows(client: httpx.AsyncClient, node: FakeNode) -> None:
    node.advance(1)
    (validator,) = (await client.get("/validators")).json()
    assert validator == {"account": ME, "power": 1_000_000, "share": 1.0, "me": True}
    (ad,) = (await client.get("/ads")).json()
    assert (ad["provider"], ad["seq"], ad["type"]) == (ME, 1, "ad")
    assert (await client.get("/ads?limit=0")).json() == []
    for path in ("/peers", "/channels", "/receipts", "/obligations", "/blobs"):
        assert (await client.get(path)).json() == []
    genesis = (await client.get("/genesis")).json()
    assert (genesis["name"], genesis["accounts"][1]["account"]) == ("test", THEM)
    other = (await client.get(f"/account?id={THEM}")).json()
    assert (other["balance"], other["exists"], other["unbonding"]) == (3_000_000, True, [])


async def test_rewards_are_checked_against_their_block(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    node.advance(1)
    assert (await client.get("/rewards?height=1")).json() == {
        "height": 1,
        "rows": [],
        "problems": [],
    }
    invented = RewardRow(
        height=Height(1),
        channel=ChannelId(bytes(32)),
        consumer=OTHER.account,
        provider=KEY.account,
        epoch=Height(1),
        settled=Amount(0),
        quality=0,
        amount=Amount(100),
        fee=Amount(5),
        validators=Amount(0),
        bonus=Amount(0),
        burned=Amount(5),
        received=Amount(95),
    )
    node.store.commit([Put(Table.REWARDS, number_key(1), encode((invented,)))])
    answer = (await client.get("/rewards?height=1")).json()
    assert answer["rows"][0]["provider"] == ME
    assert answer["problems"]
    (mine,) = (await client.get("/rewards")).json()["rows"]
    assert (mine["consumer"], mine["received"]) == (THEM, 95)


# ---- what it orders ---------------------------------------------------------------------------


async def test_an_offer_changes_where_it_is_named_and_nowhere_else(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    before = node.replica.registry.offer
    change = {"storage_bytes": 5 * MIB, "accepting": True, "per_mib_get": 7, "region": "eu"}
    answer = await client.post("/offer", json=change)
    assert answer.json()["ad_seq"] == 2
    assert node.replica.registry.offer == msgspec.structs.replace(
        before,
        accepting=True,
        region="eu",
        resources=Resources(storage_bytes_total=5 * MIB, storage_bytes_free=5 * MIB),
        price=Price(per_mib_get=Amount(7)),
    )
    await client.post("/offer", json={"accepting": False})
    shown = (await client.get("/offer")).json()
    assert (shown["accepting"], shown["region"], shown["ad_seq"]) == (False, "eu", 3)


async def test_more_than_the_disk_is_never_offered(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    answer = await client.post("/offer", json={"storage_bytes": 65 * MIB})
    assert (answer.status_code, answer.json()["error"]) == (
        409,
        "65 MiB is more than storage.capacity in config.toml (64 MiB)",
    )
    refused = await client.post("/offer", json={"ttl_s": 10_000_000})
    assert refused.status_code == 409
    assert refused.json()["error"].startswith("the offer was refused: ")
    assert node.replica.registry.offer == Offer()


async def test_a_transaction_is_signed_published_and_found_in_its_block(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    node.blocks_on_ask = True
    action = {"type": "transfer", "to": THEM, "amount": 1_000}
    answer = (await client.post("/tx", json={"action": action, "wait_s": 5})).json()
    assert (answer["sender"], answer["nonce"], answer["height"]) == (ME, 0, 1)
    assert answer["action"] == action
    assert node.replica.state.accounts[OTHER.account].balance == 3_001_000


async def test_every_kind_of_order_is_understood(client: httpx.AsyncClient, node: FakeNode) -> None:
    channel = channel_id(node.chain_id, KEY.account, 2).hex()
    node.blocks_on_ask = True
    for action in (
        {"type": "bond", "amount": 500},
        {"type": "unbond", "amount": 200},
        {"type": "channel_open", "provider": THEM, "deposit": 2_000},
        {"type": "channel_topup", "channel": channel, "amount": 1_000},
        {"type": "channel_close", "channel": channel},
    ):
        answer = await client.post("/tx", json={"action": action, "fee": 20, "wait_s": 5})
        assert answer.json()["fee"] == 20
        assert answer.json()["height"] is not None
    (row,) = (await client.get("/channels")).json()
    assert (row["channel"], row["consumer"], row["provider"]) == (channel, ME, THEM)
    assert (row["deposit"], row["held"], row["closing_height"]) == (3_000, 3_000, 9)
    assert (await client.get("/account")).json()["unbonding"][0]["amount"] == 200


async def test_an_order_that_the_ledger_refuses_is_explained(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    action = {"type": "transfer", "to": THEM, "amount": 10_000_000}
    answer = await client.post("/tx", json={"action": action})
    assert answer.status_code == 409
    assert answer.json()["error"].startswith("the transaction was refused: ")


async def test_a_transaction_that_waits_is_no_error(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    action = {"type": "transfer", "to": THEM, "amount": 1}
    with trio.fail_after(5):
        answer = await client.post("/tx", json={"action": action, "wait_s": 0.01})
    assert answer.json()["height"] is None


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("/tx", b"{", "the body is not what /tx takes: Input data was truncated"),
        ("/tx", b"\xff", "the body is not what /tx takes: "),
        ("/tx", b'{"action": {"type": "mint"}}', "the body is not what /tx takes: Invalid value"),
        ("/tx", b'{"action": {"type": "bond", "amount": -1}}', "the body is not what /tx takes: E"),
        (
            "/tx",
            b'{"action": {"type": "transfer", "to": "me", "amount": 1}}',
            "not the peer id of an Ed25519 key: 'me'",
        ),
        (
            "/tx",
            b'{"action": {"type": "channel_close", "channel": "ab"}}',
            "expected 64 hex digits, not 'ab'",
        ),
        ("/offer", b'{"acepting": true}', "the body is not what /offer takes: Object contains un"),
        ("/blobs", b'{"path": "x", "replicas": 0}', "the body is not what /blobs takes: Expected"),
        ("/blobs/ab/get", b'{"destination": "x"}', "expected 64 hex digits, not 'ab'"),
    ],
)
async def test_a_bad_body_is_explained(
    client: httpx.AsyncClient, path: str, body: bytes, sentence: str
) -> None:
    answer = await client.post(path, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(sentence)


async def test_a_body_is_bounded(client: httpx.AsyncClient) -> None:
    answer = await client.post("/offer", content=b" " * (BODY_BYTES_MAX + 1))
    assert (answer.status_code, answer.json()) == (
        413,
        {"error": f"the body is longer than {BODY_BYTES_MAX} bytes"},
    )


async def test_metrics_show_gossip_under_names_that_people_know(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    peer = Key(bytes(32)).peer
    node.replica.step(PeerConnected(peer, outbound=True, address=""), node.now_ms())
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    ads = topic_name(Topic.ADS, node.chain_id)
    assert f'gossipsub_mesh_peer_counts{{topic="{ads}"}} 0.0' in lines
    assert "p2p_pubsub_duplicate_total 0.0" in lines
    assert 'p2p_pubsub_rpc_drop_total{priority="votes"} 0.0' in lines
    assert "gossipsub_rpc_overflows_total 0.0" in lines
    assert 'gossipsub_peer_score_bucket{le="0.0"} 1.0' in lines
    assert 'gossipsub_peers_below_threshold{threshold="graylist"} 0.0' in lines


async def test_peers_tell_their_gossip_scores(client: httpx.AsyncClient, node: FakeNode) -> None:
    peer = Key(bytes(32)).peer
    node.replica.step(PeerConnected(peer, outbound=True, address=""), node.now_ms())
    node.replica.gossip.step(PeerRated(peer, -3.0), node.now_ms())
    (entry,) = (await client.get("/peers")).json()
    assert entry["peer"] == peer_text(peer)
    assert entry["meshes"] == []
    assert entry["score"] == {
        "total": -3.0,
        "topics": {},
        "application": -3.0,
        "colocation": 0.0,
        "behaviour": 0.0,
    }
