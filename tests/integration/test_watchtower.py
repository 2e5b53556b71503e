"""One honest outsider is enough: what all miners agree on wrongly never becomes a block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bcfl.cli.tower import guard
from bcfl.ledger.testimony import gather
from bcfl.protocol import cid, merkle, payload
from bcfl.protocol.accounts import Account
from bcfl.roles.archive import Archive, NewModel
from bcfl.roles.auditor.audit import Audit
from bcfl.roles.moment import Moment
from bcfl.roles.spool import Spool
from bcfl.roles.watchtower import Watchtower
from bcfl.simulation import MINERS
from tests.crew import site_of
from tests.village import ETHER, LAYOUT, TERMS, Village

WINDOWED = replace(TERMS, challenge_seconds=30, challenge_bond=ETHER // 10)
FORGED = 2  # the round in which the miners collude

Compute = Callable[[Moment], NewModel | None]


def forged(village: Village, compute: Compute, turns: int) -> Compute:
    """The same model with one lane off by one, in the first `turns` turns of one round; its trees fit it."""

    def computed(moment: Moment) -> NewModel | None:
        made = compute(moment)
        if made is None or moment.round != FORGED or len(moment.current.skipped) >= turns:
            return made
        model = made.model.copy()
        model[7] += 1
        root = merkle.root(model, village.terms.leaf_lanes)
        return NewModel(model, root, cid.digest(cid.compute(payload.encode(LAYOUT, model))), made.rows)

    return computed


def colluding(village: Village, turns: int) -> None:
    for office in village.offices:
        office.lead._compute = forged(village, office.lead._compute, turns)  # type: ignore[method-assign]


def watched(village: Village) -> Watchtower:
    """An outsider with some ether and nothing else."""
    outsider = village.device_accounts[-1]  # funded; what it knows as a device is of no use here
    tower = Watchtower(outsider, village.ledger, Archive(village.store, LAYOUT, village.terms))
    village.federation.parties[MINERS].append(tower)  # type: ignore[arg-type]
    return tower


def roots(village: Village) -> list[bytes]:
    return [block.root for block in village.history.blocks]


def honest_roots(village: Village) -> list[bytes]:
    """What the accepted updates of every finished round come to, computed anew."""
    archive, found = Archive(village.store, LAYOUT, village.terms), []
    for block in village.history.blocks[1:]:
        before = village.history.model_before(block.round)
        found.append(archive.next_model(before, village.history.rounds[block.round].taken()).root)
    return found


def test_default_behavior(tmp_path: Path) -> None:
    village = Village(tmp_path, terms=WINDOWED)
    colluding(village, turns=1)
    tower = watched(village)
    found = [village.play() for _ in range(3)]
    assert [each.status for each in found] == ["finalized"] * 3
    assert roots(village)[1:] == honest_roots(village)
    (leader, challenger), *more = found[1].refuted
    assert (challenger, more) == (tower.account.address, [])
    assert found[1].block is not None
    assert found[1].block.leader != leader
    # The leader's whole stake: half of it, and the bond, are the challenger's.
    stake = 2 * village.terms.min_stake - 1
    assert village.history.miners[leader].stake == 0
    assert village.federation.contract.call("credits", challenger) == stake // 2 + WINDOWED.challenge_bond
    verdicts = list(Audit(gather(village.federation.contract), village.archive).verdicts())
    assert [each.findings for each in verdicts] == [()] * 5
    assert set(verdicts[FORGED].lazy) >= {leader}


def test_without_the_watchtower_the_wrong_model_becomes_final(tmp_path: Path) -> None:
    village = Village(tmp_path, terms=WINDOWED)
    colluding(village, turns=1)
    village.play(3)
    assert roots(village)[1:] != honest_roots(village)
    verdicts = list(Audit(gather(village.federation.contract), village.archive).verdicts())
    first = next(finding for each in verdicts for finding in each.findings)
    assert (first.round, first.field) == (FORGED, "proposal.root")
    assert len(verdicts[FORGED].lazy) >= 3


def test_all_miners_collude_to_the_end_and_others_take_over(tmp_path: Path) -> None:
    village = Village(tmp_path, terms=WINDOWED)
    colluding(village, turns=99)
    watched(village)
    village.play(2)
    assert village.history.rounds[FORGED].status == "void"
    assert len(village.history.rounds[FORGED].refuted) == len(village.offices)
    assert len(village.history.blocks) == 2
    late = Account.derived(0, "miner", 0)
    village.federation.contract.send(
        late, "top_up", value=2 * ETHER
    )  # whoever has ether may mine, also one that has paid for its fault
    village.play(2)
    assert village.history.rounds[FORGED + 2].status == "finalized"
    assert roots(village)[1:] == honest_roots(village)


MONEY = {
    "the refutation is not told": ("Refuted", None, "penalties"),
    "the slash is one wei less": ("Penalized", lambda wei: wei - 1, "penalties"),
}


@pytest.mark.parametrize("name", MONEY)
def test_an_audit_follows_what_a_refutation_costs(tmp_path: Path, name: str) -> None:
    village = Village(tmp_path, terms=WINDOWED)
    colluding(village, turns=1)
    watched(village)
    village.play(2)
    testimony, (kind, change, field) = gather(village.federation.contract), MONEY[name]
    events = list(testimony.events)
    place = next(i for i, e in enumerate(events) if e.name == kind and e.args["round"] == FORGED)
    if change is None:
        del events[place]
    else:
        args = events[place].args
        events[place] = replace(events[place], args={**args, "amount": change(args["amount"])})  # type: ignore[type-var]
    bent = replace(testimony, events=events)
    verdicts = list(Audit(bent, Archive(village.store, LAYOUT, village.terms)).verdicts())
    first = next(finding for each in verdicts for finding in each.findings)
    assert (first.round, first.field.split("[")[0]) == (FORGED, field)


def test_the_command_watches_and_challenges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    village = Village(tmp_path, terms=WINDOWED)
    colluding(village, turns=1)
    village.play()
    site, _ = site_of(village)
    look = guard(site, village.device_accounts[-1], village.store)

    class Tower:
        def act(self) -> str | None:
            look()
            return None

    village.federation.parties[MINERS].append(Tower())  # type: ignore[arg-type]
    assert village.play().refuted
    assert "challenged the proposal: sum" in capsys.readouterr().err


def test_an_honest_proposal_is_left_alone(tmp_path: Path) -> None:
    village = Village(tmp_path, terms=WINDOWED)
    tower = watched(village)
    village.play(2)
    assert village.federation.contract.call("credits", tower.account.address) == 0
    assert [village.history.rounds[n].refuted for n in (1, 2)] == [[], []]


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_a_spooled_vector_is_the_vector(bits: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(bits)
    lanes = rng.integers(-100, 100, 1000, f"int{bits}")
    with Spool(tmp_path) as spool:
        kept = spool.keep(lanes)
        assert len(kept) == 1000
        assert merkle.root(kept, 32) == merkle.root(lanes, 32)
        assert kept[5:9].tolist() == lanes[5:9].tolist()
        assert kept[990:5000].tolist() == lanes[990:].tolist()
        with pytest.raises(IndexError):
            kept[::2]
    assert list(tmp_path.iterdir()) == []
