"""One honest outsider is enough: what all miners agree on wrongly never becomes a block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bcfl.federation.watchtower import start_watchtower
from bcfl.federation.simulation import MINERS
from bcfl.ledger.transcript import gather
from bcfl.protocol import cid, merkle, payload
from bcfl.protocol.accounts import Account
from bcfl.roles.auditor.audit import Audit
from bcfl.roles.common.aggregation import NewModel
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.snapshot import RoundSnapshot
from bcfl.roles.watchtower.spool import Spool
from bcfl.roles.watchtower.watchtower import Watchtower
from tests.daemons import client_of
from tests.local_federation import ETHER, LAYOUT, TERMS, LocalFederation

WINDOWED = replace(TERMS, challenge_seconds=30, challenge_bond=ETHER // 10)
FORGED = 2  # the round in which the miners collude

Compute = Callable[[RoundSnapshot], NewModel | None]


def forged(local: LocalFederation, compute: Compute, turns: int) -> Compute:
    """The same model with one lane off by one, in the first `turns` turns of one round; its trees fit it."""

    def computed(snapshot: RoundSnapshot) -> NewModel | None:
        made = compute(snapshot)
        if made is None or snapshot.round != FORGED or len(snapshot.current.skipped) >= turns:
            return made
        model = made.model.copy()
        model[7] += 1
        root = merkle.root(model, local.terms.leaf_lanes)
        return NewModel(model, root, cid.digest(cid.compute(payload.encode(LAYOUT, model))), made.rows)

    return computed


def colluding(local: LocalFederation, turns: int) -> None:
    for context in local.offices:
        context.lead._compute = forged(local, context.lead._compute, turns)  # type: ignore[method-assign]


def watched(local: LocalFederation) -> Watchtower:
    """An outsider with some ether and nothing else."""
    outsider = local.device_accounts[-1]  # funded; what it knows as a device is of no use here
    tower = Watchtower(outsider, local.ledger, Archive(local.store, LAYOUT, local.terms))
    local.federation.parties[MINERS].append(tower)  # type: ignore[arg-type]
    return tower


def roots(local: LocalFederation) -> list[bytes]:
    return [block.root for block in local.history.blocks]


def honest_roots(local: LocalFederation) -> list[bytes]:
    """What the accepted updates of every finished round come to, computed anew."""
    archive, found = Archive(local.store, LAYOUT, local.terms), []
    for block in local.history.blocks[1:]:
        before = local.history.model_before(block.round)
        found.append(archive.next_model(before, local.history.rounds[block.round].taken()).root)
    return found


def test_default_behavior(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=WINDOWED)
    colluding(local, turns=1)
    tower = watched(local)
    found = [local.play() for _ in range(3)]
    assert [each.status for each in found] == ["finalized"] * 3
    assert roots(local)[1:] == honest_roots(local)
    (leader, challenger), *more = found[1].refuted
    assert (challenger, more) == (tower.account.address, [])
    assert found[1].block is not None
    assert found[1].block.leader != leader
    # The leader's whole stake: half of it, and the bond, are the challenger's.
    stake = 2 * local.terms.min_stake - 1
    assert local.history.miners[leader].stake == 0
    assert local.federation.contract.call("credits", challenger) == stake // 2 + WINDOWED.challenge_bond
    verdicts = list(Audit(gather(local.federation.contract), local.archive).verdicts())
    assert [each.findings for each in verdicts] == [()] * 5
    assert set(verdicts[FORGED].lazy) >= {leader}


def test_without_the_watchtower_the_wrong_model_becomes_final(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=WINDOWED)
    colluding(local, turns=1)
    local.play(3)
    assert roots(local)[1:] != honest_roots(local)
    verdicts = list(Audit(gather(local.federation.contract), local.archive).verdicts())
    first = next(finding for each in verdicts for finding in each.findings)
    assert (first.round, first.field) == (FORGED, "proposal.root")
    assert len(verdicts[FORGED].lazy) >= 3


def test_all_miners_collude_to_the_end_and_others_take_over(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=WINDOWED)
    colluding(local, turns=99)
    watched(local)
    local.play(2)
    assert local.history.rounds[FORGED].status == "void"
    assert len(local.history.rounds[FORGED].refuted) == len(local.offices)
    assert len(local.history.blocks) == 2
    late = Account.derived(0, "miner", 0)
    local.federation.contract.send(
        late, "top_up", value=2 * ETHER
    )  # whoever has ether may mine, also one that has paid for its fault
    local.play(2)
    assert local.history.rounds[FORGED + 2].status == "finalized"
    assert roots(local)[1:] == honest_roots(local)


MONEY = {
    "the refutation is not told": ("Refuted", None, "penalties"),
    "the slash is one wei less": ("Penalized", lambda wei: wei - 1, "penalties"),
}


@pytest.mark.parametrize("name", MONEY)
def test_an_audit_follows_what_a_refutation_costs(tmp_path: Path, name: str) -> None:
    local = LocalFederation(tmp_path, terms=WINDOWED)
    colluding(local, turns=1)
    watched(local)
    local.play(2)
    transcript, (kind, change, field) = gather(local.federation.contract), MONEY[name]
    events = list(transcript.events)
    place = next(i for i, e in enumerate(events) if e.name == kind and e.args["round"] == FORGED)
    if change is None:
        del events[place]
    else:
        args = events[place].args
        events[place] = replace(events[place], args={**args, "amount": change(args["amount"])})  # type: ignore[type-var]
    bent = replace(transcript, events=events)
    verdicts = list(Audit(bent, Archive(local.store, LAYOUT, local.terms)).verdicts())
    first = next(finding for each in verdicts for finding in each.findings)
    assert (first.round, first.field.split("[")[0]) == (FORGED, field)


def test_the_command_watches_and_challenges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    local = LocalFederation(tmp_path, terms=WINDOWED)
    colluding(local, turns=1)
    local.play()
    client, _ = client_of(local)
    check = start_watchtower(client, local.device_accounts[-1], local.store)

    class Tower:
        def act(self) -> str | None:
            check()
            return None

    local.federation.parties[MINERS].append(Tower())  # type: ignore[arg-type]
    assert local.play().refuted
    assert "challenged the proposal: sum" in capsys.readouterr().err


def test_an_honest_proposal_is_left_alone(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=WINDOWED)
    tower = watched(local)
    local.play(2)
    assert local.federation.contract.call("credits", tower.account.address) == 0
    assert [local.history.rounds[n].refuted for n in (1, 2)] == [[], []]


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_a_spooled_vector_is_the_vector(bits: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(bits)
    lanes = rng.integers(-100, 100, 1000, f"int{bits}")
    with Spool(tmp_path) as spool:
        kept = spool.add(lanes)
        assert len(kept) == 1000
        assert merkle.root(kept, 32) == merkle.root(lanes, 32)
        assert kept[5:9].tolist() == lanes[5:9].tolist()
        assert kept[990:5000].tolist() == lanes[990:].tolist()
        with pytest.raises(IndexError):
            kept[::2]
    assert list(tmp_path.iterdir()) == []
