"""What missed rounds cost, and whom they suspend, is what the contract logs; and nothing else passes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bcfl.ledger.transcript import gather
from bcfl.protocol.transcript import Transcript
from bcfl.protocol.types import Phase
from bcfl.roles.auditor.members import Members
from bcfl.roles.auditor.replay import replay_transcript
from testkit.harness import ETHER, TERMS, Federation


def play_without(federation: Federation, absent: set[int], seconds: int = 0) -> None:
    """Play a round without some miners' votes; its model becomes final so many seconds late."""
    for act in (federation.commit, federation.reveal):
        for index in federation.jury():
            act(federation.miner_keys[index], federation.share(index))
    openings = [federation.opening(index) for index in federation.jury() if index not in absent]
    for opening in openings:
        federation.commit_vote(opening)
    if federation.clock.phase is Phase.VOTE:
        federation.expire()
    for opening in openings:
        federation.unveil(opening)
    federation.until(Phase.ATTEST)
    federation.attest_enough()
    federation.wait(seconds)
    federation.finalize()


@pytest.fixture(scope="module")
def transcript() -> Transcript:
    """Rounds in which two miners of five are away; one of them is suspended, resumes, and one leaves."""
    federation = Federation(miners=5, stakes=(3 * ETHER,) * 5).open()
    play_without(federation, {3, 4}, TERMS.absence_seconds)
    play_without(federation, {4})
    play_without(federation, {4})
    federation.send(federation.miner_keys[4], "resume")
    federation.send(federation.miner_keys[3], "leave_miner")
    for _ in range(4):
        play_without(federation, set())
    federation.send(federation.miner_keys[3], "release_stake")
    return gather(federation.contract)


def issues_of(transcript: Transcript) -> list[str]:
    """Return the fields in which the membership is wrong."""
    replay = replay_transcript(transcript)
    members, fields = Members(transcript.terms), list[str]()
    for number in sorted(replay.cases):
        found = members.check(replay.cases[number], replay.history)
        fields += [field.split("[")[0] for field, _ in (*found, *members.penalties)]
    return fields


def test_the_contract_and_the_twin_agree(transcript: Transcript) -> None:
    names = [event.name for event in transcript.events]
    assert (names.count("Penalized"), names.count("Suspended"), names.count("Resumed")) == (4, 1, 1)
    assert issues_of(transcript) == []


@pytest.mark.parametrize(
    ("name", "args", "field"),
    [
        ("Suspended", {"until_round": 9}, "suspensions"),
        ("Suspended", None, "suspensions"),
        ("Penalized", {"amount": 1}, "penalties"),
        ("MinerLeft", {"exit_round": 5}, "members"),
        ("MinerLeft", None, "stakes"),
        ("StakeChanged", {"stake": ETHER}, "stakes"),
    ],
)
def test_anything_else_is_noticed(
    transcript: Transcript, name: str, args: dict[str, int] | None, field: str
) -> None:
    events = list(transcript.events)
    place = next(place for place, event in enumerate(events) if event.name == name)
    if args is None:
        del events[place]
    else:
        events[place] = replace(events[place], args={**events[place].args, **args})  # type: ignore[type-var]
    assert field in issues_of(replace(transcript, events=events))
