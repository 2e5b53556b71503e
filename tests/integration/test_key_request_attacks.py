"""Who asks a miner for keys: strangers get none, and nobody makes it do more work than it has time for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bcfl.errors import RelayError, Unavailable
from bcfl.federation.schedule import MINERS
from bcfl.protocol import merkle, requests
from bcfl.protocol.accounts import Account
from bcfl.protocol.challenges import Trees
from bcfl.protocol.requests import RoundKeys
from bcfl.protocol.types import Engine, Phase
from bcfl.relay.client import Endpoint, HttpInbox
from bcfl.relay.mailbox import Mailbox
from bcfl.relay.server import InboxServer
from bcfl.roles.common import norm_bound
from bcfl.roles.miner.miner import Miner
from tests.griefer import Griefer
from tests.integration.test_watchtower import WINDOW_TERMS
from tests.local_federation import CONFIDENTIAL, MEMBERS, TERMS, LocalFederation
from tests.sealed_attacks import ask, only_for, propose_garbage, seal_wrongly

OUTSIDER = Account.derive(0, "outsider")


def content_keys(local: LocalFederation, miner: Miner, account: Account, number: int, *places: int) -> Any:
    question = ask(local, account, number, places)
    plain = question.read(miner.account.address, miner.answer(question.request))
    return None if plain is None else requests.decode_keys(plain)


def round_keys(local: LocalFederation, miner: Miner, account: Account, number: int) -> RoundKeys:
    question = ask(local, account, number)
    plain = question.read(miner.account.address, miner.answer(question.request))
    assert plain is not None
    return RoundKeys.decode(plain)


def count_reads(local: LocalFederation, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the CIDs that are read from the store from now on."""
    reads: list[str] = []
    get = local.store.get

    def count(name: str, most: int) -> bytes:
        reads.append(name)
        return get(name, most)

    monkeypatch.setattr(local.store, "get", count)
    return reads


def test_only_voters_of_the_round_get_its_content_keys(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, miners=5, layout=MEMBERS, terms=replace(TERMS, engine=Engine.COMMITTEE))
    local.play(3)
    round_ = next(item for item in local.history.rounds.values() if item.committee)
    number, names = round_.number, round_.committee
    inside, other, *_ = [miner for miner in local.miner_parties if miner.account.address in names]
    others = [account for account in local.miner_accounts if account.address not in names]
    assert others
    for account in (*others, *local.device_accounts, local.owner, OUTSIDER):
        with pytest.raises(RelayError, match=f"does not vote in round {number}"):
            content_keys(local, inside, account, number, 0)
    assert None not in content_keys(local, inside, other.account, number, 0)


def test_only_members_get_the_key_of_a_model(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, layout=MEMBERS)
    local.play()
    device, miner = local.device_accounts[0], local.miner_accounts[0]
    local.send(device, "leave_device", device.address)
    local.send(miner, "leave_miner")
    for account in (local.owner, OUTSIDER):
        with pytest.raises(RelayError, match="no member"):
            round_keys(local, local.miner_parties[1], account, 1)
    for account in (device, miner):  # they take part until the next round opens
        assert round_keys(local, local.miner_parties[1], account, 1).model
    local.play()
    for account in (device, miner, local.owner, OUTSIDER):
        with pytest.raises(RelayError, match="no member"):
            round_keys(local, local.miner_parties[1], account, 1)
    assert round_keys(local, local.miner_parties[1], local.device_accounts[1], 1).model


def test_what_is_not_there_yet_is_not_given(tmp_path: Path) -> None:
    """Neither keys of updates before they are revealed, nor that of a model before it is final."""
    local = LocalFederation(tmp_path, layout=MEMBERS, terms=WINDOW_TERMS)
    miner, voter = local.miner_parties[0], local.miner_accounts[1]
    local.until(Phase.REVEAL)
    with pytest.raises(RelayError, match="no such updates"):
        content_keys(local, miner, voter, 1, 0)
    local.until(Phase.ATTEST)
    with pytest.raises(RelayError, match="has made no model"):
        round_keys(local, miner, voter, 1)
    for number in (0, 2, 10**9):
        with pytest.raises(RelayError, match="nothing sealed"):
            round_keys(local, miner, voter, number)


@pytest.mark.parametrize("places", [(0, 0), (4,), (2**32 - 1,), (0, 1, 2, 3, 4)])
def test_positions_that_are_none_are_refused(tmp_path: Path, places: Sequence[int]) -> None:
    local = LocalFederation(tmp_path, layout=CONFIDENTIAL)
    local.play()
    with pytest.raises(RelayError, match="no such updates"):
        content_keys(local, local.miner_parties[0], local.miner_accounts[1], 1, *places)


def test_old_rounds_are_read_once_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that asks for all there was fills neither the memory nor the time of a miner."""
    local = LocalFederation(tmp_path, layout=CONFIDENTIAL)
    local.play(3)
    fresh = local.restart()  # whose miners remember no key
    miner, voter = fresh.miner_parties[0], fresh.miner_accounts[1]
    reads = count_reads(fresh, monkeypatch)
    for _ in range(3):
        for number in (1, 2, 3):
            assert None not in content_keys(fresh, miner, voter, number, 0, 1, 2, 3)
    assert len(reads) == 12
    assert not fresh.archive._memory.vectors


def test_who_asks_for_what_the_store_seeks_in_vain_costs_a_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one voter could keep a miner busy for hours: so many updates, so long a search for each."""
    local = LocalFederation(tmp_path, layout=MEMBERS)
    local.play(3)
    fresh = local.restart()
    seconds, reads = [0.0], list[str]()

    def seek(name: str, _: int) -> bytes:
        reads.append(name)
        seconds[0] += fresh.terms.vote_seconds / 8
        raise Unavailable("nobody has it", name)

    monkeypatch.setattr(fresh.store, "get", seek)
    monkeypatch.setattr("bcfl.roles.miner.keyholder.time.monotonic", lambda: seconds[0])
    miner = fresh.miner_parties[0]
    for number in (1, 2, 3):
        assert content_keys(fresh, miner, fresh.miner_accounts[1], number, 0, 1, 2, 3) == [None] * 4
        assert round_keys(fresh, miner, fresh.device_accounts[0], number) == RoundKeys(None, None)
    assert len(reads) == 1


def test_the_norm_is_computed_once_and_for_the_last_model_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = LocalFederation(tmp_path, layout=CONFIDENTIAL)
    local.play(2)
    fresh = local.restart()
    miner, reads = fresh.miner_parties[0], count_reads(fresh, monkeypatch)
    norms = {round_keys(fresh, miner, account, 2).norm for account in fresh.device_accounts}
    assert norms == {norm_bound.norm_of_round(local.miner_parties[1].lead.archive, local.history.rounds[2])}
    assert len(reads) == 4
    assert round_keys(fresh, miner, fresh.device_accounts[0], 1).norm is None
    assert len(reads) == 4


def test_a_miner_that_can_read_nothing_asks_for_the_norm(tmp_path: Path) -> None:
    """Else it would take updates of any length after it has lost its key, and vote unlike the others."""
    local = LocalFederation(tmp_path, layout=CONFIDENTIAL)
    local.announce(local.miner_accounts[0], 1_000)  # a key that it does not hold
    local.play(2)
    fresh = local.restart()
    archives = [miner.lead.archive for miner in fresh.miner_parties]
    norms = {norm_bound.reference_norm(archive, fresh.history, 3) for archive in archives}
    assert len(norms) == 1
    assert None not in norms


def test_a_key_is_given_while_the_miner_judges(tmp_path: Path) -> None:
    """An update sealed for some would split the votes: who can open it judges, and has no time to answer."""
    local = LocalFederation(tmp_path, layout=CONFIDENTIAL)
    seal_wrongly(local, 1, only_for(0))
    local.until(Phase.UNVEIL)
    miner, voter = local.miner_parties[0], local.miner_accounts[1]
    server = InboxServer(
        miner.account.address, miner, local.ledger, Mailbox(wait_seconds=0.2),
        ready=miner.keyholder.answer_known,
    )  # fmt: skip
    server.start()
    try:
        endpoint = Endpoint.parse(server.url)
        client = HttpInbox(miner.account.address, endpoint, voter, local.ledger, 2.0, None)
        question = ask(local, voter, 1, [0, 1, 2, 3])
        keys = question.read(miner.account.address, client.answer(question.request))  # nobody processes
        assert keys is not None
        assert None not in requests.decode_keys(keys)
        stranger = HttpInbox(miner.account.address, endpoint, OUTSIDER, local.ledger, 2.0, None)
        with pytest.raises(RelayError):
            stranger.answer(ask(local, OUTSIDER, 1, [0]).request)
    finally:
        server.stop()


def test_answers_at_hand_never_touch_the_chain_or_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are given in other threads, and ledger and archive belong to the miner's."""
    local = LocalFederation(tmp_path, layout=MEMBERS)
    local.play()
    miner, voter, device = local.miner_parties[0], local.miner_accounts[1], local.device_accounts[0]
    miner.act()
    requests_ = [ask(local, voter, 1, [0, 1]).request, ask(local, voter, 1, [3]).request]
    late = [
        ask(local, device, 1).request,
        ask(local, OUTSIDER, 1).request,
        ask(local, device, 1, [0]).request,
    ]
    fresh = local.restart()
    unread = fresh.miner_parties[0].keyholder
    unread.follow(local.history)
    round_keys(local, miner, device, 1)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("not in this thread")

    for party in (miner, fresh.miner_parties[0]):
        monkeypatch.setattr(party.keyholder.archive, "update", fail)
        monkeypatch.setattr(party.keyholder.archive, "is_given", fail)
    monkeypatch.setattr(local.ledger, "history", fail)
    monkeypatch.setattr(fresh.ledger, "history", fail)
    assert all(map(miner.keyholder.answer_known, [*requests_, late[0]]))
    assert not any(map(miner.keyholder.answer_known, late[1:]))
    assert not any(map(unread.answer_known, [*requests_, *late]))


def test_a_leader_that_stores_garbage_has_nobody_ask_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has the right key knows by that that the bytes are wrong; the corrected CID leads to right ones."""
    local = LocalFederation(tmp_path, layout=MEMBERS)
    for miner in local.miner_parties:
        propose_garbage(local, miner)
    asked: list[int] = []
    honest = local.relay.ask

    def count(miners: Sequence[str], request: Any) -> Any:
        asked.append(len(request.positions))
        return honest(miners, request)

    round_ = local.play()
    assert round_.block is not None
    assert len(local.history.model_cids(round_.block)) == 2
    monkeypatch.setattr(local.relay, "ask", count)
    archive = local.miner_parties[0].lead.archive
    for _ in range(3):
        archive.model(local.history.head, local.history)
    assert asked == []
    device = local.archive_of(local.device_accounts[0])
    assert np.array_equal(
        device.model(local.history.head, local.history), archive.model(local.history.head, local.history)
    )


def test_a_dispute_brings_one_leaf_of_an_update_to_light_for_its_price(tmp_path: Path) -> None:
    """What a seal does not change: who pays a bond makes the miners show a leaf to everybody."""
    local = LocalFederation(tmp_path, layout=CONFIDENTIAL, terms=WINDOW_TERMS)
    griefer = Griefer(local, Trees.UPDATE, moves=99)
    local.schedule.parties[MINERS].append(griefer)  # type: ignore[arg-type]
    round_ = local.play()
    assert round_.status == "finalized"
    (shown,) = local.ledger.contract.events(name="LeafShown")
    bonds = [event.args["bond"] for event in local.ledger.contract.events(name="Disputed")]
    assert bonds == [local.terms.challenge_bond]
    lanes = local.miner_parties[0].lead.archive.update(round_.accepted_submissions()[-1])
    assert local.chain is not None
    calldata = local.chain.request("eth_getTransactionByHash", "0x" + shown.transaction.hex())["input"]
    assert merkle.leaf(lanes, local.terms.leaf_lanes, 0).hex() in calldata
