"""A watchtower in a confidential federation: with a voter's account it refutes, without keys it says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bcfl.federation.keyring import hold_rounds
from bcfl.federation.reading_account import account_vault
from bcfl.federation.schedule import MINERS
from bcfl.federation.watchtower import start_watchtower
from bcfl.protocol import cid, merkle, payload, sealing
from bcfl.protocol.accounts import Account
from bcfl.protocol.types import Phase
from bcfl.roles.common.aggregation import NewModel
from bcfl.roles.common.keys import Keys
from bcfl.roles.common.snapshot import RoundSnapshot
from bcfl.roles.common.vault import Vault
from bcfl.roles.miner.miner import Miner
from tests.daemons import client_of
from tests.integration.test_watchtower import FORGED_ROUND, WINDOW_TERMS
from tests.local_federation import MEMBERS, LocalFederation
from tests.sealed_attacks import ask


def sealed_federation(path: Path) -> LocalFederation:
    return LocalFederation(path, terms=WINDOW_TERMS, layout=MEMBERS)


def watch(local: LocalFederation, account: Account, given: Keys | None = None) -> list[str]:
    """Let the watchtower of `bcfl watch --challenge` act between the parties; returns what it says."""
    reports: list[str] = []
    client, _ = client_of(local)
    act_once = start_watchtower(client, account, local.store, reports.append, given=given)

    class CommandWatchtower:
        def act(self) -> str | None:
            act_once()
            return None

    local.schedule.parties[MINERS].append(CommandWatchtower())  # type: ignore[arg-type]
    return reports


def collude_sealed(local: LocalFederation) -> None:
    """Let leaders propose a model with one lane off by one in one round, sealed as a right one would be."""
    for miner in local.miner_parties:
        miner.lead._compute = forge(miner, miner.lead._compute)  # type: ignore[method-assign]


def forge(miner: Miner, compute: Callable[[RoundSnapshot], NewModel | None]) -> Any:
    def compute_forged(snapshot: RoundSnapshot) -> NewModel | None:
        proposal = compute(snapshot)
        if proposal is None or snapshot.round != FORGED_ROUND or snapshot.clock.phase is not Phase.PROPOSE:
            return proposal
        if snapshot.current.skipped:
            return proposal
        archive, model = miner.lead.archive, proposal.model.copy()
        model[7] += 1
        root = merkle.root(model, snapshot.terms.leaf_lanes)
        assert archive.vault is not None
        accepted = snapshot.current.accepted_submissions()
        key = next(archive.vault.model_keys_of(snapshot.round, root, accepted))
        data = payload.encode(archive.layout, model)
        sealed = sealing.seal_model(data, key, archive.vault.domain, snapshot.round, root)
        name = cid.digest(cid.compute(sealed))
        return replace(proposal, model=model, root=root, key=key, cid=name)

    return compute_forged


def test_a_voter_refutes_a_forged_proposal_of_sealed_updates(tmp_path: Path) -> None:
    local = sealed_federation(tmp_path)
    collude_sealed(local)
    reports = watch(local, local.miner_accounts[0])
    local.play(2)
    round_ = local.history.rounds[FORGED_ROUND]
    assert [challenger for _, challenger in round_.refutations] == [local.miner_accounts[0].address]
    assert round_.status == "finalized"
    assert "challenged the proposal: sum" in reports


def test_keys_that_were_given_are_as_good_as_a_voters(tmp_path: Path) -> None:
    local = sealed_federation(tmp_path)
    collude_sealed(local)
    given = Keys()
    reports = watch(local, local.owner, given)
    local.play()
    local.until(Phase.PROPOSE)
    keys = hold_rounds(local.archive_of(local.miner_accounts[0]), local.history, [1, 2])
    given.updates.update(keys.updates)
    given.models.update(keys.models)
    local.play()
    assert [challenger for _, challenger in local.history.rounds[2].refutations] == [local.owner.address]
    assert "challenged the proposal: sum" in reports


def test_who_has_no_key_says_so_once_a_round_and_holds_nothing_against_a_proposal(tmp_path: Path) -> None:
    local = sealed_federation(tmp_path)
    reports = watch(local, local.owner)
    local.play(2)
    assert reports == [
        f"the updates of round {number} are sealed: run it with a voter's account or --keys"
        for number in (1, 2)
    ]
    assert [local.history.rounds[number].status for number in (1, 2)] == ["finalized"] * 2
    assert untouched(local)


@pytest.mark.parametrize("opens", [False, True])
def test_a_wrong_key_that_was_given_is_no_reason_to_challenge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opens: bool
) -> None:
    """Bytes that two keys open to two contents exist: a key that was given proves nothing against anybody."""
    right = sealing.open_update

    def open_update(data: bytes, readers: int, key: bytes, seal: sealing.Seal) -> bytes:
        return b"another content" if opens and key == bytes(32) else right(data, readers, key, seal)

    monkeypatch.setattr(sealing, "open_update", open_update)
    local = sealed_federation(tmp_path)
    given = Keys()
    reports = watch(local, local.owner, given)
    local.until(Phase.VOTE)
    for item in local.history.rounds[1].submissions:
        update = item.update
        given.updates[update.round, update.device, update.root] = bytes(32)
    local.play()
    assert untouched(local)
    assert not any("wrong" in report for report in reports)


def test_miners_are_asked_by_those_whom_they_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From when on they do: a watchtower may be started before its account joins."""
    local = sealed_federation(tmp_path)
    local.play()
    monkeypatch.setattr("bcfl.relay.client.HttpRelay", lambda *_, **__: local.relay)
    client, _ = client_of(local)
    miners = [account.address for account in local.miner_accounts]

    def answers(vault: Vault, account: Account) -> int:
        assert vault._relay is not None
        return len(list(vault._relay.ask(miners, ask(local, account, 1).request)))

    for account in (local.miner_accounts[0], local.device_accounts[0]):
        assert answers(account_vault(client, account), account) == 4
    asked: list[object] = []

    def answer_anybody(*request: object) -> Iterator[tuple[str, bytes]]:
        asked.append(request)
        yield "it", b""

    monkeypatch.setattr(local.relay, "ask", answer_anybody)
    vault = account_vault(client, local.owner)
    assert (answers(vault, local.owner), asked) == (0, [])
    local.ledger.contract.send(local.owner, "register_miner", value=2 * local.terms.min_stake - 1)
    assert answers(vault, local.owner) == 1


def untouched(local: LocalFederation) -> bool:
    names = {event.name for event in local.ledger.contract.events()}
    return names.isdisjoint({"ChallengeAnnounced", "Disputed", "Refuted"})
