"""Digests of rounds say extended what they say made anew, and read only what events are about."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bcfl.federation.query import LocalQuery, open_run
from bcfl.federation.subject import of_run
from bcfl.federation.views.digests import Digests
from bcfl.federation.views.earnings import match_counts, unclaimed_of
from bcfl.federation.views.summary import summary
from bcfl.federation.views.votematrix import REJECTED, tally_codes
from bcfl.federation.views.votes import match_count
from bcfl.protocol.events import take_in
from bcfl.protocol.rounds import History, Round, Submission
from bcfl.protocol.types import Block, Engine, Opening, Update, Verdict, Voter
from bcfl.protocol.verification import Vote, matches
from bcfl.roles.background.claims import amount, claims
from tests.local_federation import LocalFederation
from tests.played_run import DEVICES, play_run

ZERO = bytes(32)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalFederation:
    """A run in which a round is void, one has a rejection, one a silent miner and one a late leader."""
    return play_run(tmp_path_factory.mktemp("digests") / "runs")


@pytest.fixture
def query(local: LocalFederation) -> Iterator[LocalQuery]:
    """The run, opened."""
    with open_run(local.path) as query:
        yield query


def test_extended_digests_say_what_new_ones_say(query: LocalQuery) -> None:
    subject, digests = of_run(query), Digests()
    history, start = History.under(query.terms), 0
    marks = [*sorted(random.Random(1).sample(range(1, len(query.events)), 40)), len(query.events)]
    for stop in marks:
        take_in(history, query.events[start:stop])
        start = stop
        state = replace(subject, history=history, events=query.events[:stop], statements={})
        if history.rounds:
            assert summary(state, digests=digests) == summary(state)
    assert digests.incomes[query.history.devices[0]] > 0


def test_a_round_is_read_again_only_when_something_happens_in_it(query: LocalQuery) -> None:
    read = []
    digests = Digests()
    digests.progress = lambda _, total: read.append(total)
    history = History.under(query.terms)
    last = next(i for i, event in enumerate(query.events) if event.args.get("round") == 6)
    take_in(history, query.events[:last])
    digests.follow(history, query.events[:last], query.terms)
    before = [digests.of(number) for number in range(1, 6)]
    take_in(history, query.events[last:])
    digests.follow(history, query.events, query.terms)
    digests.follow(history, query.events, query.terms)
    after = [digests.of(number) for number in range(1, 6)]
    again = {event.args.get("round") for event in query.events[last:]}
    assert [old is new for old, new in zip(before, after, strict=True)] == [
        number not in again for number in range(1, 6)
    ]
    assert sum(old is new for old, new in zip(before, after, strict=True)) >= 4
    assert read == [5, len(again & set(history.rounds))]


def test_another_history_is_read_from_its_start(query: LocalQuery) -> None:
    digests = Digests()
    digests.follow(query.history, query.events, query.terms)
    whole = dict(digests.incomes)
    fresh = take_in(History.under(query.terms), query.events)
    digests.follow(fresh, query.events, query.terms)
    assert dict(digests.incomes) == whole


def test_a_finished_round_that_is_read_again_earns_no_more(query: LocalQuery) -> None:
    digests = Digests()
    digests.follow(query.history, query.events, query.terms)
    before, incomes = digests.of(1), dict(digests.incomes)
    late = next(event for event in query.events if event.name == "Tallied" and event.args["round"] == 1)
    digests.follow(query.history, [*query.events, late], query.terms)
    assert digests.of(1) is not before
    assert dict(digests.incomes) == incomes


def test_receipts_that_were_missing_are_asked_for_again(query: LocalQuery) -> None:
    subject, digests = of_run(query), Digests()
    nothing = summary(replace(subject, gas_of=lambda _: None), digests=digests)
    assert {item["gas"] for item in nothing["rounds"]} == {None}
    assert summary(subject, digests=digests) == summary(subject)


def test_what_is_not_claimed_is_what_all_claims_come_to(query: LocalQuery) -> None:
    history, domain, terms = query.history, query.ledger.domain, query.terms
    accounts = [*history.devices, *history.miners]
    for account in accounts:
        found = sum(amount(claim, history, terms) for claim in claims(history, domain, account))
        assert unclaimed_of(history, terms, account) == found
    round_ = next(number for number, item in history.rounds.items() if item.block is not None)
    miner = next(iter(history.miners))
    before = unclaimed_of(history, terms, miner)
    history.claimed.add((miner, round_, True))
    found = sum(amount(claim, history, terms) for claim in claims(history, domain, miner))
    assert unclaimed_of(history, terms, miner) == found < before


def random_round(seed: int) -> Round:
    """Return a round with updates of several devices and votes of any kind, own updates among them."""
    chance = random.Random(seed)
    updates, voters = chance.randrange(1, 12), chance.randrange(5)
    round_ = Round(1, 0, Engine.STAKE)
    round_.submissions = [
        Submission(place, Update(1, 2 * place, ZERO, ZERO, chance.randrange(1, 9), 1, 0), "0x1")
        for place in range(updates)
    ]
    round_.levels = tuple(chance.choice((0, 0, 1, 4)) for _ in range(updates))
    for index in range(voters):
        verdicts = tuple(chance.choice((Verdict.ACCEPTED, *Verdict)) for _ in range(updates))
        levels = tuple(0 if verdict else 1 for verdict in verdicts)
        voter = Voter(f"0x{index}", chance.randrange(4), chance.choice((None, 0, 4)), None, index)
        round_.votes.append(Vote(voter, Opening(1, voter.account, verdicts, ZERO, None, levels)))
    round_.block = Block(ZERO, 1, ZERO, ZERO, ZERO, "0x0", 10**18)
    return round_


@pytest.mark.parametrize("seed", range(60))
def test_all_verdicts_at_once_are_those_of_the_round(seed: int) -> None:
    round_ = random_round(seed)
    assert round_.levels is not None
    assert tally_codes(round_) == "".join(
        str(level) if level else REJECTED[round_.verdict(place)] for place, level in enumerate(round_.levels)
    )
    devices = [item.update.device for item in round_.submissions]
    counts = [matches(vote, round_.accepted or (), devices) for vote in round_.votes]
    assert match_counts(round_) == [match_count(round_, vote) for vote in round_.votes] == counts


def test_devices_beyond_the_most_are_left_out(query: LocalQuery) -> None:
    subject, digests = of_run(query), Digests()
    whole = summary(subject, digests=digests)["devices"]
    assert len(whole) == DEVICES
    assert summary(subject, most_devices=2, digests=digests)["devices"] == whole[:2]
    short = summary(subject, most_rounds=2, digests=digests)["devices"]
    assert [item["codes"] for item in short] == [item["codes"][-2:] for item in whole]
