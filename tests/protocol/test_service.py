"""The window protocol and the choice of providers."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.model.ad import CapacityAd, Price, Resources
from p2p.model.blob import CHUNK_BYTES_MIN, Manifest
from p2p.model.commands import Work
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.primitives.digests import ZERO_DIGEST, digest
from p2p.primitives.units import MIB, Amount, BlobId, Height
from p2p.protocol.service import (
    Aborted,
    AcceptPay,
    Began,
    Candidate,
    ChunksMoved,
    CompleteBlob,
    ConsumerTransfer,
    Finish,
    KeepReceipt,
    MoveWindow,
    PaidReceived,
    PayAccepted,
    PayDeclined,
    PayReceived,
    Plan,
    ProviderTransfer,
    ReceiptSigned,
    RefusedReceived,
    SendPaid,
    SendPay,
    SendRefused,
    SignWindow,
    Wanted,
    Window,
    agree_window,
    choose_providers,
    next_provider,
    plan_get,
    plan_put,
    rank_providers,
    total_work,
)
from p2p.protocol.service.transfers import PAY_TRIES_MAX
from tests.protocol.parties import NOW_MS, WORST_RECEIPT, ad_of, key_of, obligation

CHUNK = CHUNK_BYTES_MIN
HELD = obligation(b"blob")


def blob(chunks: int, *, short: int = 0) -> Manifest:
    return Manifest(ZERO_DIGEST, chunks * CHUNK - short, CHUNK)


def receipt(seq: int) -> ServiceReceipt:
    return msgspec.structs.replace(WORST_RECEIPT, seq=seq)


def put(chunks: int, *, window: int = 2, epochs: int = 1) -> Plan:
    return plan_put(blob(chunks), epochs=epochs, window_bytes=window * CHUNK)


def get(chunks: int, *, window: int = 2, from_chunk: int = 0) -> Plan:
    return plan_get(blob(chunks), from_chunk=from_chunk, window_bytes=window * CHUNK)


# ---- windows -------------------------------------------------------------------------------------


@given(
    chunks=st.integers(0, 40),
    short=st.integers(0, CHUNK - 1),
    window=st.integers(1, 10 * CHUNK),
    start=st.integers(0, 40),
    epochs=st.integers(1, 1000),
    is_put=st.booleans(),
)
def test_windows_cover_a_transfer_once_and_their_work_adds_up(
    *, chunks: int, short: int, window: int, start: int, epochs: int, is_put: bool
) -> None:
    manifest = blob(chunks, short=short if chunks else 0)
    if is_put:
        plan = plan_put(manifest, epochs=epochs, window_bytes=window)
    else:
        plan = plan_get(manifest, from_chunk=min(start, chunks), window_bytes=window)
    windows = [plan.window(index) for index in range(plan.windows)]
    moved = [
        index
        for one in windows
        for index in range(one.first_chunk, one.first_chunk + one.chunk_count)
    ]
    assert moved == list(range(plan.from_chunk, manifest.chunks))
    assert sum((one.work for one in windows), Work()) == total_work(plan)
    assert [one.is_last for one in windows] == [False] * (len(windows) - 1) + [True] * bool(windows)
    assert all(one.work.bytes_put + one.work.bytes_get <= max(window, CHUNK) for one in windows)
    with pytest.raises(IndexError):
        plan.window(plan.windows)


def test_storage_is_paid_with_the_last_window_by_every_mib_begun() -> None:
    plan = put(5, window=2, epochs=7)
    assert [plan.window(index).work for index in range(3)] == [
        Work(bytes_put=2 * CHUNK),
        Work(bytes_put=2 * CHUNK),
        Work(bytes_put=CHUNK, mib_epochs=7),
    ]


def test_the_smaller_window_holds_in_whole_chunks() -> None:
    assert agree_window(100, 1000, 350) == 300
    assert agree_window(100, 250, 1000) == 200
    assert agree_window(100, 99, 1000) == 100


# ---- a transfer without trouble ------------------------------------------------------------------


def test_a_consumer_signs_each_window_before_the_next_moves() -> None:
    plan = put(3)
    transfer = ConsumerTransfer(plan, adds=HELD)
    assert transfer.step(Began()) == [MoveWindow(plan.window(0))]
    assert transfer.step(ChunksMoved(1)) == []
    assert transfer.unpaid == Work(bytes_put=CHUNK)
    assert transfer.step(ChunksMoved(1)) == [SignWindow(Work(bytes_put=2 * CHUNK), None, None)]
    assert transfer.step(ReceiptSigned(receipt(1))) == [SendPay(receipt(1))]
    assert transfer.unpaid == Work(bytes_put=2 * CHUNK)
    assert transfer.step(PaidReceived(receipt(1))) == [
        KeepReceipt(receipt(1)),
        MoveWindow(plan.window(1)),
    ]
    assert transfer.unpaid == Work()
    last = Work(bytes_put=CHUNK, mib_epochs=1)
    assert transfer.step(ChunksMoved(1)) == [SignWindow(last, HELD, None)]
    assert transfer.step(ReceiptSigned(receipt(2))) == [SendPay(receipt(2))]
    assert transfer.step(PaidReceived(receipt(2))) == [KeepReceipt(receipt(2)), Finish()]
    assert transfer.unpaid == Work()


def test_a_provider_of_a_put_completes_the_blob_before_it_accepts_the_last_pay() -> None:
    plan = put(3)
    transfer = ProviderTransfer(plan, adds=HELD)
    assert transfer.step(Began()) == [MoveWindow(plan.window(0))]
    assert transfer.step(ChunksMoved(2)) == []
    assert transfer.unpaid == Work(bytes_put=2 * CHUNK)
    assert transfer.step(PayReceived(receipt(1))) == [
        AcceptPay(receipt(1), Work(bytes_put=2 * CHUNK), None)
    ]
    assert transfer.step(PayAccepted(receipt(1))) == [
        SendPaid(receipt(1)),
        MoveWindow(plan.window(1)),
    ]
    assert transfer.step(ChunksMoved(1)) == []
    assert transfer.step(PayReceived(receipt(2))) == [
        CompleteBlob(),
        AcceptPay(receipt(2), Work(bytes_put=CHUNK, mib_epochs=1), HELD),
    ]
    assert transfer.step(PayAccepted(receipt(2))) == [SendPaid(receipt(2)), Finish()]
    assert transfer.unpaid == Work()


def test_a_provider_of_a_get_completes_nothing() -> None:
    transfer = ProviderTransfer(get(1))
    transfer.step(Began())
    transfer.step(ChunksMoved(1))
    accept = AcceptPay(receipt(1), Work(bytes_get=CHUNK), None)
    assert transfer.step(PayReceived(receipt(1))) == [accept]


def test_a_get_goes_on_where_another_provider_stopped() -> None:
    plan = get(5, window=2, from_chunk=3)
    transfer = ConsumerTransfer(plan)
    window = Window(3, 2, Work(bytes_get=2 * CHUNK), is_last=True)
    assert transfer.step(Began()) == [MoveWindow(window)]


def test_what_is_owed_from_before_is_paid_with_the_first_window() -> None:
    owed = Work(bytes_get=7)
    for transfer in (ConsumerTransfer(get(3), owed=owed), ProviderTransfer(get(3), owed=owed)):
        assert transfer.unpaid == owed
    consumer = ConsumerTransfer(get(3), owed=owed)
    consumer.step(Began())
    assert consumer.step(ChunksMoved(2)) == [SignWindow(Work(bytes_get=7 + 2 * CHUNK), None, None)]
    consumer.step(ReceiptSigned(receipt(1)))
    consumer.step(PaidReceived(receipt(1)))
    assert consumer.step(ChunksMoved(1)) == [SignWindow(Work(bytes_get=CHUNK), None, None)]


def test_an_empty_blob_is_agreed_on_without_a_chunk() -> None:
    plan = put(0)
    consumer, provider = ConsumerTransfer(plan, adds=HELD), ProviderTransfer(plan, adds=HELD)
    nothing = MoveWindow(Window(0, 0, Work(), is_last=True))
    assert consumer.step(Began()) == [nothing, SignWindow(Work(), HELD, None)]
    assert provider.step(Began()) == [nothing]
    assert provider.step(PayReceived(receipt(1))) == [
        CompleteBlob(),
        AcceptPay(receipt(1), Work(), HELD),
    ]
    assert ConsumerTransfer(get(0)).step(Began()) == [Finish()]
    assert ProviderTransfer(get(0)).step(Began()) == [Finish()]


# ---- trouble -------------------------------------------------------------------------------------


def at_pay() -> ConsumerTransfer:
    transfer = ConsumerTransfer(get(2))
    transfer.step(Began())
    transfer.step(ChunksMoved(2))
    transfer.step(ReceiptSigned(receipt(1)))
    return transfer


def test_a_block_between_makes_the_consumer_sign_again_a_few_times() -> None:
    transfer = at_pay()
    work = Work(bytes_get=2 * CHUNK)
    for epoch in range(2, 1 + PAY_TRIES_MAX):
        wrong = RefusedReceived(Reason.WRONG_EPOCH, "old", Height(epoch))
        assert transfer.step(wrong) == [SignWindow(work, None, Height(epoch))]
        transfer.step(ReceiptSigned(receipt(epoch)))
    wrong = RefusedReceived(Reason.WRONG_EPOCH, "old", Height(9))
    assert transfer.step(wrong) == [Aborted(Reason.WRONG_EPOCH, "old")]
    assert transfer.unpaid == work


@pytest.mark.parametrize(
    "refused",
    [RefusedReceived(Reason.OVERSPENT, "poor"), RefusedReceived(Reason.WRONG_EPOCH, "which?")],
)
def test_any_other_refusal_ends_it(refused: RefusedReceived) -> None:
    assert at_pay().step(refused) == [Aborted(refused.reason, refused.detail)]


def test_a_refusal_between_pays_ends_it() -> None:
    transfer = ConsumerTransfer(get(2))
    transfer.step(Began())
    assert transfer.step(RefusedReceived(Reason.NO_SPACE)) == [Aborted(Reason.NO_SPACE)]


def test_another_receipt_than_the_one_signed_is_no_pay() -> None:
    effects = at_pay().step(PaidReceived(receipt(5)))
    assert effects == [Aborted(Reason.EQUIVOCATION, "the provider returned another receipt")]


def test_a_provider_asks_for_another_epoch_a_few_times() -> None:
    transfer = ProviderTransfer(put(1), adds=HELD)
    transfer.step(Began())
    transfer.step(ChunksMoved(1))
    why = Rejected(Reason.WRONG_EPOCH, "old")
    refused = SendRefused(Reason.WRONG_EPOCH, "old", Height(5))
    accept = AcceptPay(receipt(1), Work(bytes_put=CHUNK, mib_epochs=1), HELD)
    assert transfer.step(PayReceived(receipt(1))) == [CompleteBlob(), accept]
    for _ in range(PAY_TRIES_MAX - 1):
        assert transfer.step(PayDeclined(why, Height(5))) == [refused]
        assert transfer.step(PayReceived(receipt(1))) == [accept]
    assert transfer.step(PayDeclined(why, Height(5))) == [
        refused,
        Aborted(Reason.WRONG_EPOCH, "old"),
    ]
    # The blob is let go, so its storage is not owed; its bytes are.
    assert transfer.unpaid == Work(bytes_put=CHUNK)


def test_a_pay_that_falls_short_ends_it() -> None:
    transfer = ProviderTransfer(get(1))
    transfer.step(Began())
    transfer.step(ChunksMoved(1))
    transfer.step(PayReceived(receipt(1)))
    effects = transfer.step(PayDeclined(Rejected(Reason.UNPAID, "less"), Height(5)))
    assert effects == [SendRefused(Reason.UNPAID, "less", None), Aborted(Reason.UNPAID, "less")]


consumer_inputs = st.sampled_from(
    [
        Began(),
        ChunksMoved(1),
        ChunksMoved(2),
        ChunksMoved(-1),
        ReceiptSigned(receipt(1)),
        PaidReceived(receipt(1)),
        RefusedReceived(Reason.WRONG_EPOCH, "", Height(3)),
    ]
)
provider_inputs = st.sampled_from(
    [
        Began(),
        ChunksMoved(1),
        ChunksMoved(2),
        ChunksMoved(-1),
        PayReceived(receipt(1)),
        PayAccepted(receipt(1)),
        PayDeclined(Rejected(Reason.WRONG_EPOCH), Height(3)),
    ]
)


@given(st.lists(consumer_inputs, max_size=25), st.booleans())
def test_a_consumer_never_moves_two_windows_without_pay(
    inputs: Sequence[Began | ChunksMoved | ReceiptSigned | PaidReceived | RefusedReceived],
    is_put: bool,
) -> None:
    transfer = ConsumerTransfer(put(5) if is_put else get(5))
    windows = paid = 0
    for item in inputs:
        effects = transfer.step(item)
        windows += sum(isinstance(effect, MoveWindow) for effect in effects)
        paid += sum(isinstance(effect, KeepReceipt) for effect in effects)
        assert windows <= paid + 1
        unpaid = transfer.unpaid
        assert unpaid.bytes_put + unpaid.bytes_get <= 2 * CHUNK


@given(st.lists(provider_inputs, max_size=25), st.booleans())
def test_a_provider_never_moves_two_windows_without_pay(
    inputs: Sequence[Began | ChunksMoved | PayReceived | PayAccepted | PayDeclined], is_put: bool
) -> None:
    transfer = ProviderTransfer(put(5) if is_put else get(5))
    windows = paid = 0
    for item in inputs:
        effects = transfer.step(item)
        windows += sum(isinstance(effect, MoveWindow) for effect in effects)
        paid += sum(isinstance(effect, SendPaid) for effect in effects)
        assert windows <= paid + 1
        unpaid = transfer.unpaid
        assert unpaid.bytes_put + unpaid.bytes_get <= 2 * CHUNK


def test_inputs_out_of_turn_abort() -> None:
    consumer, provider = ConsumerTransfer(get(2)), ProviderTransfer(get(2))
    assert consumer.step(PaidReceived(receipt(1))) == [
        Aborted(Reason.MALFORMED, "PaidReceived in Phase.NEW")
    ]
    assert provider.step(PayReceived(receipt(1))) == [
        Aborted(Reason.MALFORMED, "PayReceived in Phase.NEW")
    ]


# ---- the choice of providers ---------------------------------------------------------------------

WANTED = Wanted(
    blob=BlobId(digest(b"blob")),
    size_bytes=10 * MIB,
    epochs=100,
    consumer=key_of("me").account,
    epoch=50,
    now_ms=NOW_MS,
)


def offer(name: str, *, put: int = 100, free: int = 100 * MIB, **changes: object) -> CapacityAd:
    price = Price(per_mib_put=Amount(put))
    resources = Resources(storage_bytes_total=free, storage_bytes_free=free)
    return ad_of(key_of(name), price=price, resources=resources, **changes)


def names(chosen: Sequence[Candidate]) -> list[str]:
    by_account = {key_of(name).account: name for name in "abcdefgh"}
    return [by_account[one.ad.provider] for one in chosen]


def rank(*ads: CapacityAd, wanted: Wanted = WANTED) -> tuple[Candidate, ...]:
    return rank_providers([(ad, 10_000) for ad in ads], wanted)


def test_the_cheapest_come_first_then_those_with_much_more_space() -> None:
    ads = [offer("a", put=300), offer("b", free=1024 * MIB), offer("c"), offer("d", put=50)]
    assert names(rank(*ads)) == ["d", "b", "c", "a"]
    assert rank(*ads)[0].price == 10 * 50 + 10 * 100


def test_equals_share_the_load_by_a_draw_that_all_consumers_agree_on() -> None:
    ads = [offer(name) for name in "abcdefgh"]
    ranked = rank(*ads)
    assert ranked == rank(*reversed(ads))
    firsts = {
        names(rank(*ads, wanted=msgspec.structs.replace(WANTED, blob=digest(bytes([n])))))[0]
        for n in range(40)
    }
    assert len(firsts) > 4


def test_a_cheap_provider_of_poor_quality_is_dear() -> None:
    ranked = rank_providers([(offer("a", put=100), 4_000), (offer("b", put=200), 10_000)], WANTED)
    assert names(ranked) == ["b", "a"]


@pytest.mark.parametrize(
    "changes",
    [
        {"accepting": False},
        {"drain_epoch": 149},
        {"services": ("compute",)},
        {"issued_ms": NOW_MS - 600_001},
        {"blob_bytes_max": 10 * MIB - 1},
        {"free": 10 * MIB - 1},
    ],
)
def test_a_provider_that_cannot_is_no_candidate(changes: dict[str, object]) -> None:
    able = offer("a", drain_epoch=150)
    assert names(rank(able)) == ["a"]
    assert rank(offer("b", **changes)) == ()  # type: ignore[arg-type]


def test_neither_oneself_nor_the_too_dear_are_candidates() -> None:
    assert rank(offer("me")) == ()
    cheap = msgspec.structs.replace(WANTED, price_max=Amount(2_000))
    assert names(rank(offer("a", put=100), offer("b", put=101), wanted=cheap)) == ["a"]


def test_replicas_go_to_distinct_regions_first() -> None:
    ranked = rank(
        offer("a", put=1, region="eu"),
        offer("b", put=2, region="eu"),
        offer("c", put=3, region="us"),
        offer("d", put=4, region=""),
        offer("e", put=5, region=""),
    )
    assert names(choose_providers(ranked, 3)) == ["a", "c", "d"]
    assert names(choose_providers(ranked, 4)) == ["a", "c", "d", "b"]
    assert names(choose_providers(ranked, 9)) == ["a", "c", "d", "b", "e"]
    replacement = next_provider(ranked[1:], ["us", ""])
    assert replacement is not None
    assert names([replacement]) == ["b"]
    assert next_provider([], []) is None
