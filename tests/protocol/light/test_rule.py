"""The rule on small sets, one fault at a time; the published vectors are `tests/conformance`."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.protocol.light.rule import Basis, Claim, Fault, Verdict, judge, verdict_of

BASIS = Basis(height=10, time_ms=1_000, next_root=b"N", next_powers={b"a": 1, b"b": 1, b"c": 1})
FAR = Claim(
    height=20,
    time_ms=2_000,
    root=b"F",
    powers={b"b": 1, b"c": 1, b"d": 1},
    signers=(b"b", b"c", b"d"),
)
NEXT = msgspec.structs.replace(FAR, height=11, root=b"N")


def fault(basis: Basis, claim: Claim, *, now_ms: int = 3_000, period_ms: int = 10_000) -> object:
    return judge(basis, claim, trust_period_ms=period_ms, now_ms=now_ms)


def changed(claim: Claim, **values: object) -> Claim:
    return msgspec.structs.replace(claim, **values)


def test_more_than_a_third_of_those_trusted_vouch_for_a_header_far_away() -> None:
    assert fault(BASIS, FAR) is None
    assert verdict_of(None) is Verdict.SUCCESS


def test_exactly_a_third_is_not_enough() -> None:
    one_known = changed(FAR, powers={b"c": 1, b"d": 1, b"e": 1}, signers=(b"c", b"d", b"e"))
    assert fault(BASIS, one_known) is Fault.NOT_ENOUGH_TRUST
    assert Fault.NOT_ENOUGH_TRUST.verdict is Verdict.NOT_ENOUGH_TRUST


def test_the_next_header_needs_the_named_set_and_no_overlap() -> None:
    strangers = changed(NEXT, powers={b"x": 1}, signers=(b"x",))
    assert fault(BASIS, strangers) is None
    assert fault(BASIS, changed(NEXT, root=b"F")) is Fault.NOT_THE_NEXT_SET


def test_two_thirds_of_its_own_set_are_not_a_commit() -> None:
    assert fault(BASIS, changed(FAR, signers=(b"b", b"c"))) is Fault.NO_QUORUM


def test_trust_ends_with_its_period() -> None:
    assert fault(BASIS, FAR, now_ms=10_999) is None
    assert fault(BASIS, FAR, now_ms=11_000) is Fault.EXPIRED


def test_a_header_of_tomorrow_is_none_of_today() -> None:
    assert fault(BASIS, FAR, now_ms=2_000) is None
    assert fault(BASIS, FAR, now_ms=1_999) is Fault.FROM_THE_FUTURE


@pytest.mark.parametrize("values", [{"height": 10}, {"height": 9}, {"time_ms": 1_000}])
def test_height_and_time_grow(values: dict[str, object]) -> None:
    assert fault(BASIS, changed(FAR, **values)) is Fault.NOT_LATER


@pytest.mark.parametrize("signers", [(b"b", b"c", b"z"), (b"b", b"c", b"b"), (b"b", b"c", b"a")])
def test_signers_are_of_the_headers_own_set_and_sign_once(signers: tuple[bytes, ...]) -> None:
    assert fault(BASIS, changed(FAR, signers=signers)) is Fault.UNKNOWN_SIGNER


powers = st.dictionaries(st.sampled_from([bytes([n]) for n in range(8)]), st.integers(1, 9))


@given(powers, powers, st.sets(st.sampled_from([bytes([n]) for n in range(8)])))
def test_trust_is_exactly_a_third_of_the_old_and_two_thirds_of_the_new(
    old: dict[bytes, int], new: dict[bytes, int], names: set[bytes]
) -> None:
    signers = tuple(sorted(names & set(new)))
    claim = changed(FAR, powers=new, signers=signers)
    basis = msgspec.structs.replace(BASIS, next_powers=old)
    known = sum(old.get(name, 0) for name in signers)
    signed = sum(new[name] for name in signers)
    expected = None
    if 3 * signed <= 2 * sum(new.values()):
        expected = Fault.NO_QUORUM
    if 3 * known <= sum(old.values()):
        expected = Fault.NOT_ENOUGH_TRUST
    assert fault(basis, claim) is expected
