"""A confidential federation comes to what a public one comes to, and only its members read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bcfl.errors import Sealed, StoreError
from bcfl.protocol.accounts import Account
from bcfl.protocol.rounds import Round
from bcfl.protocol.types import Engine, Layout, Mode, Terms
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.vault import Vault
from bcfl.storage import DirectoryStore
from tests.local_federation import CONFIDENTIAL, LAYOUT, MEMBERS, TERMS, LocalFederation

FULL = replace(TERMS, mode=Mode.FULL, pow_target=2**255)
HYBRID = replace(TERMS, mode=Mode.HYBRID, pow_target=2**255)
KINDS: dict[str, tuple[Terms, int, int]] = {  # terms, miners, dual accounts
    "partial": (TERMS, 4, 0),
    "full": (FULL, 4, 4),
    "hybrid": (HYBRID, 4, 0),
    "committee": (replace(TERMS, engine=Engine.COMMITTEE), 5, 0),
}


def outcome(round_: Round) -> tuple[object, ...]:
    """Return all that a round says of its updates and its model, but for where the bytes lie."""
    block = round_.block
    assert block is not None
    updates = [(item.update.device, item.update.root, item.update.samples) for item in round_.submissions]
    votes = {vote.voter.account: (vote.opening.verdicts, vote.opening.levels) for vote in round_.votes}
    rows = round_.proposals[-1].rows
    return updates, votes, round_.levels, round_.leader, round_.committee, block.root, rows, block.reward


def played(path: Path, layout: Layout, kind: str, rounds: int = 4) -> LocalFederation:
    terms, miners, both = KINDS[kind]
    local = LocalFederation(path, miners=miners, terms=terms, dual_accounts=both, layout=layout)
    if terms.mode == Mode.HYBRID:
        for miner in local.miner_parties:
            miner.voting.wishes = lambda number: Engine(number % 4)
    local.play(rounds)
    return local


@pytest.mark.parametrize("kind", KINDS)
def test_verdicts_roots_leaders_and_models_are_those_of_a_public_run(tmp_path: Path, kind: str) -> None:
    runs = [
        played(tmp_path / str(index), layout, kind)
        for index, layout in enumerate((LAYOUT, CONFIDENTIAL, MEMBERS))
    ]
    public = [outcome(round_) for round_ in runs[0].history.rounds.values() if round_.block]
    assert len(public) == 4
    for sealed in runs[1:]:
        assert [outcome(round_) for round_ in sealed.history.rounds.values() if round_.block] == public
    cids = [[item.update.cid for item in run.history.rounds[1].submissions] for run in runs]
    assert not set(cids[0]) & set(cids[1])


def stranger(local: LocalFederation, *accounts: str) -> Archive:
    """Return the archive of who has the store and the chain, and the keys of these accounts at most."""
    everybody = {item.address: item for item in (*local.device_accounts, *local.miner_accounts)}
    vault = Vault(local.ledger.domain, local.ledger.history, [everybody[name] for name in accounts])
    return Archive(DirectoryStore(local.store.path), local.layout, local.terms, vault=vault)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> LocalFederation:
    return played(tmp_path_factory.mktemp("sealed"), MEMBERS, "committee")


def test_chain_and_store_open_nothing(sealed: LocalFederation) -> None:
    for archive in (stranger(sealed), Archive(sealed.store, sealed.layout, sealed.terms)):
        for round_ in sealed.history.rounds.values():
            for item in round_.submissions:
                with pytest.raises(Sealed):
                    archive.update(item)
                with pytest.raises(Sealed):
                    archive.norm(item)
        for block in sealed.history.blocks[1:]:
            with pytest.raises(Sealed):
                archive.model(block)


def test_a_device_opens_no_update_but_asks_for_models(sealed: LocalFederation) -> None:
    device = sealed.device_accounts[0]
    alone, member = stranger(sealed, device.address), sealed.archive_of(device)
    for item in sealed.history.rounds[2].submissions:
        for archive in (alone, member):
            with pytest.raises(Sealed):
                archive.update(item)
    with pytest.raises(Sealed):
        alone.model(sealed.history.head)
    assert member.model(sealed.history.head).shape == (LAYOUT.parameters,)


def test_the_members_of_a_committee_alone_read_what_it_votes_on(sealed: LocalFederation) -> None:
    round_ = next(item for item in sealed.history.rounds.values() if item.committee)
    for miner in sealed.miner_accounts:
        archive = stranger(sealed, miner.address)
        if miner.address in round_.committee:
            assert archive.update(round_.submissions[0]).shape == (LAYOUT.parameters,)
            continue
        for reader in (archive, sealed.archive_of(miner)):  # alone, and where it may ask
            with pytest.raises(Sealed):
                reader.update(round_.submissions[0])


def test_a_voter_makes_the_key_of_the_model_itself(sealed: LocalFederation) -> None:
    """So a model can be read as long as one of its voters has its key, whoever has gone."""
    round_ = sealed.history.rounds[1]
    archive = stranger(sealed, sealed.miner_accounts[0].address)
    assert round_.block is not None
    assert archive.model(round_.block).shape == (LAYOUT.parameters,)
    for device in sealed.device_accounts:  # its own content key is one of four
        with pytest.raises(Sealed):
            stranger(sealed, device.address).model(round_.block)


def test_who_left_reads_no_later_model(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, layout=MEMBERS)
    local.play(2)
    device, miner = local.device_accounts[0], local.miner_accounts[0]
    local.send(device, "leave_device", device.address)
    local.send(miner, "leave_miner")
    local.remove(local.device_parties[0], local.miner_parties[0])
    for _ in range(local.terms.exit_rounds + 2):
        local.play()
    for account in (device, miner):
        member = local.archive_of(account)
        local.archive.forget()
        with pytest.raises(StoreError):
            member.model(local.history.head)
    assert local.archive_of(local.device_accounts[1]).model(local.history.head).any()


def test_who_leaves_takes_part_to_the_end_of_the_round(tmp_path: Path) -> None:
    """It is bound to act until the next round opens, so that it gets the model that the round starts from."""
    local = LocalFederation(tmp_path, miners=5, layout=MEMBERS, terms=replace(TERMS, engine=Engine.COMMITTEE))
    local.play(2)
    while not (newcomers := newcomers_of(local)):
        local.play()
    device, miner = local.device_accounts[0], account_of(local, min(newcomers))
    local.send(local.owner, "leave_device", device.address)
    local.send(miner, "leave_miner")
    fresh = local.restart()  # whose parties have read no model yet
    round_ = fresh.play()
    assert 0 in {item.update.device for item in round_.submissions}
    assert miner.address in {vote.voter.account for vote in round_.votes}
    assert not round_.penalties


def test_a_model_is_read_where_all_who_made_it_have_left(tmp_path: Path) -> None:
    """Else a committee that leaves would take the model of its last round, and the federation, with it."""
    local = LocalFederation(tmp_path, miners=5, layout=MEMBERS, terms=replace(TERMS, engine=Engine.COMMITTEE))
    local.play()
    committee = local.history.rounds[2].committee
    assert committee
    for address in committee:
        local.send(account_of(local, address), "leave_miner")
    local.play()
    block, archive = local.history.head, local.archive_of(local.device_accounts[0])
    assert block.round == 2
    assert archive.model(block).shape == (LAYOUT.parameters,)
    assert len(local.play().submissions) == 4
    assert local.play().accepted == (True,) * 4  # too few were left of the committee before


def newcomers_of(local: LocalFederation) -> set[str]:
    """Return the members of the running round's committee for whom nothing of the last one is sealed."""
    number = local.history.number
    return set(local.history.rounds[number].committee) - set(local.history.rounds[number - 1].readers)


def account_of(local: LocalFederation, address: str) -> Account:
    return next(account for account in local.miner_accounts if account.address == address)


def test_a_key_can_be_rotated_within_a_round(tmp_path: Path) -> None:
    """What was sealed for the key before is still read, and the next round is sealed for the new one."""
    local = LocalFederation(tmp_path, layout=CONFIDENTIAL)
    account = local.miner_accounts[0]
    before = local.history.rounds[1].readers[account.address]
    local.announce(account, 1)
    round_ = local.play()
    assert round_.readers[account.address] == before
    assert account.address in {vote.voter.account for vote in round_.votes}
    assert local.history.rounds[2].readers[account.address] not in (before, None)
    assert local.play().accepted == (True,) * 4


def lose_key(local: LocalFederation) -> str:
    """Have a miner announce a key that it does not hold; return its account."""
    account = local.miner_accounts[0]
    local.announce(account, 1_000)  # not one of those that it looks for
    return account.address


@pytest.mark.parametrize("announce", [True, False], ids=["another key", "no key"])
def test_a_miner_without_the_right_key_gets_the_content_keys_from_others(
    tmp_path: Path, announce: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = LocalFederation(tmp_path, layout=MEMBERS)
    account = lose_key(local) if announce else local.miner_accounts[0].address
    if not announce:
        local.ledger.contract.send(local.miner_accounts[0], "announce", "http://10.0.0.1:1")
    local.play()
    asked: list[int] = []
    count_requests(local, asked, monkeypatch)
    round_ = local.play()
    votes = {vote.voter.account: vote.opening.verdicts for vote in round_.votes}
    assert len(set(votes.values())) == 1
    assert account in votes
    assert sum(asked) > 0


def count_requests(local: LocalFederation, asked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Note of every request for content keys how many it asks for."""
    for miner in local.miner_parties:

        def answer(request: object, compute: Callable[..., bytes] = miner.answer) -> bytes:
            asked.append(len(request.positions))  # type: ignore[attr-defined]
            return compute(request)

        monkeypatch.setattr(miner, "answer", answer)


def test_a_device_that_lost_its_journal_seals_the_same_bytes_again(tmp_path: Path) -> None:
    from bcfl.roles.device.trainer import SEALED
    from tests.unit.roles.test_trainer import snapshot_of

    local = LocalFederation(tmp_path, layout=CONFIDENTIAL)
    device = local.device_parties[0]
    update = device.trainer.update(snapshot_of(local), 0)
    sealed_bytes = device.journal.read(SEALED)
    again = local.restart().device_parties[0]
    for file in (tmp_path / "journal" / device.account.address).glob(f"{SEALED}*"):
        if file.name.startswith(SEALED) and "json" not in file.name:
            file.unlink()
    again.trainer.publish(snapshot_of(local), update)
    assert again.journal.read(SEALED) == sealed_bytes


def test_a_member_that_comes_late_reads_the_model(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, layout=MEMBERS)
    local.play(2)
    fresh = local.restart()  # nobody remembers anything
    model = fresh.archive_of(fresh.device_accounts[0]).model(fresh.history.head)
    assert np.array_equal(model, local.archive_of(local.device_accounts[1]).model(local.history.head))
