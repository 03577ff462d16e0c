"""Who is to blame for two certificates that cannot both follow from the rules."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from p2p.model.block import Validator, ValidatorSet, is_skip
from p2p.model.vote import VoteKind
from p2p.primitives.units import AccountId, Amount, Digest, Height, Round
from p2p.protocol.accountability.blame import Claim, amnesiacs, double_prevoters, is_certificate

A, B, C, D = (AccountId(bytes([number]) * 32) for number in range(1, 5))
FOUR = ValidatorSet(tuple(Validator(account, Amount(1)) for account in (A, B, C, D)))
RED, BLUE = Digest(b"r" * 32), Digest(b"b" * 32)


def polka(value: Digest | None, *signers: AccountId, round_: int, valid_round: int = -1) -> Claim:
    return Claim(
        VoteKind.PREVOTE, Height(5), Round(round_), value, tuple(signers), Round(valid_round)
    )


def commit(value: Digest, *signers: AccountId, round_: int) -> Claim:
    return Claim(VoteKind.PRECOMMIT, Height(5), Round(round_), value, tuple(signers))


def test_two_polkas_of_a_round_blame_who_signed_both() -> None:
    first, second = polka(BLUE, B, C, D, round_=3), polka(RED, D, A, B, round_=3)
    assert double_prevoters(first, second, FOUR) == (B, D)
    assert double_prevoters(second, first, FOUR) == (B, D)


def test_polkas_of_other_rounds_heights_or_one_value_blame_nobody() -> None:
    first = polka(BLUE, B, C, D, round_=3)
    assert double_prevoters(first, polka(RED, A, B, C, round_=4), FOUR) == ()
    assert double_prevoters(first, polka(BLUE, A, B, C, round_=3), FOUR) == ()
    elsewhere = msgspec.structs.replace(polka(RED, A, B, C, round_=3), height=Height(6))
    assert double_prevoters(first, elsewhere, FOUR) == ()
    assert double_prevoters(first, commit(RED, A, B, C, round_=3), FOUR) == ()


def test_a_commit_and_a_later_polka_that_knows_no_newer_one_blame_the_amnesiacs() -> None:
    decided = commit(BLUE, A, B, C, round_=2)
    for forgetful in (-1, 0, 1):
        against = polka(RED, B, C, D, round_=4, valid_round=forgetful)
        assert amnesiacs(decided, against, FOUR) == (B, C)


def test_a_polka_that_released_the_lock_or_came_before_it_blames_nobody() -> None:
    decided = commit(BLUE, A, B, C, round_=2)
    assert amnesiacs(decided, polka(RED, B, C, D, round_=4, valid_round=2), FOUR) == ()
    assert amnesiacs(decided, polka(RED, B, C, D, round_=2), FOUR) == ()
    assert amnesiacs(decided, polka(RED, B, C, D, round_=1), FOUR) == ()
    assert amnesiacs(decided, polka(BLUE, B, C, D, round_=4), FOUR) == ()
    elsewhere = msgspec.structs.replace(polka(RED, B, C, D, round_=4), height=Height(6))
    assert amnesiacs(decided, elsewhere, FOUR) == ()
    assert amnesiacs(polka(RED, B, C, D, round_=4), decided, FOUR) == ()


def test_nil_a_minority_and_strangers_prove_nothing() -> None:
    decided = commit(BLUE, A, B, C, round_=2)
    assert amnesiacs(decided, polka(None, B, C, D, round_=4), FOUR) == ()
    assert amnesiacs(decided, polka(RED, C, D, round_=4), FOUR) == ()
    assert amnesiacs(decided, polka(RED, C, D, D, AccountId(b"?" * 32), round_=4), FOUR) == ()
    assert not is_certificate(polka(None, A, B, C, D, round_=0), FOUR)


@given(
    powers=st.lists(st.integers(1, 50), min_size=1, max_size=9),
    masks=st.tuples(st.integers(0, 511), st.integers(0, 511)),
)
def test_the_blamed_hold_at_least_a_third_of_the_power(
    powers: list[int], masks: tuple[int, int]
) -> None:
    accounts = [AccountId(bytes([index + 1]) * 32) for index in range(len(powers))]
    validators = ValidatorSet(
        tuple(Validator(a, Amount(p)) for a, p in zip(accounts, powers, strict=True))
    )
    signers = [[a for i, a in enumerate(accounts) if mask >> i & 1] for mask in masks]
    first, second = polka(BLUE, *signers[0], round_=3), polka(RED, *signers[1], round_=3)
    blamed = double_prevoters(first, second, validators)
    proven = is_certificate(first, validators) and is_certificate(second, validators)
    assert bool(blamed) == proven
    power = sum(validators.powers()[account] for account in blamed)
    assert not proven or is_skip(power, validators.total_power)
