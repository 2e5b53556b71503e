"""Bytes that leaders withhold: a watchtower asks for them, and an honest leader has nothing to fear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bcfl.errors import Unavailable
from bcfl.federation.schedule import MINERS
from bcfl.ledger.contract import Event
from bcfl.ledger.transcript import gather
from bcfl.ports import ContractCall
from bcfl.protocol import cid as cids
from bcfl.protocol.challenges import Form, Trees
from bcfl.protocol.disputes import Dispute
from bcfl.protocol.event import LogEvent
from bcfl.protocol.evidence import Vectors
from bcfl.protocol.fixedpoint import Lanes
from bcfl.roles.auditor.audit import Audit
from bcfl.roles.common.aggregation import NewModel
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.disputes import nodes_below
from bcfl.roles.common.snapshot import RoundSnapshot
from bcfl.roles.watchtower.watchtower import Watchtower
from bcfl.storage import DirectoryStore
from tests.griefer import Griefer
from tests.integration.test_watchtower import FORGED_ROUND, WINDOW_TERMS, add_watchtower, honest_roots, roots
from tests.integration.test_withholding import drop
from tests.local_federation import LAYOUT, LocalFederation

GARBAGE = bytes(range(32))
Forgery = Callable[[NewModel], NewModel]
Compute = Callable[[RoundSnapshot], NewModel | None]


def no_rows(model: NewModel) -> NewModel:
    """Rows of which nobody knows what they are made of."""
    return replace(model, rows=GARBAGE)


def no_model(model: NewModel) -> NewModel:
    """A root, and a CID, of which nobody has the bytes."""
    return replace(model, root=GARBAGE, cid=GARBAGE)


def wrong_model(model: NewModel) -> NewModel:
    """A wrong model that only the colluders have."""
    root = Vectors([wrong_lanes(model.model)], WINDOW_TERMS.leaf_lanes).root
    return replace(model, root=root, cid=GARBAGE)


def wrong_lanes(right: Lanes) -> Lanes:
    lanes = right.copy()
    lanes[20] += 1
    return lanes


def collude(local: LocalFederation, forge: Forgery, turns: int = 1) -> None:
    """In one round, all miners propose and attest what `forge` returns, and give nobody its bytes."""
    for context in local.miner_parties:
        lead, compute = context.lead, context.lead._compute

        def compute_forged(snapshot: RoundSnapshot, compute: Compute = compute) -> NewModel | None:
            model = compute(snapshot)
            if model is None or snapshot.round != FORGED_ROUND or len(snapshot.current.skipped) >= turns:
                return model
            return forge(model)

        def agree(snapshot: RoundSnapshot, proposal: object, lead: object = lead) -> bool:
            model = lead._compute(snapshot)  # type: ignore[attr-defined]
            return model is not None and (model.root, model.rows) == (proposal.root, proposal.rows)  # type: ignore[attr-defined]

        lead._compute, lead._is_right = compute_forged, agree  # type: ignore[method-assign]
        if turns:
            lead.answers.agrees = lambda snapshot, _: snapshot.round != FORGED_ROUND


def audit_findings(local: LocalFederation) -> list[tuple[object, ...]]:
    return [verdict.findings for verdict in Audit(gather(local.ledger.contract), local.archive).verdicts()]


@pytest.mark.parametrize("forge", [no_rows, no_model, wrong_model])
def test_what_all_miners_keep_back_never_becomes_a_block(tmp_path: Path, forge: Forgery) -> None:
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    collude(local, forge)
    watchtower = add_watchtower(local)
    rounds = [local.play() for _ in range(3)]
    # All have attested, so nobody is left in that round.
    assert [round_.status for round_ in rounds] == ["finalized", "void", "finalized"]
    assert roots(local)[1:] == honest_roots(local)
    ((leader, challenger),) = rounds[1].refutations
    assert challenger == watchtower.account.address
    stake = 2 * local.terms.min_stake - 1
    assert local.history.miners[leader].stake == stake - stake // 2
    names = [event.name for event in local.ledger.contract.events()]
    assert names.count("Disputed") == 1
    (refutation,) = local.ledger.contract.events(name="Refuted")
    assert refutation.args["form"] == Form.SILENCE
    reward = stake // 2 // 4
    assert local.ledger.contract.call("credits", challenger) == reward + WINDOW_TERMS.challenge_bond
    assert audit_findings(local) == [()] * 5


def test_without_the_watchtower_it_becomes_final(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    collude(local, wrong_model)
    local.play(2)
    assert len(local.history.blocks) == 3
    assert roots(local)[2] != honest_roots(local)[1]


def test_all_miners_collude_to_the_end(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    collude(local, no_rows, turns=99)
    add_watchtower(local)
    local.play(2)
    assert local.history.rounds[FORGED_ROUND].status == "void"
    assert len(local.history.rounds[FORGED_ROUND].refutations) == 1  # too few are left that did not attest
    assert len(local.history.blocks) == 2
    assert audit_findings(local) == [()] * 4


def show_wrong_tree(local: LocalFederation) -> None:
    """The colluders answer what they are asked about their wrong model."""
    for context in local.miner_parties:
        answers = context.lead.answers
        answers.agrees = lambda *_: True

        def answer(
            snapshot: RoundSnapshot, state: Dispute, right: object = answers.answers
        ) -> list[ContractCall]:
            if snapshot.round != FORGED_ROUND:
                return right(snapshot, state)  # type: ignore[no-any-return, operator]
            history, updates = snapshot.history, snapshot.current.accepted_submissions()
            parent = history.model_before(snapshot.round)
            model = wrong_lanes(local.archive.next_model(parent, updates, history).model)
            tree = Vectors([model], WINDOW_TERMS.leaf_lanes)
            if state.height == 0:
                return [ContractCall("answer_leaf", (state.number, b"\0" + tree.leaf(state.index)))]
            return [ContractCall("answer", (state.number, nodes_below(tree, state, WINDOW_TERMS)))]

        answers.answers = answer  # type: ignore[method-assign]


def test_colluders_that_show_their_tree_are_challenged_at_its_leaf(tmp_path: Path) -> None:
    """They answer to the end; then the watchtower rules at the leaf that they have shown."""
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    collude(local, wrong_model)
    watchtower = add_watchtower(local)
    show_wrong_tree(local)
    assert local.play(2).status == "void"
    assert roots(local)[1:] == honest_roots(local)
    (refutation,) = local.ledger.contract.events(name="Refuted")
    assert (refutation.args["form"], refutation.args["challenger"]) == (Form.SUM, watchtower.account.address)
    assert [e.args["round"] for e in local.ledger.contract.events(name="LeafShown")] == [FORGED_ROUND]
    assert list(local.ledger.contract.events(name="ChallengeAnnounced")) == []  # it needs no announcement
    stake = 2 * local.terms.min_stake - 1
    credit = local.ledger.contract.call("credits", watchtower.account.address)
    assert credit == stake // 4 + WINDOW_TERMS.challenge_bond
    assert audit_findings(local) == [()] * 4


class KilledWatchtower:
    """A watchtower whose process is killed after every move."""

    def __init__(self, local: LocalFederation) -> None:
        self.local, self.watchtower = local, self.start(local)

    @staticmethod
    def start(local: LocalFederation) -> Watchtower:
        archive = Archive(local.store, LAYOUT, local.terms)
        return Watchtower(local.device_accounts[-1], local.ledger, archive)

    def act(self) -> str | None:
        report = self.watchtower.act()
        if report and report.startswith(("disputed", "asked")):
            self.watchtower = self.start(self.local)
        return report


def test_a_watchtower_that_is_killed_goes_on_with_its_dispute(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    collude(local, wrong_model)
    show_wrong_tree(local)
    local.schedule.parties[MINERS].append(KilledWatchtower(local))  # type: ignore[arg-type]
    local.play(2)
    assert roots(local)[1:] == honest_roots(local)
    assert [e.args["form"] for e in local.ledger.contract.events(name="Refuted")] == [Form.SUM]
    assert len(list(local.ledger.contract.events(name="Disputed"))) == 1


class UpdateLoss:
    """In one round all bytes of an accepted update are lost, and those who collude attest blindly.

    `keeps_copy`: they keep the bytes among themselves, and show what is asked for.
    """

    def __init__(self, local: LocalFederation, forge: Forgery, keeps_copy: bool = False) -> None:
        self.local, self.forge, self.keeps_copy = local, forge, keeps_copy
        self.lanes: Lanes | None = None
        for context in local.miner_parties:
            lead = context.lead
            lead._compute = self.wrap(lead._compute)  # type: ignore[assignment, method-assign]
            agrees, honest = lead._is_right, lead.answers.agrees
            lead._is_right = lambda m, p, b=agrees: m.round == FORGED_ROUND or b(m, p)  # type: ignore[method-assign, misc]
            lead.answers.agrees = lambda m, p, h=honest: keeps_copy if m.round == FORGED_ROUND else h(m, p)  # type: ignore[misc]

    def wrap(self, compute: Compute) -> Compute:
        def compute_once(snapshot: RoundSnapshot) -> NewModel | None:
            model = compute(snapshot)
            if snapshot.round == FORGED_ROUND and model is not None and self.lanes is None:
                model = self.forge(model)
                self.lose(snapshot)
            return model

        return compute_once

    def lose(self, snapshot: RoundSnapshot) -> None:
        archive, item = self.local.archive, snapshot.current.accepted_submissions()[1]
        self.lanes = archive.update(item)
        drop(self.local.store, item.update.cid)
        archive.forget()
        archive._memory.next_models.clear()
        if self.keeps_copy:  # among themselves
            archive._memory.vectors[item.update.root, item.update.cid] = self.lanes
            archive.forget = lambda keep=None: None  # type: ignore[method-assign]  # noqa: ARG005


def test_a_wrong_model_of_an_update_that_all_have_lost_never_becomes_a_block(tmp_path: Path) -> None:
    """Nobody can recompute it, nobody can show the update: the outsider's demand refutes it."""
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    UpdateLoss(local, wrong_model)
    watchtower = add_watchtower(local)
    local.play(2)
    round_ = local.history.rounds[FORGED_ROUND]
    assert round_.status == "void"
    assert round_.refutations[0][1] == watchtower.account.address
    stake = 2 * local.terms.min_stake - 1
    assert local.history.miners[round_.refutations[0][0]].stake == stake - stake // 2
    (dispute,) = local.ledger.contract.events(name="Disputed")
    assert dispute.args["tree"] == Trees.UPDATE + round_.accepted_submissions()[1].position
    (refutation,) = local.ledger.contract.events(name="Refuted")
    assert refutation.args["form"] == Form.SILENCE
    assert len(local.history.blocks) == 2
    assert local.play().status == "finalized"
    assert audit_findings(local)[:2] == [(), ()]


def test_without_a_demand_it_becomes_final(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    UpdateLoss(local, wrong_model)
    assert local.play(2).status == "finalized"


def test_who_keeps_an_update_to_itself_can_show_it(tmp_path: Path) -> None:
    """What docs/security.md does not promise: one leaf is shown, and no outsider can recompute the model."""
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    UpdateLoss(local, wrong_model, keeps_copy=True)
    watchtower = add_watchtower(local)
    assert local.play(2).status == "finalized"
    assert [e.args["round"] for e in local.ledger.contract.events(name="LeafShown")] == [FORGED_ROUND]
    assert local.ledger.contract.call("credits", watchtower.account.address) == 0


class PartialStore(DirectoryStore):
    """A store that gives an outsider everything but one update."""

    def __init__(self, store: DirectoryStore, local: LocalFederation) -> None:
        super().__init__(store.path)
        self.local = local

    def get(self, cid: str, max_bytes: int) -> bytes:
        updates = self.local.history.rounds[max(self.local.history.rounds)].accepted_submissions()
        if updates and cids.digest(cid) == updates[0].update.cid:
            raise Unavailable("nobody gives it", cid)
        return super().get(cid, max_bytes)


def test_an_honest_leader_that_has_the_update_shows_it(tmp_path: Path) -> None:
    """To an outsider that cannot get it: the proposal stands, and the outsider has lost its bond."""
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    archive = Archive(PartialStore(local.store, local), LAYOUT, local.terms)
    watchtower = Watchtower(local.device_accounts[-1], local.ledger, archive)
    local.schedule.parties[MINERS].append(watchtower)  # type: ignore[arg-type]
    stakes = {a: m.stake for a, m in local.history.miners.items()}
    rounds = [local.play() for _ in range(2)]
    assert [(round_.status, round_.refutations, round_.skipped) for round_ in rounds] == [
        ("finalized", [], [])
    ] * 2
    assert {a: m.stake for a, m in local.history.miners.items()} == stakes
    events = list(local.ledger.contract.events(name="Disputed"))
    assert [(e.args["round"], e.args["tree"]) for e in events] == [(1, Trees.UPDATE), (2, Trees.UPDATE)]
    leaves = list(local.ledger.contract.events(name="LeafShown"))
    assert [e.args["round"] for e in leaves] == [1, 2]
    assert local.ledger.contract.call("credits", watchtower.account.address) == 0
    bonds = [event.args["bond"] for event in local.ledger.contract.events(name="Disputed")]
    credits = sum(local.ledger.contract.call("credits", a) for a in stakes)
    assert credits == sum(bond // 2 for bond in bonds)
    assert audit_findings(local) == [()] * 4


TAMPERINGS: dict[str, Callable[[Sequence[LogEvent]], list[LogEvent]]] = {
    "an answer is left out": lambda events: [e for e in events if e.name != "NodesShown"],
    "the leaf is another one": lambda events: with_args(events, "LeafShown", content=b"\0"),
    "the bond of another ends": lambda events: with_args(events, "DisputeEnded", challenger=BYSTANDER),
    "the bond goes back": lambda events: with_args(events, "DisputeEnded", returned=True),
    "another has disputed": lambda events: with_args(events, "Disputed", challenger=BYSTANDER),
    "the end is not logged": lambda events: [e for e in events if e.name != "DisputeEnded"],
    "what was disputed is none": lambda events: with_args(events, "Disputed", tree=Trees.UPDATE + 99),
    "the leaf is not logged": lambda events: [e for e in events if e.name != "LeafShown"],
}
BYSTANDER = "0x" + "11" * 20


def with_args(events: Sequence[LogEvent], name: str, **args: object) -> list[LogEvent]:
    return [
        replace(e, args={**e.args, **args}) if isinstance(e, Event) and e.name == name else e for e in events
    ]


@pytest.fixture(scope="module")
def disputed_federation(tmp_path_factory: pytest.TempPathFactory) -> LocalFederation:
    local = LocalFederation(tmp_path_factory.mktemp("disputed"), terms=WINDOW_TERMS)
    local.schedule.parties[MINERS].append(Griefer(local, Trees.MODEL, 99))  # type: ignore[arg-type]
    local.play()
    return local


@pytest.mark.parametrize("name", TAMPERINGS)
def test_an_audit_follows_every_move(disputed_federation: LocalFederation, name: str) -> None:
    local = disputed_federation
    transcript = gather(local.ledger.contract)
    tampered_transcript = replace(transcript, events=TAMPERINGS[name](transcript.events))
    verdicts = list(Audit(tampered_transcript, Archive(local.store, LAYOUT, local.terms)).verdicts())
    findings = [(finding.round, finding.field) for verdict in verdicts for finding in verdict.findings]
    assert findings[0] == (1, "disputes"), findings


def test_an_audit_asks_whether_an_answer_was_due(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    collude(local, no_rows)
    add_watchtower(local)
    local.play(2)
    transcript = gather(local.ledger.contract)
    for tampering in ([], with_args(transcript.events, "Refuted", challenger=BYSTANDER)):
        events = tampering or [e for e in transcript.events if e.name not in ("Disputed", "DisputeEnded")]
        tampered_transcript = replace(transcript, events=events)
        verdicts = list(Audit(tampered_transcript, Archive(local.store, LAYOUT, local.terms)).verdicts())
        first = next(finding for verdict in verdicts for finding in verdict.findings)
        assert (first.round, first.field) == (FORGED_ROUND, "disputes")
