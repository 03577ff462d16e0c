"""What the local API answers to GET: a node's parts, read and made plain.

Everything here runs in the node's own task and changes nothing; lists are bounded by `limit`.
"""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from p2p import __version__
from p2p.api.plain import plain, row
from p2p.api.values import Json, Row
from p2p.model.blob import Obligation
from p2p.model.block import CommittedBlock
from p2p.model.ledger import Account, Channel, RewardRow
from p2p.model.parameters import BLOCK_BYTES_MAX, Genesis
from p2p.model.persistence import Table, number_key
from p2p.node.port import NodePort
from p2p.primitives.codec import decode
from p2p.primitives.keys import account_of, account_text, peer_text
from p2p.primitives.units import AccountId, BlobId, ChannelId, Height
from p2p.protocol.gossip import ScoreReport
from p2p.protocol.invariants import check_rewards
from p2p.storage.blocks import stored_block

LIMIT_DEFAULT: Final = 1_000
LIMIT_MAX: Final = 10_000
STALE_EPOCHS: Final = 5
"""A chain that stood still for longer than this is reported as unhealthy."""


class NotFound(Exception):
    """What was asked for is not here; the text is a sentence."""


def status(node: NodePort) -> Row:
    """The node at a glance."""
    state, me = node.replica.state, node.account
    account = state.accounts.get(me, Account())
    offer = node.replica.registry.offer
    addresses: Json = list(node.transport.listen_addresses())
    return {
        "peer_id": account_text(me),
        "version": __version__,
        "pid": os.getpid(),
        "home": str(node.home),
        "chain": node.genesis.name,
        "chain_id": node.chain_id.hex(),
        "height": int(state.height),
        "header_digest": state.header_digest.hex(),
        "state_root": state.root.hex(),
        "block_time_ms": int(state.time_ms),
        "now_ms": int(node.now_ms()),
        "halted": node.replica.chain.halted,
        "peers": len(peers(node)),
        "addresses": addresses,
        "validator_power": state.validators.powers().get(me, 0),
        "validators": len(state.validators.validators),
        "balance": int(account.balance),
        "bonded": int(account.bonded),
        "accepting": offer.accepting,
        "storage_bytes_total": offer.resources.storage_bytes_total,
        "ads": len(node.replica.registry.ads()),
    }


def health(node: NodePort) -> tuple[bool, Row]:
    """Whether the node does its work: it is not halted, and blocks keep coming."""
    state, now_ms = node.replica.state, node.now_ms()
    parameters = node.genesis.parameters
    since_ms = max(0, now_ms - (state.time_ms or node.genesis.time_ms))
    allowed_ms = STALE_EPOCHS * (parameters.epoch_ms + parameters.propose_timeout_ms)
    halted = node.replica.chain.halted
    is_stale = since_ms > allowed_ms
    ok = halted is None and not is_stale
    why = halted or ("no block came for a long time" if is_stale else None)
    return ok, {"ok": ok, "why": why, "height": int(state.height), "block_age_ms": since_ms}


def peers(node: NodePort) -> list[Json]:
    """Connected peers, where they are, and what their gossip is worth, by peer id."""
    found: list[Json] = []
    gossip = node.replica.gossip
    for peer in sorted(node.replica.membership.connected):
        account = account_of(peer)
        ad = None if account is None else node.replica.registry.get(account)
        found.append(
            {
                "peer": peer_text(peer),
                "addresses": plain(
                    node.replica.membership.addresses_of(account) if account else ()
                ),
                "region": ad.value.region if ad else "",
                "validator": account in node.replica.state.validators.powers(),
                "score": _score(gossip.score_report(peer)),
                "meshes": [topic for topic in gossip.topics if peer in gossip.mesh(topic)],
            }
        )
    return found


def _score(report: ScoreReport | None) -> Row | None:
    """A gossip score and its parts, in points; None for a peer that gossip does not know."""
    if report is None:
        return None
    return {
        "total": round(report.score, 2),
        "topics": {
            topic: {
                "time_in_mesh": round(one.time_in_mesh, 2),
                "first_deliveries": round(one.first_deliveries, 2),
                "mesh_deliveries": round(one.mesh_deliveries, 2),
                "mesh_failures": round(one.mesh_failures, 2),
                "invalid": round(one.invalid, 2),
            }
            for topic, one in report.topics.items()
        },
        "application": round(report.application, 2),
        "colocation": round(report.colocation, 2),
        "behaviour": round(report.behaviour, 2),
    }


def ads(node: NodePort, limit: int) -> list[Json]:
    """The newest ad of every provider, by provider."""
    return [
        row(ad.value, digest=ad.value.digest().hex(), expires_ms=int(ad.value.expires_ms))
        for ad in node.replica.registry.ads()[:limit]
    ]


def offer(node: NodePort) -> Row:
    """What the operator lends, and the ad that says so."""
    registry = node.replica.registry
    ad = registry.get(node.account)
    return row(registry.offer, ad_seq=ad.value.seq if ad else None)


def channels(node: NodePort, *, everybody: bool, limit: int) -> list[Json]:
    """Channels of this node, or all on the ledger, by channel."""
    me = node.account
    entries = (
        (key, channel)
        for key, channel in node.replica.state.channels.items()
        if everybody or me in (channel.consumer, channel.provider)
    )
    return [_channel(node, key, channel) for key, channel in islice(entries, limit)]


def _channel(node: NodePort, key: ChannelId, channel: Channel) -> Row:
    return row(
        channel,
        channel=key.hex(),
        held=channel.held,
        promised=int(node.replica.channels.promised(key)),
        blobs=len(node.replica.channels.obligations.of_channel(key)),
    )


def receipts(node: NodePort, limit: int) -> list[Json]:
    """The newest receipt of each channel that both parties signed, and whether it is settled."""
    found: list[Json] = []
    for key, record in islice(node.replica.channels.records(), limit):
        if record.receipt is not None:
            ledger = node.replica.state.channels.get(key)
            settled = int(ledger.settled) if ledger else None
            found.append(row(record.receipt, settled=settled))
    return found


def blobs(node: NodePort, limit: int) -> list[Json]:
    """This node's own blobs, each with the replicas that providers hold, as first recorded."""
    found: dict[BlobId, list[Obligation]] = {}
    for replica in node.blobs.ls():
        found.setdefault(replica.blob, []).append(replica)
    return [_blob(replicas) for replicas in islice(found.values(), limit)]


def _blob(replicas: list[Obligation]) -> Row:
    held: Json = [
        {
            "provider": account_text(replica.provider),
            "channel": replica.channel.hex(),
            "until_epoch": replica.until_epoch,
        }
        for replica in replicas
    ]
    return {
        "blob": replicas[0].blob.hex(),
        "name": replicas[0].name,
        "size_bytes": replicas[0].size_bytes,
        "until_epoch": min(replica.until_epoch for replica in replicas),
        "replicas": held,
    }


def obligations(node: NodePort, limit: int) -> list[Json]:
    """Blobs held for others, and blobs that others hold for this node."""
    held: Iterable[Obligation] = node.replica.channels.obligations
    return [row(item, mine=item.consumer == node.account) for item in islice(held, limit)]


def rewards(node: NodePort, height: Height | None, limit: int) -> Row:
    """Rewards of one block, checked against it; or the newest rows that concern this node."""
    if height is not None:
        rows = _stored_rewards(node, height)
        committed = _stored(node, height)
        problems: list[Json] = [
            f"{found.name}: {found.detail}" for found in check_rewards(committed.block, rows)
        ]
        return {"height": int(height), "rows": plain(rows), "problems": problems}
    mine = (
        entry for entry in _newest_rewards(node) if node.account in (entry.provider, entry.consumer)
    )
    newest: Json = [row(entry) for entry in islice(mine, limit)]
    return {"height": None, "rows": newest, "problems": []}


def _newest_rewards(node: NodePort) -> Iterator[RewardRow]:
    for _, data in node.store.scan(Table.REWARDS, reverse=True, limit=LIMIT_MAX):
        yield from decode(data, tuple[RewardRow, ...], bytes_max=BLOCK_BYTES_MAX)


def _stored_rewards(node: NodePort, height: Height) -> tuple[RewardRow, ...]:
    data = node.store.get(Table.REWARDS, number_key(height))
    if data is None:
        raise NotFound(f"no rewards of height {height} are stored here")
    return decode(data, tuple[RewardRow, ...], bytes_max=BLOCK_BYTES_MAX)


def block(node: NodePort, height: Height) -> Row:
    """A committed block with its certificate."""
    committed = _stored(node, height)
    return row(committed, header_digest=committed.block.header.digest().hex())


def _stored(node: NodePort, height: Height) -> CommittedBlock:
    found = stored_block(node.store, height)
    if found is None:
        raise NotFound(f"no block of height {height} is stored here")
    return found


def validators(node: NodePort) -> list[Json]:
    """Who decides the next height, by power downwards."""
    total = node.replica.state.validators.total_power
    return [
        row(entry, share=round(entry.power / total, 6), me=entry.account == node.account)
        for entry in node.replica.state.validators.validators
    ]


def account(node: NodePort, of: AccountId) -> Row:
    """What an account owns."""
    state = node.replica.state
    found = state.accounts.get(of, Account())
    unbonding: Json = [row(entry) for entry in state.unbonding if entry.account == of]
    return row(found, account=account_text(of), unbonding=unbonding, exists=of in state.accounts)


def genesis(node: NodePort) -> Row:
    """What the chain agrees on."""
    begun: Genesis = node.genesis
    return row(begun, chain_id=node.chain_id.hex())
