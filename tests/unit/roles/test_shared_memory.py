"""Parties of one process share what they have read, and nobody reads what is sealed for others by that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bcfl.errors import Sealed
from bcfl.protocol.requests import RoundKeys
from bcfl.protocol.types import Phase
from bcfl.roles.common.keys import Keys
from bcfl.roles.common.vault import Vault
from tests.local_federation import CONFIDENTIAL, MEMBERS, LocalFederation

KEY = b"k" * 32


@pytest.fixture
def local(tmp_path: Path) -> LocalFederation:
    """A federation whose miners have read the updates of the running round."""
    local = LocalFederation(tmp_path, layout=MEMBERS)
    local.until(Phase.UNVEIL)
    return local


def test_what_others_have_read_is_no_reason_to_read_it(local: LocalFederation) -> None:
    round_ = local.history.rounds[1]
    for account in (*local.device_accounts, local.owner):
        archive = local.archive_of(account)
        for item in round_.submissions:
            assert archive.holds(item)  # somebody does
            for read in (archive.update, archive.norm):
                with pytest.raises(Sealed):
                    read(item)
            assert not archive.is_given(item)
        with pytest.raises(Sealed):
            archive.next_model(local.history.blocks[0], round_.submissions)


def test_a_wrong_key_opens_nothing_that_is_in_memory(local: LocalFederation) -> None:
    item = local.history.rounds[1].submissions[0]
    name = item.update.round, item.update.device, item.update.root
    given = Keys(updates={name: KEY})
    archive = local.archive.of_party(Vault(local.ledger.domain, local.ledger.history, given=given))
    for read in (archive.update, archive.norm):
        with pytest.raises(Sealed):
            read(item)


def test_the_key_of_another_round_opens_nothing_that_is_in_memory(local: LocalFederation) -> None:
    """A process that has it in memory would else take what all others call unavailable."""
    miner = local.miner_parties[0].lead.archive
    assert miner.vault is not None
    item = local.history.rounds[1].submissions[0]
    miner.update(item)
    key = miner.vault.key_of(item)
    assert key is not None
    for changes in ({"round": 2}, {"device": 1}):
        copy = replace(item, update=replace(item.update, **changes))  # type: ignore[arg-type]
        name = copy.update.round, copy.update.device, copy.update.root
        given = Keys(updates={name: key})
        archive = local.archive.of_party(Vault(local.ledger.domain, local.ledger.history, given=given))
        for read in (archive.update, archive.norm):
            with pytest.raises(Sealed):
                read(copy)


def test_the_same_lanes_of_another_device_make_another_key_of_the_model(local: LocalFederation) -> None:
    """After a reorganisation another device may have been first with them: its model has another CID."""
    miner, round_ = local.miner_parties[0].lead.archive, local.history.rounds[1]
    item = replace(round_.submissions[0], counted=10, level=3)
    parent = local.history.blocks[0]
    first = miner.next_model(parent, [item])
    packed = miner.pack_update(miner.update(item), round_, 1, local.device_accounts[1])
    miner.publish(packed)
    update = replace(item.update, device=1, cid=packed.stored.cid)
    assert packed.stored.root == item.update.root
    second = miner.next_model(parent, [replace(item, update=update)])
    assert (second.root, second.key == first.key, second.cid == first.cid) == (first.root, False, False)


def test_the_text_of_keys_shows_none() -> None:
    """It may end in a log."""
    name = (1, 2, b"r")
    for item in (Keys({name: KEY}, {(1, b"r"): KEY}), RoundKeys(KEY, 1.0)):
        assert KEY.decode() not in repr(item)


def test_a_sealed_update_of_no_readers_or_of_all_that_can_be(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, layout=CONFIDENTIAL)
    round_, device = local.history.rounds[1], local.device_accounts[0]
    archive, lanes = local.archive_of(device), np.zeros(local.layout.parameters, np.int16)
    public = round_.readers[local.miner_accounts[0].address]
    for count in (0, 64):
        readers = {f"miner {index}": public for index in range(count)}
        packed = archive.pack_update(lanes, replace(round_, readers=readers), 0, device)
        assert len(packed.data) == archive.sizes.update(count)
