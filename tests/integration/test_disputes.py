"""What leaders keep back: a watching outsider asks for it, and an honest leader has nothing to fear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bcfl.errors import Unavailable
from bcfl.federation.simulation import MINERS
from bcfl.ledger.contract import Event
from bcfl.ledger.transcript import gather
from bcfl.ports import ContractCall
from bcfl.protocol import cid as cids
from bcfl.protocol import verification
from bcfl.protocol.challenges import Form, Trees
from bcfl.protocol.disputes import NOBODY, UNOPENED, Dispute, update_args
from bcfl.protocol.evidence import Vectors
from bcfl.protocol.fixedpoint import Lanes
from bcfl.protocol.types import Phase
from bcfl.roles.auditor.audit import Audit
from bcfl.roles.common.archive import Archive, NewModel
from bcfl.roles.common.disputes import disputes_of, nodes_below
from bcfl.roles.common.snapshot import RoundSnapshot, take_snapshot
from bcfl.roles.watchtower.watchtower import Watchtower
from bcfl.storage import DirectoryStore
from tests.integration.test_watchtower import FORGED, WINDOWED, honest_roots, roots, watched
from tests.integration.test_withholding import drop
from tests.local_federation import LAYOUT, LocalFederation

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


def colluding(local: LocalFederation, forge: Forgery, turns: int = 1) -> None:
    """In one round, all miners propose and attest what `forge` makes, and tell nobody more."""
    for context in local.offices:
        lead, compute = context.lead, context.lead._compute

        def computed(
            snapshot: RoundSnapshot, compute: Callable[[RoundSnapshot], NewModel | None] = compute
        ) -> NewModel | None:
            made = compute(snapshot)
            if made is None or snapshot.round != FORGED or len(snapshot.current.skipped) >= turns:
                return made
            return forge(made)

        def agreed(snapshot: RoundSnapshot, proposal: object, lead: object = lead) -> bool:
            made = lead._compute(snapshot)  # type: ignore[attr-defined]
            return made is not None and (made.root, made.rows) == (proposal.root, proposal.rows)  # type: ignore[attr-defined]

        lead._compute, lead._agrees = computed, agreed  # type: ignore[method-assign]
        if turns:
            lead.answers.agrees = lambda snapshot, _: snapshot.round != FORGED


def audited(local: LocalFederation) -> list[tuple[object, ...]]:
    return [each.findings for each in Audit(gather(local.federation.contract), local.archive).verdicts()]


@pytest.mark.parametrize("forge", [no_rows, no_model, wrong_model])
def test_what_all_miners_keep_back_never_becomes_a_block(tmp_path: Path, forge: Forgery) -> None:
    local = LocalFederation(tmp_path, terms=WINDOWED)
    colluding(local, forge)
    tower = watched(local)
    found = [local.play() for _ in range(3)]
    assert [each.status for each in found] == ["finalized"] * 3
    assert roots(local)[1:] == honest_roots(local)
    ((leader, challenger),) = found[1].refuted
    assert challenger == tower.account.address
    assert local.history.miners[leader].stake == 0
    names = [event.name for event in local.federation.contract.events()]
    assert names.count("Disputed") == 1
    (refuted,) = local.federation.contract.events(name="Refuted")
    assert refuted.args["form"] == Form.DISPUTE
    stake = 2 * local.terms.min_stake - 1
    assert local.federation.contract.call("credits", challenger) == stake // 2 + WINDOWED.challenge_bond
    assert audited(local) == [()] * 5


def test_without_the_watchtower_it_becomes_final(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=WINDOWED)
    colluding(local, wrong_model)
    local.play(2)
    assert len(local.history.blocks) == 3
    assert roots(local)[2] != honest_roots(local)[1]


def test_all_miners_collude_to_the_end(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=WINDOWED)
    colluding(local, no_rows, turns=99)
    watched(local)
    local.play(2)
    assert local.history.rounds[FORGED].status == "void"
    assert len(local.history.rounds[FORGED].refuted) == len(local.offices)
    assert len(local.history.blocks) == 2
    assert audited(local) == [()] * 4


def showing(local: LocalFederation) -> None:
    """The colluders answer what they are asked about their wrong model."""
    for context in local.offices:
        answers = context.lead.answers
        answers.agrees = lambda *_: True

        def answer(snapshot: RoundSnapshot, state: Dispute, right: object = answers.answer) -> ContractCall:
            if snapshot.round != FORGED:
                return right(snapshot, state)  # type: ignore[operator]
            taken, before = snapshot.current.taken(), snapshot.history.model_before(snapshot.round)
            model = of_wrong(local.archive.next_model(before, taken, snapshot.history).model)
            tree = Vectors([model], WINDOWED.leaf_lanes)
            if state.height == 0:
                return ContractCall("answer_leaf", (b"\0" + tree.leaf(state.index),))
            return ContractCall("answer", (nodes_below(tree, state, WINDOWED),))

        answers.answer = answer  # type: ignore[method-assign]


def test_colluders_that_show_their_tree_are_challenged_at_its_leaf(tmp_path: Path) -> None:
    """They answer to the end; then the bond is theirs and the stake is lost."""
    local = LocalFederation(tmp_path, terms=WINDOWED)
    colluding(local, wrong_model)
    tower = watched(local)
    showing(local)
    found = local.play(2)
    assert found.status == "finalized"
    assert roots(local)[1:] == honest_roots(local)
    (refuted,) = local.federation.contract.events(name="Refuted")
    assert (refuted.args["form"], refuted.args["challenger"]) == (Form.SUM, tower.account.address)
    assert [e.args["round"] for e in local.federation.contract.events(name="LeafShown")] == [FORGED]
    assert audited(local) == [()] * 4


class Forgetful:
    """A watchtower whose process is killed after every move."""

    def __init__(self, local: LocalFederation) -> None:
        self.local, self.tower = local, self.started(local)

    @staticmethod
    def started(local: LocalFederation) -> Watchtower:
        archive = Archive(local.store, LAYOUT, local.terms)
        return Watchtower(local.device_accounts[-1], local.ledger, archive)

    def act(self) -> str | None:
        done = self.tower.act()
        if done and done.startswith(("disputed", "asked")):
            self.tower = self.started(self.local)
        return done


def test_a_watchtower_that_is_killed_goes_on_with_its_dispute(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=WINDOWED)
    colluding(local, wrong_model)
    showing(local)
    local.federation.parties[MINERS].append(Forgetful(local))  # type: ignore[arg-type]
    local.play(2)
    assert roots(local)[1:] == honest_roots(local)
    assert [e.args["form"] for e in local.federation.contract.events(name="Refuted")] == [Form.SUM]
    assert len(list(local.federation.contract.events(name="Disputed"))) == 1


class Losing:
    """In one round all bytes of an accepted update are lost, and those who collude attest blindly.

    `kept`: they keep the bytes among themselves, and show what is asked for.
    """

    def __init__(self, local: LocalFederation, forge: Forgery, kept: bool = False) -> None:
        self.local, self.forge, self.kept = local, forge, kept
        self.lost: Lanes | None = None
        for context in local.offices:
            lead = context.lead
            lead._compute = self.computed(lead._compute)  # type: ignore[method-assign]
            blind, honest = context.lead._agrees, lead.answers.agrees
            lead._agrees = lambda m, p, b=blind: m.round == FORGED or b(m, p)  # type: ignore[method-assign, misc]
            lead.answers.agrees = lambda m, p, h=honest: kept if m.round == FORGED else h(m, p)  # type: ignore[misc]

    def computed(
        self, compute: Callable[[RoundSnapshot], NewModel | None]
    ) -> Callable[[RoundSnapshot], NewModel | None]:
        def made(snapshot: RoundSnapshot) -> NewModel | None:
            found = compute(snapshot)
            if snapshot.round == FORGED and found is not None and self.lost is None:
                found = self.forge(found)
                self.lose(snapshot)
            return found

        return made

    def lose(self, snapshot: RoundSnapshot) -> None:
        archive, item = self.local.archive, snapshot.current.taken()[1]
        self.lost = archive.update(item)
        drop(self.local.store, item.update.cid)
        archive.forget()
        archive._made.clear()
        if self.kept:  # among themselves
            archive._checked[item.update.root, item.update.cid] = self.lost
            archive.forget = lambda: None  # type: ignore[method-assign]


def test_a_wrong_model_of_an_update_that_all_have_lost_never_becomes_a_block(tmp_path: Path) -> None:
    """Nobody can recompute it, nobody can show the update: the outsider's demand refutes it."""
    local = LocalFederation(tmp_path, terms=WINDOWED)
    Losing(local, wrong_model)
    tower = watched(local)
    local.play(2)
    found = local.history.rounds[FORGED]
    assert found.status == "void"
    assert found.refuted[0][1] == tower.account.address
    assert local.history.miners[found.refuted[0][0]].stake == 0
    (disputed,) = local.federation.contract.events(name="Disputed")
    assert disputed.args["tree"] == Trees.UPDATE + found.taken()[1].position
    (refuted,) = local.federation.contract.events(name="Refuted")
    assert refuted.args["form"] == Form.DISPUTE
    assert len(local.history.blocks) == 2
    assert local.play().status == "finalized"
    assert audited(local)[:2] == [(), ()]


def test_without_a_demand_it_becomes_final(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=WINDOWED)
    Losing(local, wrong_model)
    assert local.play(2).status == "finalized"


def test_who_keeps_an_update_to_itself_can_show_it(tmp_path: Path) -> None:
    """What docs/security.md does not promise: one leaf is shown, and no outsider can recompute the model."""
    local = LocalFederation(tmp_path, terms=WINDOWED)
    Losing(local, wrong_model, kept=True)
    tower = watched(local)
    assert local.play(2).status == "finalized"
    assert [e.args["round"] for e in local.federation.contract.events(name="LeafShown")] == [FORGED]
    assert local.federation.contract.call("credits", tower.account.address) == 0


class Cut(DirectoryStore):
    """A store that gives an outsider everything but one update."""

    def __init__(self, store: DirectoryStore, local: LocalFederation) -> None:
        super().__init__(store.path)
        self.local = local

    def get(self, name: str, *args: Any, **more: Any) -> bytes:
        taken = self.local.history.rounds[max(self.local.history.rounds)].taken()
        if taken and cids.digest(name) == taken[0].update.cid:
            raise Unavailable("nobody gives it", name)
        return super().get(name, *args, **more)


def test_an_honest_leader_that_has_the_update_shows_it(tmp_path: Path) -> None:
    """To an outsider that cannot get it: the proposal stands, and the outsider has lost its bond."""
    local = LocalFederation(tmp_path, terms=WINDOWED)
    archive = Archive(Cut(local.store, local), LAYOUT, local.terms)
    tower = Watchtower(local.device_accounts[-1], local.ledger, archive)
    local.federation.parties[MINERS].append(tower)  # type: ignore[arg-type]
    before = {a: m.stake for a, m in local.history.miners.items()}
    found = [local.play() for _ in range(2)]
    assert [(each.status, each.refuted, each.skipped) for each in found] == [("finalized", [], [])] * 2
    assert {a: m.stake for a, m in local.history.miners.items()} == before
    events = list(local.federation.contract.events(name="Disputed"))
    assert [(e.args["round"], e.args["tree"]) for e in events] == [(1, Trees.UPDATE), (2, Trees.UPDATE)]
    shown = list(local.federation.contract.events(name="LeafShown"))
    assert [e.args["round"] for e in shown] == [1, 2]
    assert local.federation.contract.call("credits", tower.account.address) == 0
    earned = sum(local.federation.contract.call("credits", a) for a in before)
    assert earned == 2 * (WINDOWED.challenge_bond // 2)
    assert audited(local) == [()] * 4


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
def disputed(tmp_path_factory: pytest.TempPathFactory) -> LocalFederation:
    local = LocalFederation(tmp_path_factory.mktemp("disputed"), terms=WINDOWED)
    local.federation.parties[MINERS].append(Griefer(local, Trees.MODEL, 99))  # type: ignore[arg-type]
    local.play()
    return local


@pytest.mark.parametrize("name", TAMPERED)
def test_an_audit_follows_every_move(disputed: LocalFederation, name: str) -> None:
    transcript = gather(disputed.federation.contract)
    bent = replace(transcript, events=TAMPERED[name](list(transcript.events)))
    verdicts = list(Audit(bent, Archive(disputed.store, LAYOUT, disputed.terms)).verdicts())
    found = [(finding.round, finding.field) for each in verdicts for finding in each.findings]
    assert found[0] == (1, "disputes"), found


def test_an_audit_asks_whether_an_answer_was_due(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=WINDOWED)
    colluding(local, no_rows)
    watched(local)
    local.play(2)
    transcript = gather(local.federation.contract)
    for moves in ([], changed(list(transcript.events), "Refuted", challenger=BYSTANDER)):
        events = moves or [e for e in transcript.events if e.name not in ("Disputed", "DisputeEnded")]
        bent = replace(transcript, events=events)
        verdicts = list(Audit(bent, Archive(local.store, LAYOUT, local.terms)).verdicts())
        first = next(finding for each in verdicts for finding in each.findings)
        assert (first.round, first.field) == (FORGED, "disputes")


class Griefer:
    """Disputes every right proposal once, and always asks for the first node, or falls silent."""

    def __init__(self, local: LocalFederation, tree: Trees, moves: int) -> None:
        self.local, self.tree, self.moves = local, tree, moves
        self.account = local.device_accounts[-1]
        self.rounds: set[int] = set()

    def act(self) -> str | None:
        snapshot = take_snapshot(self.local.ledger)
        if snapshot is None or snapshot.clock.phase is not Phase.ATTEST:
            return None
        found, p = disputes_of(snapshot), snapshot.current.proposals[-1]
        if snapshot.round not in self.rounds:
            self.rounds.add(snapshot.round)
            fields = (p.root, p.cid, p.rows, p.layer)
            step = ContractCall("dispute", (*fields, self.tree), WINDOWED.challenge_bond)
            if self.tree is Trees.UPDATE:
                step = ContractCall(
                    "dispute_update", (*fields, *self.opened(snapshot)), WINDOWED.challenge_bond
                )
        elif found and found[-1].ended is None and found[-1].state.shown not in (0, UNOPENED) and self.moves:
            self.moves -= 1
            step = ContractCall("pursue", (0, found[-1].nodes[0], list(found[-1].proof(0))))
        else:
            return None
        self.local.ledger.send(self.account, [step])
        return "grief"

    def opened(self, snapshot: RoundSnapshot) -> tuple[Any, ...]:
        current, item = snapshot.current, snapshot.current.taken()[-1]
        words = current.words(self.local.ledger.domain)
        count = verification.tally(words, current.votes, current.engine)
        return update_args(count, words, item.position, item.update)


@pytest.mark.parametrize("tree", Trees)
@pytest.mark.parametrize("moves", [99, 1, 0])
def test_an_honest_leader_is_disputed(tmp_path: Path, tree: Trees, moves: int) -> None:
    local = LocalFederation(tmp_path, terms=WINDOWED)
    griefer = Griefer(local, tree, moves)
    local.federation.parties[MINERS].append(griefer)  # type: ignore[arg-type]
    before = {a: m.stake for a, m in local.history.miners.items()}
    rounds = 2
    found = [local.play() for _ in range(rounds)]
    assert [each.status for each in found] == ["finalized"] * rounds
    assert all(not each.refuted and not each.skipped for each in found)
    assert {a: m.stake for a, m in local.history.miners.items()} == before
    earned = sum(local.federation.contract.call("credits", a) for a in before)
    assert earned == rounds * (WINDOWED.challenge_bond // 2)
    assert local.federation.contract.call("credits", griefer.account.address) == 0
    assert audited(local) == [()] * (rounds + 2)
