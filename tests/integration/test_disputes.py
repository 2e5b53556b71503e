"""What leaders keep back: a watching outsider asks for it, and an honest leader has nothing to fear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bcfl.ledger.testimony import gather
from bcfl.ports import Step
from bcfl.protocol.challenges import Form, Trees
from bcfl.protocol.disputes import UNOPENED, Dispute
from bcfl.protocol.evidence import Vectors
from bcfl.protocol.fixedpoint import Lanes
from bcfl.protocol.types import Phase
from bcfl.roles.archive import NewModel
from bcfl.roles.auditor.audit import Audit
from bcfl.roles.disputes import disputes_of, nodes_below
from bcfl.roles.moment import Moment, look
from bcfl.simulation import MINERS
from tests.integration.test_watchtower import FORGED, WINDOWED, honest_roots, roots, watched
from tests.village import Village

GARBAGE = bytes(range(32))

Forgery = Callable[[NewModel], NewModel]


def no_rows(made: NewModel) -> NewModel:
    """Rows of which nobody knows what they are made of."""
    return replace(made, rows=GARBAGE)


def no_model(made: NewModel) -> NewModel:
    """A root, and a CID, of which nobody has the bytes."""
    return replace(made, root=GARBAGE, cid=GARBAGE)


def wrong_model(made: NewModel) -> NewModel:
    """A wrong model that only the colluders have."""
    root = Vectors([of_wrong(made.model)], WINDOWED.leaf_lanes).root
    return replace(made, root=root, cid=GARBAGE)


def of_wrong(right: Lanes) -> Lanes:
    model = right.copy()
    model[20] += 1
    return model


def colluding(village: Village, forge: Forgery, turns: int = 1) -> None:
    """In one round, all miners propose and attest what `forge` makes, and tell nobody more."""
    for office in village.offices:
        lead, compute = office.lead, office.lead._compute

        def computed(
            moment: Moment, compute: Callable[[Moment], NewModel | None] = compute
        ) -> NewModel | None:
            made = compute(moment)
            if made is None or moment.round != FORGED or len(moment.current.skipped) >= turns:
                return made
            return forge(made)

        def agreed(moment: Moment, proposal: object, lead: object = lead) -> bool:
            made = lead._compute(moment)  # type: ignore[attr-defined]
            return made is not None and (made.root, made.rows) == (proposal.root, proposal.rows)  # type: ignore[attr-defined]

        lead._compute, lead._agrees = computed, agreed  # type: ignore[method-assign]
        if turns:
            lead.answers.agrees = lambda moment, _: moment.round != FORGED


def audited(village: Village) -> list[tuple[object, ...]]:
    return [each.findings for each in Audit(gather(village.federation.contract), village.archive).verdicts()]


@pytest.mark.parametrize("forge", [no_rows, no_model, wrong_model])
def test_what_all_miners_keep_back_never_becomes_a_block(tmp_path: Path, forge: Forgery) -> None:
    village = Village(tmp_path, terms=WINDOWED)
    colluding(village, forge)
    tower = watched(village)
    found = [village.play() for _ in range(3)]
    assert [each.status for each in found] == ["finalized"] * 3
    assert roots(village)[1:] == honest_roots(village)
    ((leader, challenger),) = found[1].refuted
    assert challenger == tower.account.address
    assert village.history.miners[leader].stake == 0
    names = [event.name for event in village.federation.contract.events()]
    assert names.count("Disputed") == 1
    (refuted,) = village.federation.contract.events(name="Refuted")
    assert refuted.args["form"] == Form.DISPUTE
    stake = 2 * village.terms.min_stake - 1
    assert village.federation.contract.call("credits", challenger) == stake // 2 + WINDOWED.challenge_bond
    assert audited(village) == [()] * 5


def test_without_the_watchtower_it_becomes_final(tmp_path: Path) -> None:
    village = Village(tmp_path, terms=WINDOWED)
    colluding(village, wrong_model)
    village.play(2)
    assert len(village.history.blocks) == 3
    assert roots(village)[2] != honest_roots(village)[1]


def test_all_miners_collude_to_the_end(tmp_path: Path) -> None:
    village = Village(tmp_path, terms=WINDOWED)
    colluding(village, no_rows, turns=99)
    watched(village)
    village.play(2)
    assert village.history.rounds[FORGED].status == "void"
    assert len(village.history.rounds[FORGED].refuted) == len(village.offices)
    assert len(village.history.blocks) == 2
    assert audited(village) == [()] * 4


def test_colluders_that_show_their_tree_are_challenged_at_its_leaf(tmp_path: Path) -> None:
    """They answer to the end; then the bond is theirs and the stake is lost."""
    village = Village(tmp_path, terms=WINDOWED)
    colluding(village, wrong_model)
    tower = watched(village)
    for office in village.offices:
        answers = office.lead.answers
        answers.agrees = lambda *_: True

        def answer(moment: Moment, state: Dispute, right: object = answers.answer) -> Step:
            if moment.round != FORGED:
                return right(moment, state)  # type: ignore[operator]
            taken, before = moment.current.taken(), moment.history.model_before(moment.round)
            model = of_wrong(village.archive.next_model(before, taken, moment.history).model)
            tree = Vectors([model], WINDOWED.leaf_lanes)
            if state.height == 0:
                return Step("answer_leaf", (b"\0" + tree.leaf(state.index),))
            return Step("answer", (nodes_below(tree, state, WINDOWED),))

        answers.answer = answer  # type: ignore[method-assign]
    found = village.play(2)
    assert found.status == "finalized"
    assert roots(village)[1:] == honest_roots(village)
    (refuted,) = village.federation.contract.events(name="Refuted")
    assert (refuted.args["form"], refuted.args["challenger"]) == (Form.SUM, tower.account.address)
    assert [e.args["round"] for e in village.federation.contract.events(name="LeafShown")] == [FORGED]
    assert audited(village) == [()] * 4


class Griefer:
    """Disputes every right proposal once, and always asks for the first node, or falls silent."""

    def __init__(self, village: Village, tree: Trees, moves: int) -> None:
        self.village, self.tree, self.moves = village, tree, moves
        self.account = village.device_accounts[-1]
        self.rounds: set[int] = set()

    def act(self) -> str | None:
        moment = look(self.village.ledger)
        if moment is None or moment.clock.phase is not Phase.ATTEST:
            return None
        found, p = disputes_of(moment), moment.current.proposals[-1]
        if moment.round not in self.rounds:
            self.rounds.add(moment.round)
            step = Step("dispute", (p.root, p.cid, p.rows, p.layer, self.tree), WINDOWED.challenge_bond)
        elif found and found[-1].ended is None and found[-1].state.shown not in (0, UNOPENED) and self.moves:
            self.moves -= 1
            step = Step("pursue", (0, found[-1].nodes[0], list(found[-1].proof(0))))
        else:
            return None
        self.village.ledger.send(self.account, [step])
        return "grief"


@pytest.mark.parametrize("tree", Trees)
@pytest.mark.parametrize("moves", [99, 1, 0])
def test_an_honest_leader_is_disputed(tmp_path: Path, tree: Trees, moves: int) -> None:
    village = Village(tmp_path, terms=WINDOWED)
    griefer = Griefer(village, tree, moves)
    village.federation.parties[MINERS].append(griefer)  # type: ignore[arg-type]
    before = {a: m.stake for a, m in village.history.miners.items()}
    rounds = 2
    found = [village.play() for _ in range(rounds)]
    assert [each.status for each in found] == ["finalized"] * rounds
    assert all(not each.refuted and not each.skipped for each in found)
    assert {a: m.stake for a, m in village.history.miners.items()} == before
    earned = sum(village.federation.contract.call("credits", a) for a in before)
    assert earned == rounds * (WINDOWED.challenge_bond // 2)
    assert village.federation.contract.call("credits", griefer.account.address) == 0
    assert audited(village) == [()] * (rounds + 2)
