"""disputes.vy: an accepted update whose bytes nobody gives, and every attempt to ask for what is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from bcfl.protocol import merkle
from bcfl.protocol.challenges import Form, Trees
from bcfl.protocol.disputes import update_args
from bcfl.protocol.evidence import Evidence, Vectors
from bcfl.protocol.types import Phase
from bcfl.protocol.verification import tally_bytes
from tests.forgery import assemble, case_of, random_lanes, with_model
from tests.game import ANSWERER, Game
from tests.harness import ETHER, TERMS, refused
from tests.trial import Trial

SMALL = replace(TERMS, parameters=16 * 40, leaf_lanes=16, max_updates=64)  # 40 leaves, depth 6
REJECTED = 2
OTHER = bytes(range(32))


@pytest.fixture(scope="module")
def trial() -> Trial:
    return Trial(SMALL)


@pytest.fixture
def right(trial: Trial) -> Evidence:
    """A right proposal over 34 updates, two groups of words, all but one accepted."""
    rng = Random(11)
    accepted = [place != REJECTED for place in range(34)]
    lanes = [random_lanes(rng, SMALL, 16) for _ in range(33)]
    return assemble(rng, SMALL, random_lanes(rng, SMALL, 32), lanes, accepted, trial.setting)


def at(game: Game, position: int) -> dict[str, Any]:
    """The arguments that open the update at a position."""
    made = game.made
    found = update_args(made.tally, made.words, position, made.updates[position])
    return dict(zip(("position", "tally", "opening", "group"), found, strict=True))


@pytest.mark.parametrize("position", [0, 1, 31, 32, 33])
def test_each_accepted_update_can_be_asked_for(trial: Trial, right: Evidence, position: int) -> None:
    game = Game(trial, right, Trees.UPDATE)
    game.open(**at(game, position))
    (event,) = (e for e in game.federation.contract.events(name="Disputed") if e.block == game.begun)
    assert event.args["tree"] == Trees.UPDATE + position
    state = game.state
    assert (state.position, state.node, state.height) == (position, right.updates[position].root, 6)
    # Its own leaf is the answer, to the end.
    own = Vectors([right.lanes[position - (position > REJECTED)]], 16)
    game.send("answer", nodes_of(own))
    game.pursue(39)
    with refused("disputes: not the disputed node"):
        game.send("answer_leaf", b"\0" + own.leaf(38))
    with refused("disputes: not the disputed node"):
        game.send("answer_leaf", b"\0" + right.rows.leaf(39))
    receipt = game.send("answer_leaf", b"\0" + own.leaf(39))
    assert [e.name for e in receipt.events] == ["LeafShown", "DisputeEnded"]


def test_what_is_asked_for_has_to_be_an_accepted_update(trial: Trial, right: Evidence) -> None:
    game = Game(trial, right, Trees.UPDATE)
    place, unopened = "challenges: no such place", "challenges: not the update's opening"
    updates, tally = "challenges: not the round's updates", "challenges: not the round's tally"
    taken = replace(right.tally, accepted=(True,) * 34)
    attempts: list[tuple[str, dict[str, Any]]] = [
        (place, at(game, REJECTED)),
        (place, at(game, 0) | {"position": 34}),
        (place, at(game, 0) | {"position": 255}),
        (place, at(game, 0) | {"position": 256}),
        (place, at(game, 0) | {"position": 2**255}),
        (unopened, at(game, 1) | {"position": 0}),  # the opening of another update
        (unopened, at(game, 1) | {"position": 31}),
        (updates, at(game, 1) | {"position": 33}),  # of another group
        (updates, at(game, 32) | {"position": 0}),
        (updates, at(game, 0) | {"group": right.words[:31]}),
        (updates, at(game, 0) | {"group": []}),
        (updates, at(game, 33) | {"group": right.words[32:33]}),
        (unopened, at(game, 0) | {"opening": (OTHER, *at(game, 0)["opening"][1:])}),
        (unopened, at(game, 0) | {"opening": (*at(game, 0)["opening"][:2], 0)}),
        (tally, at(game, REJECTED) | {"tally": tally_bytes(taken)}),
        (tally, at(game, 0) | {"tally": at(game, 0)["tally"] + bytes(32)}),
    ]
    for reason, changes in attempts:
        with refused(reason):
            game.open(**changes)
    game.open()


def test_what_every_dispute_insists_on(trial: Trial, right: Evidence) -> None:
    game = Game(trial, right, Trees.UPDATE)
    for bond in (0, SMALL.challenge_bond - 1, SMALL.challenge_bond + 1):
        with refused("disputes: not the bond"):
            game.open(bond)
    for part in ("root", "cid", "rows", "layer"):
        with refused("disputes: not what was proposed"):
            game.open(**{part: OTHER})
    game.open()
    with refused("disputes: one is open"):
        game.open()
    with refused("disputes: one is open"):
        game.open(**at(game, 0))
    with refused("proposals: a dispute is open"):
        game.federation.send(ANSWERER, "finalize", *game.proposal)


def test_too_late_and_not_in_this_phase(trial: Trial, right: Evidence) -> None:
    game = Game(trial, right, Trees.UPDATE)
    game.federation.expire()
    with refused("disputes: too late"):
        game.open()
    trial.storage.put(("rounds.clock", None, trial.storage.get("rounds.clock") - 1))
    with refused("rounds: not this phase"):
        game.open()


def test_the_updates_of_an_earlier_round_are_no_longer_to_be_shown(trial: Trial, right: Evidence) -> None:
    """After finality another proposal and another tally stand; what was opened then does not open now."""
    game = Game(trial, right, Trees.UPDATE)
    later = assemble(
        Random(12), SMALL, right.before, right.lanes, right.tally.accepted, replace(trial.setting, round=2)
    )
    trial.stand(later.docket)
    with refused("challenges: not the round's tally"):
        game.open()
    with refused("disputes: not what was proposed"):
        game.open(tally=tally_bytes(later.tally), **opened_later(game, later))


def opened_later(game: Game, later: Evidence) -> dict[str, Any]:
    place = game.position
    _, _, opening, group = update_args(later.tally, later.words, place, later.updates[place])
    return {"opening": opening, "group": group}


def test_silence_refutes_and_costs_the_whole_stake(trial: Trial, right: Evidence) -> None:
    game = Game(trial, right, Trees.UPDATE)
    game.open()
    before = game.federation.money()
    game.federation.chain.warp(game.state.due)
    receipt = game.expire()
    assert receipt.events[0].args["form"] == Form.DISPUTE
    after = game.federation.money()
    assert (after[1], after[0]) == (before[1] - ETHER, sum(after[1:]))
    assert game.federation.clock.phase is Phase.PROPOSE


def test_rows_are_no_answer_and_only_the_challenger_goes_on(trial: Trial, right: Evidence) -> None:
    game = Game(trial, right, Trees.UPDATE)
    game.open()
    with refused("disputes: not what is due"):
        game.send("answer_rows", right.candidate.weights, right.candidate.rows)
    with refused("disputes: not what is due"):
        game.send("answer_leaf", b"\0" + game.source.leaf(0))
    with refused("disputes: not the disputed node"):
        game.send("answer", nodes_of(Vectors([right.lanes[0]], 16)))  # another accepted update
    game.answer()
    with refused("disputes: not the challenger"):
        game.send("pursue", 0, game.course.nodes[0], list(game.course.proof(0)))
    with refused("disputes: no such node"):
        game.federation.send(game.federation.outsider, "pursue", 40, bytes(32), list(game.course.proof(40)))


def test_a_challenge_while_an_update_is_disputed_pays_the_bond_back(trial: Trial, right: Evidence) -> None:
    model = case_of(right).model()
    model[9] ^= 1
    wrong = with_model(right, model)
    assert wrong is not None
    game = Game(trial, wrong, Trees.UPDATE)
    game.open()
    challenge = wrong.find()
    assert challenge is not None
    assert trial.ruling(challenge) is True
    (event,) = game.send("expire", [], []).events
    assert (event.name, int(event.args["answerer"], 16)) == ("DisputeEnded", 0)
    balance, *parts = game.federation.money()
    assert balance == sum(parts)


FORGED: list[Callable[[Evidence], bytes]] = [lambda e: e.rows.leaf(0), lambda e: bytes(33)]


@pytest.mark.parametrize("forge", FORGED)
def test_no_other_bytes_are_a_leaf_of_it(
    trial: Trial, right: Evidence, forge: Callable[[Evidence], bytes]
) -> None:
    game = Game(trial, right, Trees.UPDATE)
    game.open()
    game.answer()
    game.pursue(0)
    with refused("disputes: not the disputed node"):
        game.send("answer_leaf", b"\0" + forge(right))


def nodes_of(own: Vectors) -> list[bytes]:
    """The digests of the 40 leaves of a vector."""
    return [merkle.rows_node(own.vectors, own.leaf_lanes, 0, place) for place in range(40)]
