"""absence.vy: fees of missed rounds, suspensions and their length, and the ways back and out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from bcfl.protocol.types import Engine, Mode, Phase
from testkit.harness import ETHER, TERMS, Account, Federation, account, reverts

PROMPT = replace(TERMS, absence_seconds=3 * 4800)  # the least
LATE = account("late", 0)


def names(values: tuple[object, ...]) -> dict[str, object]:
    return dict(zip(("missed", "since", "strikes", "suspended", "until_round"), values, strict=True))


def rest(federation: Federation, key: Account) -> dict[str, object]:
    return names(federation.contract.call("rest", key.address))


def stake(federation: Federation, key: Account) -> int:
    return int(federation.contract.call("miner", key.address)[2])


def fees(federation: Federation) -> list[int]:
    return [event.args["amount"] for event in federation.contract.events(name="Penalized")]


def play(federation: Federation, absent: Collection[int] = (), unopened: Collection[int] = ()) -> None:
    """Play a round up to its tally in which some do not vote, or do not open their vote."""
    federation.until(Phase.VOTE)
    openings = [federation.opening(index) for index in federation.jury() if index not in absent]
    for opening in openings:
        federation.commit_vote(opening)
    if federation.clock.phase is Phase.VOTE:
        federation.expire()
    for opening in openings:
        if opening.miner not in {federation.miner_keys[index].address for index in unopened}:
            federation.unveil(opening)
    if federation.clock.phase is Phase.UNVEIL:
        federation.expire()
    federation.tally()


def end(federation: Federation) -> None:
    """Bring the round to its end whatever it came to."""
    number = federation.clock.round
    if federation.clock.phase is Phase.PROPOSE:
        federation.propose()
        federation.attest_enough()
        federation.finalize()
    if federation.clock.round == number:
        federation.push()


def suspended(terms: object = PROMPT) -> Federation:
    """A federation of four of which the last has just been suspended."""
    federation = Federation(miners=4, terms=terms).open()  # type: ignore[arg-type]
    until_suspended(federation)
    return federation


def until_suspended(federation: Federation) -> None:
    """Let the last miner miss rounds until it is suspended."""
    for _ in range(3):
        play(federation, absent=[3])
        end(federation)
        federation.wait(PROMPT.absence_seconds // 2)
        federation.push()  # everybody is late: no vote, and no miss
    assert rest(federation, federation.miner_keys[3])["suspended"] is True


def test_default_behavior() -> None:
    federation = Federation(miners=4).open()
    key = federation.miner_keys[3]
    before = stake(federation, key)
    pool = federation.contract.call("pool")
    play(federation, absent=[3])
    fee = before * TERMS.absence_penalty // 10_000
    assert fees(federation) == [fee]
    assert stake(federation, key) == before - fee
    assert federation.contract.call("pool") == pool + fee
    assert rest(federation, key) == names((1, federation.chain.now() - 1, 0, False, 0))
    end(federation)
    play(federation)
    assert rest(federation, key)["missed"] == 0
    balance, stakes, owed, pool = federation.money()
    assert balance == stakes + owed + pool


def test_three_fees_a_spell_and_no_more() -> None:
    federation = Federation(miners=4).open()
    for _ in range(5):
        play(federation, absent=[3])
        end(federation)
    assert len(fees(federation)) == 3
    assert rest(federation, federation.miner_keys[3])["missed"] == 5
    assert federation.contract.call("miner", federation.miner_keys[3].address)[3]  # time has not come


def test_misses_end_at_fifteen() -> None:
    federation = Federation(devices=2, miners=3).open()
    for _ in range(17):
        play(federation, absent=[2])
        end(federation)
    assert rest(federation, federation.miner_keys[2])["missed"] == 15
    assert len(fees(federation)) == 3


def test_presence_takes_one_miss_off() -> None:
    federation = Federation(miners=4).open()
    for absent in ([3], [3], [], [3], [3]):
        play(federation, absent)
        end(federation)
    assert rest(federation, federation.miner_keys[3])["missed"] == 3
    assert len(fees(federation)) == 4  # the second and the third twice: one was taken off between


def test_no_miss_where_nobody_voted() -> None:
    federation = Federation(miners=3).open().until(Phase.VOTE)
    federation.push()
    assert fees(federation) == []
    assert {rest(federation, key)["missed"] for key in federation.miner_keys} == {0}


def test_a_vote_that_stays_shut_costs_more_and_by_weight() -> None:
    federation = Federation(miners=3, stakes=(4 * ETHER, 4 * ETHER, 3 * ETHER)).open()
    play(federation, unopened=[2])
    assert fees(federation) == [3 * TERMS.vote_penalty]
    assert rest(federation, federation.miner_keys[2])["missed"] == 1


def test_a_quorum_that_fails_counts_misses() -> None:
    federation = Federation(miners=3).open()
    play(federation, absent=[1, 2])
    (event,) = federation.contract.events(name="Voided")
    assert event.args["reason"] == 3
    assert [rest(federation, key)["missed"] for key in federation.miner_keys] == [0, 1, 1]


def test_a_member_of_a_committee_misses_and_nobody_else() -> None:
    terms = replace(TERMS, engine=Engine.COMMITTEE, committee_size=3)
    federation = Federation(miners=6, terms=terms).open().finish()
    jury = federation.jury()
    assert len(jury) == 3
    play(federation, absent=[jury[0]])
    missed = [rest(federation, key)["missed"] for key in federation.miner_keys]
    assert missed == [int(index == jury[0]) for index in range(6)]


def test_three_misses_and_time_suspend() -> None:
    federation = suspended()
    key = federation.miner_keys[3]
    (event,) = federation.contract.events(name="Suspended")
    assert event.args == {
        "round": event.args["round"],
        "miner": key.address,
        "until_round": event.args["round"] + 1,
    }
    assert rest(federation, key)["suspended"] is True
    assert rest(federation, key)["strikes"] == 1
    seat, weight, *_ = federation.contract.call("miner", key.address)
    assert (weight, federation.contract.call("active_miners")) == (0, (0b111, 3))
    assert federation.contract.call("miner_at", seat) == key.address
    paid = len(fees(federation))
    play(federation)  # no vote is missing
    assert len(fees(federation)) == paid


def test_who_is_suspended_resumes() -> None:
    federation = suspended()
    key = federation.miner_keys[3]
    receipt = federation.send(key, "resume")
    assert receipt.events[0].args == {"miner": key.address}
    with reverts("absence: not suspended"):
        federation.send(key, "resume")
    assert federation.contract.call("active_miners") == (0b111, 3)  # from the next round on
    federation.push()
    assert federation.contract.call("active_miners") == (0b1111, 4)
    assert rest(federation, key)["suspended"] is False
    play(federation)


def test_only_who_is_suspended_resumes() -> None:
    federation = Federation().open()
    with reverts("absence: not suspended"):
        federation.send(federation.miner_keys[0], "resume")
    with reverts("registry: not a miner"):
        federation.send(LATE, "resume")


def again(federation: Federation) -> None:
    """Let the last miner resume and be suspended once more."""
    key = federation.miner_keys[3]
    federation.send(key, "resume")
    federation.push()
    until_suspended(federation)


def test_the_second_suspension_lasts_longer_and_costs_twice() -> None:
    federation = suspended()
    key = federation.miner_keys[3]
    before, paid = stake(federation, key), len(fees(federation))
    again(federation)
    assert fees(federation)[paid] == 2 * before * PROMPT.absence_penalty // 10_000
    event = list(federation.contract.events(name="Suspended"))[-1].args
    assert event["until_round"] == event["round"] + 1 + 8
    assert rest(federation, key)["strikes"] == 2
    with reverts("absence: suspension not over"):
        federation.send(key, "resume")
    while federation.clock.round < event["until_round"]:
        federation.push()
    federation.send(key, "resume")


def test_strikes_are_forgotten() -> None:
    federation = suspended()
    key = federation.miner_keys[3]
    federation.wait(64 * PROMPT.absence_seconds)
    federation.push()
    before, paid = stake(federation, key), len(fees(federation))
    again(federation)
    assert fees(federation)[paid] == before * PROMPT.absence_penalty // 10_000
    event = list(federation.contract.events(name="Suspended"))[-1].args
    assert event["until_round"] == event["round"] + 1
    assert rest(federation, key)["strikes"] == 1


def test_who_stays_suspended_for_long_is_evicted() -> None:
    federation = suspended(replace(PROMPT, exit_rounds=1))
    key, seat = federation.miner_keys[3], 3
    with reverts("absence: not suspended for long"):
        federation.send(federation.outsider, "evict", key.address)
    federation.wait(16 * PROMPT.absence_seconds)
    receipt = federation.send(federation.outsider, "evict", key.address)
    assert receipt.events[0].name == "MinerLeft"
    with reverts("registry: leaving"):
        federation.send(key, "resume")
    federation.push()
    assert federation.contract.call("miner_at", seat) == "0x" + "00" * 20
    left = stake(federation, key)
    federation.push()
    balance = federation.balance(key.address)
    receipt = federation.send(key, "release_stake")
    assert left > 0
    assert federation.balance(key.address) > balance
    federation.send(LATE, "register_miner", value=ETHER)
    assert federation.contract.call("miner_at", seat) == LATE.address


def test_only_who_is_suspended_is_evicted() -> None:
    federation = Federation().open()
    with reverts("absence: not suspended"):
        federation.send(federation.outsider, "evict", federation.miner_keys[0].address)


def test_a_seat_that_is_taken_anew_has_missed_nothing() -> None:
    federation = Federation(miners=4).open()
    play(federation, absent=[3])
    federation.send(federation.miner_keys[3], "leave_miner")
    end(federation)
    federation.send(LATE, "register_miner", value=ETHER)
    assert federation.contract.call("miner", LATE.address)[0] == 3
    assert rest(federation, LATE) == names((0, 0, 0, False, 0))


def test_strikes_follow_an_account_to_its_next_seat() -> None:
    federation = suspended(replace(PROMPT, exit_rounds=1))
    key = federation.miner_keys[3]
    federation.send(key, "leave_miner")
    federation.push().push()
    federation.send(key, "release_stake")
    federation.send(key, "register_miner", value=ETHER)
    assert rest(federation, key)["strikes"] == 1
    assert rest(federation, key)["suspended"] is False


def test_a_seat_below_the_minimum_is_freed() -> None:
    federation = Federation(miners=3, stakes=(ETHER, ETHER, ETHER)).open()
    play(federation, absent=[2])
    key = federation.miner_keys[2]
    left = stake(federation, key)
    assert left == ETHER - ETHER // 100
    number = federation.clock.round
    end(federation)
    (event,) = federation.contract.events(name="MinerLeft")
    assert event.args == {"miner": key.address, "exit_round": number + 1 + TERMS.exit_rounds}
    assert federation.contract.call("active_miners") == (0b011, 2)
    with reverts("registry: not a miner"):
        federation.send(key, "top_up", value=ETHER)
    while federation.clock.round < number + 1 + TERMS.exit_rounds:
        federation.push()
    federation.send(key, "release_stake")


def test_a_stake_that_is_topped_up_in_time_keeps_its_seat() -> None:
    federation = Federation(miners=3, stakes=(ETHER, ETHER, ETHER)).open()
    play(federation, absent=[2])
    federation.send(federation.miner_keys[2], "top_up", value=ETHER // 100)
    end(federation)
    assert federation.contract.call("active_miners") == (0b111, 3)


@pytest.mark.parametrize("wait", [PROMPT.absence_seconds // 4, PROMPT.absence_seconds])
def test_a_silent_half_is_out_of_the_way_in_time(wait: int) -> None:
    """Who has more weight than the rest and says nothing stops the rounds for a while, and not for ever."""
    federation = Federation(
        miners=4, stakes=(ETHER * 2, ETHER * 2, ETHER * 2, 9 * ETHER), terms=PROMPT
    ).open()
    for _ in range(16):
        if list(federation.contract.events(name="Suspended")):
            break
        play(federation, absent=[3])
        end(federation)
        federation.wait(wait)
        federation.push()
    assert list(federation.contract.events(name="Finalized")) == []
    assert federation.contract.call("active_miners") == (0b111, 6)
    federation.finish()
    assert len(list(federation.contract.events(name="Finalized"))) == 1


def test_modes_do_not_matter() -> None:
    federation = Federation(3, 3, replace(TERMS, mode=Mode.FULL), full=True).open()
    play(federation, absent=[2])
    assert len(fees(federation)) == 1


def test_who_is_no_miner_has_no_rest() -> None:
    federation = Federation().open()
    with reverts("registry: not a miner"):
        federation.contract.call("rest", LATE.address)
