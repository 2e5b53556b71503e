"""What leaders keep back: a watching outsider asks for it, and an honest leader has nothing to fear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bcfl.errors import Unavailable
from bcfl.ledger.contract import Event
from bcfl.ledger.testimony import gather
from bcfl.ports import Step
from bcfl.protocol import cid as cids
from bcfl.protocol import verification
from bcfl.protocol.challenges import Form, Trees
from bcfl.protocol.disputes import NOBODY, UNOPENED, Dispute, update_args
from bcfl.protocol.evidence import Vectors
from bcfl.protocol.fixedpoint import Lanes
from bcfl.protocol.types import Phase
from bcfl.roles.archive import Archive, NewModel
from bcfl.roles.auditor.audit import Audit
from bcfl.roles.disputes import disputes_of, nodes_below
from bcfl.roles.moment import Moment, look
from bcfl.roles.watchtower import Watchtower
from bcfl.simulation import MINERS
from bcfl.storage import DirectoryStore
from tests.integration.test_watchtower import FORGED, WINDOWED, honest_roots, roots, watched
from tests.integration.test_withholding import drop
from tests.village import LAYOUT, Village

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


def showing(village: Village) -> None:
    """The colluders answer what they are asked about their wrong model."""
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


def test_colluders_that_show_their_tree_are_challenged_at_its_leaf(tmp_path: Path) -> None:
    """They answer to the end; then the bond is theirs and the stake is lost."""
    village = Village(tmp_path, terms=WINDOWED)
    colluding(village, wrong_model)
    tower = watched(village)
    showing(village)
    found = village.play(2)
    assert found.status == "finalized"
    assert roots(village)[1:] == honest_roots(village)
    (refuted,) = village.federation.contract.events(name="Refuted")
    assert (refuted.args["form"], refuted.args["challenger"]) == (Form.SUM, tower.account.address)
    assert [e.args["round"] for e in village.federation.contract.events(name="LeafShown")] == [FORGED]
    assert audited(village) == [()] * 4


class Forgetful:
    """A watchtower whose process is killed after every move."""

    def __init__(self, village: Village) -> None:
        self.village, self.tower = village, self.started(village)

    @staticmethod
    def started(village: Village) -> Watchtower:
        archive = Archive(village.store, LAYOUT, village.terms)
        return Watchtower(village.device_accounts[-1], village.ledger, archive)

    def act(self) -> str | None:
        done = self.tower.act()
        if done and done.startswith(("disputed", "asked")):
            self.tower = self.started(self.village)
        return done


def test_a_watchtower_that_is_killed_goes_on_with_its_dispute(tmp_path: Path) -> None:
    village = Village(tmp_path, terms=WINDOWED)
    colluding(village, wrong_model)
    showing(village)
    village.federation.parties[MINERS].append(Forgetful(village))  # type: ignore[arg-type]
    village.play(2)
    assert roots(village)[1:] == honest_roots(village)
    assert [e.args["form"] for e in village.federation.contract.events(name="Refuted")] == [Form.SUM]
    assert len(list(village.federation.contract.events(name="Disputed"))) == 1


class Losing:
    """In one round all bytes of an accepted update are lost, and those who collude attest blindly.

    `kept`: they keep the bytes among themselves, and show what is asked for.
    """

    def __init__(self, village: Village, forge: Forgery, kept: bool = False) -> None:
        self.village, self.forge, self.kept = village, forge, kept
        self.lost: Lanes | None = None
        for office in village.offices:
            lead = office.lead
            lead._compute = self.computed(lead._compute)  # type: ignore[method-assign]
            blind, honest = office.lead._agrees, lead.answers.agrees
            lead._agrees = lambda m, p, b=blind: m.round == FORGED or b(m, p)  # type: ignore[method-assign, misc]
            lead.answers.agrees = lambda m, p, h=honest: kept if m.round == FORGED else h(m, p)  # type: ignore[misc]

    def computed(self, compute: Callable[[Moment], NewModel | None]) -> Callable[[Moment], NewModel | None]:
        def made(moment: Moment) -> NewModel | None:
            found = compute(moment)
            if moment.round == FORGED and found is not None and self.lost is None:
                found = self.forge(found)
                self.lose(moment)
            return found

        return made

    def lose(self, moment: Moment) -> None:
        archive, item = self.village.archive, moment.current.taken()[1]
        self.lost = archive.update(item)
        drop(self.village.store, item.update.cid)
        archive.forget()
        archive._made.clear()
        if self.kept:  # among themselves
            archive._checked[item.update.root, item.update.cid] = self.lost
            archive.forget = lambda: None  # type: ignore[method-assign]


def test_a_wrong_model_of_an_update_that_all_have_lost_never_becomes_a_block(tmp_path: Path) -> None:
    """Nobody can recompute it, nobody can show the update: the outsider's demand refutes it."""
    village = Village(tmp_path, terms=WINDOWED)
    Losing(village, wrong_model)
    tower = watched(village)
    village.play(2)
    found = village.history.rounds[FORGED]
    assert found.status == "void"
    assert found.refuted[0][1] == tower.account.address
    assert village.history.miners[found.refuted[0][0]].stake == 0
    (disputed,) = village.federation.contract.events(name="Disputed")
    assert disputed.args["tree"] == Trees.UPDATE + found.taken()[1].position
    (refuted,) = village.federation.contract.events(name="Refuted")
    assert refuted.args["form"] == Form.DISPUTE
    assert len(village.history.blocks) == 2
    assert village.play().status == "finalized"
    assert audited(village)[:2] == [(), ()]


def test_without_a_demand_it_becomes_final(tmp_path: Path) -> None:
    village = Village(tmp_path, terms=WINDOWED)
    Losing(village, wrong_model)
    assert village.play(2).status == "finalized"


def test_who_keeps_an_update_to_itself_can_show_it(tmp_path: Path) -> None:
    """What docs/security.md does not promise: one leaf is shown, and no outsider can recompute the model."""
    village = Village(tmp_path, terms=WINDOWED)
    Losing(village, wrong_model, kept=True)
    tower = watched(village)
    assert village.play(2).status == "finalized"
    assert [e.args["round"] for e in village.federation.contract.events(name="LeafShown")] == [FORGED]
    assert village.federation.contract.call("credits", tower.account.address) == 0


class Cut(DirectoryStore):
    """A store that gives an outsider everything but one update."""

    def __init__(self, store: DirectoryStore, village: Village) -> None:
        super().__init__(store.path)
        self.village = village

    def get(self, name: str, *args: Any, **more: Any) -> bytes:
        taken = self.village.history.rounds[max(self.village.history.rounds)].taken()
        if taken and cids.digest(name) == taken[0].update.cid:
            raise Unavailable("nobody gives it", name)
        return super().get(name, *args, **more)


def test_an_honest_leader_that_has_the_update_shows_it(tmp_path: Path) -> None:
    """To an outsider that cannot get it: the proposal stands, and the outsider has lost its bond."""
    village = Village(tmp_path, terms=WINDOWED)
    archive = Archive(Cut(village.store, village), LAYOUT, village.terms)
    tower = Watchtower(village.device_accounts[-1], village.ledger, archive)
    village.federation.parties[MINERS].append(tower)  # type: ignore[arg-type]
    before = {a: m.stake for a, m in village.history.miners.items()}
    found = [village.play() for _ in range(2)]
    assert [(each.status, each.refuted, each.skipped) for each in found] == [("finalized", [], [])] * 2
    assert {a: m.stake for a, m in village.history.miners.items()} == before
    events = list(village.federation.contract.events(name="Disputed"))
    assert [(e.args["round"], e.args["tree"]) for e in events] == [(1, Trees.UPDATE), (2, Trees.UPDATE)]
    shown = list(village.federation.contract.events(name="LeafShown"))
    assert [e.args["round"] for e in shown] == [1, 2]
    assert village.federation.contract.call("credits", tower.account.address) == 0
    earned = sum(village.federation.contract.call("credits", a) for a in before)
    assert earned == 2 * (WINDOWED.challenge_bond // 2)
    assert audited(village) == [()] * 4


TAMPERED: dict[str, Callable[[list[Event]], list[Event]]] = {
    "an answer is left out": lambda events: [e for e in events if e.name != "NodesShown"],
    "the leaf is another one": lambda events: changed(events, "LeafShown", content=b"\0"),
    "the bond goes to another": lambda events: changed(events, "DisputeEnded", answerer=BYSTANDER),
    "the bond goes back": lambda events: changed(events, "DisputeEnded", answerer=NOBODY),
    "another has disputed": lambda events: changed(events, "Disputed", challenger=BYSTANDER),
    "the end is not told": lambda events: [e for e in events if e.name != "DisputeEnded"],
    "what was disputed is none": lambda events: changed(events, "Disputed", tree=Trees.UPDATE + 99),
    "the leaf is not told": lambda events: [e for e in events if e.name != "LeafShown"],
}
BYSTANDER = "0x" + "11" * 20


def changed(events: list[Event], name: str, **args: object) -> list[Event]:
    return [replace(e, args={**e.args, **args}) if e.name == name else e for e in events]


@pytest.fixture(scope="module")
def disputed(tmp_path_factory: pytest.TempPathFactory) -> Village:
    village = Village(tmp_path_factory.mktemp("disputed"), terms=WINDOWED)
    village.federation.parties[MINERS].append(Griefer(village, Trees.MODEL, 99))  # type: ignore[arg-type]
    village.play()
    return village


@pytest.mark.parametrize("name", TAMPERED)
def test_an_audit_follows_every_move(disputed: Village, name: str) -> None:
    testimony = gather(disputed.federation.contract)
    bent = replace(testimony, events=TAMPERED[name](list(testimony.events)))
    verdicts = list(Audit(bent, Archive(disputed.store, LAYOUT, disputed.terms)).verdicts())
    found = [(finding.round, finding.field) for each in verdicts for finding in each.findings]
    assert found[0] == (1, "disputes"), found


def test_an_audit_asks_whether_an_answer_was_due(tmp_path: Path) -> None:
    village = Village(tmp_path, terms=WINDOWED)
    colluding(village, no_rows)
    watched(village)
    village.play(2)
    testimony = gather(village.federation.contract)
    for moves in ([], changed(list(testimony.events), "Refuted", challenger=BYSTANDER)):
        events = moves or [e for e in testimony.events if e.name not in ("Disputed", "DisputeEnded")]
        bent = replace(testimony, events=events)
        verdicts = list(Audit(bent, Archive(village.store, LAYOUT, village.terms)).verdicts())
        first = next(finding for each in verdicts for finding in each.findings)
        assert (first.round, first.field) == (FORGED, "disputes")


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
            fields = (p.root, p.cid, p.rows, p.layer)
            step = Step("dispute", (*fields, self.tree), WINDOWED.challenge_bond)
            if self.tree is Trees.UPDATE:
                step = Step("dispute_update", (*fields, *self.opened(moment)), WINDOWED.challenge_bond)
        elif found and found[-1].ended is None and found[-1].state.shown not in (0, UNOPENED) and self.moves:
            self.moves -= 1
            step = Step("pursue", (0, found[-1].nodes[0], list(found[-1].proof(0))))
        else:
            return None
        self.village.ledger.send(self.account, [step])
        return "grief"

    def opened(self, moment: Moment) -> tuple[Any, ...]:
        current, item = moment.current, moment.current.taken()[-1]
        words = current.words(self.village.ledger.domain)
        count = verification.tally(words, current.votes, current.engine)
        return update_args(count, words, item.position, item.update)


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
