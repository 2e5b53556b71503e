"""Devices that seal wrongly and members that answer wrongly: honest miners agree, and the round goes on."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from bcfl.errors import RelayError, Sealed
from bcfl.protocol import cid, payload, requests, sealing
from bcfl.protocol.hashing import keccak
from bcfl.protocol.readers import WRAP_BYTES
from bcfl.protocol.requests import KeyRequest, RoundKeys
from bcfl.protocol.rounds import Round
from bcfl.protocol.sealing import KEY_BYTES, ReaderKey, Seal, seal_for
from bcfl.protocol.types import Phase, Verdict
from bcfl.roles.common import norm_bound
from bcfl.roles.common.snapshot import take_snapshot
from bcfl.roles.common.vault import Vault
from tests.local_federation import CONFIDENTIAL, LAYOUT, MEMBERS, TERMS, LocalFederation
from tests.sealed_attacks import (
    Forge,
    answer_wrongly,
    ask,
    only_for,
    reasons,
    seal_wrongly,
    signed_answer,
    with_wraps,
)
from tests.two_keys import TwoKeys, two_keys


def wraps_of_another_key(data: bytes, seal: Seal, round_: Round) -> bytes:
    """Give the first reader the right key, and every other one a key of its own."""
    keys = list(round_.readers.values())[1:]
    wraps = [seal_for(key or b"", os.urandom(KEY_BYTES), seal.data, os.urandom(32)) for key in keys]
    return with_wraps(data, [None, *wraps])


def wraps_of_another_round(data: bytes, seal: Seal, round_: Round) -> bytes:
    """Give the first reader the right wrap, and every other one a wrap for the next round."""
    other, keys = replace(seal, round=seal.round + 1), list(round_.readers.values())[1:]
    wraps = [seal_for(key or b"", bytes(KEY_BYTES), other.data, os.urandom(32)) for key in keys]
    return with_wraps(data, [None, *wraps])


def wraps_of_small_order(data: bytes, seal: Seal, round_: Round) -> bytes:
    """Give the first reader the right wrap, and every other one a point that makes any secret zero."""
    del seal
    return with_wraps(data, [None, *[bytes(WRAP_BYTES)] * (len(round_.readers) - 1)])


@pytest.mark.parametrize(
    "forge",
    [only_for(0), only_for(3), wraps_of_another_key, wraps_of_another_round, wraps_of_small_order],
    ids=["garbage", "garbage before", "another key", "another round", "small order"],
)
def test_an_update_that_one_miner_can_open_is_judged_by_all(tmp_path: Path, forge: Forge) -> None:
    local = LocalFederation(tmp_path, layout=CONFIDENTIAL)
    seal_wrongly(local, 1, forge)
    round_ = local.play()
    assert reasons(round_, 1) == {Verdict.ACCEPTED}
    assert (round_.status, len(round_.votes), round_.accepted) == ("finalized", 4, (True,) * 4)


def test_an_update_that_nobody_can_open_is_unavailable_to_all(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, layout=MEMBERS)
    seal_wrongly(local, 1, only_for())
    round_ = local.play()
    assert reasons(round_, 1) == {Verdict.UNAVAILABLE}
    assert (round_.status, sum(round_.accepted or ())) == ("finalized", 3)


def sealed_under(keys: TwoKeys, shares: int) -> Forge:
    """Give the first readers one key and the others another; both open the same bytes, to two contents."""

    def forge(data: bytes, seal: Seal, round_: Round) -> bytes:
        readers = list(round_.readers.values())
        given = [keys.first if place < shares else keys.second for place in range(len(readers))]
        pairs = zip(readers, given, strict=True)
        wraps = [seal_for(reader or b"", key, seal.data, os.urandom(32)) for reader, key in pairs]
        size = len(data) - WRAP_BYTES * len(readers)
        return b"".join(wraps) + two_keys(keys, seal.data, size)

    return forge


def test_bytes_that_two_keys_open_to_two_contents_split_nobody(tmp_path: Path) -> None:
    """The cipher does not bind its key, so such bytes exist; the root, which the key is bound to, decides."""
    local = LocalFederation(tmp_path, layout=CONFIDENTIAL)
    keys = TwoKeys(os.urandom(32), os.urandom(32))
    seal_wrongly(local, 1, sealed_under(keys, shares=2))
    round_ = local.play()
    item = next(item for item in round_.submissions if item.update.device == 1)
    data = local.store.get(local.archive.sizes.update_cid(item), 10_000)
    seal = Seal(local.ledger.domain, 1, 1, item.update.root)
    contents = {sealing.open_update(data, 4, key, seal) for key in (keys.first, keys.second)}
    assert len(contents) == 2
    assert reasons(round_, 1) == {Verdict.MALFORMED}
    assert round_.status == "finalized"


def test_another_devices_sealed_update_opens_nowhere_else(tmp_path: Path) -> None:
    """Neither in another device's place nor in another round, though one process has read it before."""
    local = LocalFederation(tmp_path, layout=CONFIDENTIAL)
    local.play()
    item = local.history.rounds[1].submissions[0]
    copied = local.store.get(local.archive.sizes.update_cid(item), 10_000)
    archive = local.miner_parties[0].lead.archive
    archive.update(item)
    for update in (
        replace(item.update, device=1),
        replace(item.update, round=2),
        replace(item.update, device=1, round=2),
    ):
        copy = replace(item, update=update)
        for read in (archive.update, archive.norm):
            with pytest.raises(Sealed):
                read(copy)
        assert not archive.is_given(copy)
    seal_wrongly(local, 1, lambda *_: copied)
    round_ = local.play()
    assert reasons(round_, 1) == {Verdict.UNAVAILABLE}
    assert round_.status == "finalized"


def test_a_key_that_came_late_still_makes_the_round_final(tmp_path: Path) -> None:
    """Two of five miners have the key, tell one honest miner, and are silent once the votes are counted."""
    local = LocalFederation(tmp_path, miners=5, layout=CONFIDENTIAL)
    seal_wrongly(local, 1, only_for(0, 1))
    witness = local.miner_parties[2]

    def refuse(_: KeyRequest) -> bytes:
        raise RelayError("not for you")

    def tell_the_witness(request: KeyRequest) -> bytes:
        is_witness = request.account == witness.account.address
        return local.miner_parties[0].answer(request) if is_witness else refuse(request)

    answer_wrongly(local, 0, tell_the_witness)
    answer_wrongly(local, 1, refuse)
    answer_wrongly(local, 2, refuse)  # it cannot be reached while the others vote
    local.until(Phase.UNVEIL)
    local.relay.open(witness.account.address, witness)
    local.leave_in(Phase.TALLY, *local.miner_parties[:2])
    round_ = local.play()
    assert reasons(round_, 1) == {Verdict.ACCEPTED, Verdict.UNAVAILABLE}
    assert round_.accepted == (True,) * 4
    assert round_.status == "finalized"


LIES: dict[str, Callable[[float], bytes]] = {
    "nan": lambda _: RoundKeys(None, float("nan")).encode(),
    "zero": lambda _: RoundKeys(None, 0.0).encode(),
    "negative": lambda norm: RoundKeys(None, -norm).encode(),
    "tiny": lambda _: RoundKeys(None, 1e-300).encode(),
    "huge": lambda _: RoundKeys(None, 1e300).encode(),
    "infinite": lambda _: RoundKeys(None, float("inf")).encode(),
    "a key that opens nothing": lambda norm: RoundKeys(os.urandom(32), norm / 2).encode(),
    "short": lambda _: b"",
    "long": lambda _: bytes(1_000_000),
}


@pytest.mark.parametrize("lie", LIES)
def test_miners_of_less_than_half_of_the_weight_change_no_reference_norm(tmp_path: Path, lie: str) -> None:
    local = LocalFederation(tmp_path, miners=5, layout=MEMBERS)
    round_ = local.play()
    norm = norm_bound.norm_of_round(local.miner_parties[4].lead.archive, round_)
    assert norm is not None
    for liar in (0, 1):
        answer_wrongly(local, liar, signed_answer(local, liar, LIES[lie](norm)))
    device = local.archive_of(local.device_accounts[0])
    assert norm_bound.reference_norm(device, local.history, 2) == norm
    assert device.model(local.history.head).shape == (LAYOUT.parameters,)


@pytest.mark.parametrize("away", [1, 2, 3])
def test_liars_lower_no_reference_norm_where_honest_miners_are_away(tmp_path: Path, away: int) -> None:
    """What they say would make a device's update useless; without a reference it is trained as it is."""
    local = LocalFederation(tmp_path, miners=5, layout=CONFIDENTIAL)
    round_ = local.play()
    norm = norm_bound.norm_of_round(local.miner_parties[4].lead.archive, round_)
    for liar in (0, 1):
        answer_wrongly(local, liar, signed_answer(local, liar, RoundKeys(None, 1e-300).encode()))
    for honest in local.miner_accounts[5 - away :]:
        local.relay.close(honest.address)
    device = local.archive_of(local.device_accounts[0])
    expected = None if away == 3 else norm
    assert norm_bound.reference_norm(device, local.history, 2) == expected


def test_answers_of_others_and_unsigned_ones_count_for_nothing(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, layout=CONFIDENTIAL)
    local.play()
    question = ask(local, local.miner_accounts[0], 1, [0, 1])
    miner, other = local.miner_parties[1:3]
    answer = miner.answer(question.request)
    keys = question.read(miner.account.address, answer)
    assert keys is not None
    assert None not in requests.decode_keys(keys)
    assert question.read(other.account.address, answer) is None
    assert question.read(miner.account.address, answer[:-64] + bytes(64)) is None
    assert question.read(miner.account.address, b"") is None
    assert ask(local, local.miner_accounts[0], 1, [0, 1]).read(miner.account.address, answer) is None


def test_who_gives_a_wrong_key_is_not_believed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wrong key costs a pass over an update: two liars cost four, however many updates are missing."""
    local = LocalFederation(tmp_path, miners=5, layout=CONFIDENTIAL)
    for device in range(4):
        seal_wrongly(local, device, only_for(4))
    for liar in (0, 1):

        def lie(request: KeyRequest, liar: int = liar) -> bytes:
            return signed_answer(local, liar, bytes(range(KEY_BYTES)) * len(request.positions))(request)

        answer_wrongly(local, liar, lie)
    local.until(Phase.VOTE)
    tries: list[bytes] = []
    honest = sealing.open_update

    def count(data: bytes, readers: int, key: bytes, seal: Seal) -> bytes:
        tries.append(key)
        return honest(data, readers, key, seal)

    with monkeypatch.context() as patch:
        patch.setattr(sealing, "open_update", count)
        archive = local.miner_parties[2].lead.archive
        for item in local.history.rounds[1].submissions:
            archive.forget()  # what the miner that was asked has read, in this very process
            archive.update(item)
    assert tries.count(bytes(range(KEY_BYTES))) == 4
    round_ = local.play()
    assert round_.accepted == (True,) * 4
    assert all(reasons(round_, device) == {Verdict.ACCEPTED} for device in range(4))


def test_a_key_is_rotated_twice_in_a_round_and_again_in_the_next(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, layout=CONFIDENTIAL)
    account = local.miner_accounts[0]
    for numbers in ((1, 2), (3,), (0,)):
        for number in numbers:
            local.announce(account, number)
        local.until(Phase.REVEAL)
        local.announce(account, numbers[0] + 100)
        local.announce(account, numbers[-1])
        round_ = local.play()
        assert (round_.status, len(round_.votes)) == ("finalized", 4)
        assert round_.accepted == (True,) * 4


def test_a_replayed_request_gives_its_thief_nothing(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, layout=CONFIDENTIAL)
    local.play()
    question = ask(local, local.miner_accounts[0], 1, [0])
    answer = local.miner_parties[1].answer(question.request)
    thief = ReaderKey(os.urandom(32))
    assert thief.open(answer[:-64], question.request.digest(local.ledger.domain)) is None
    stolen = replace(question.request, key=thief.public)
    with pytest.raises(RelayError, match="not signed"):
        local.miner_parties[1].answer(stolen)


def test_a_small_order_key_to_answer_to_gets_what_nobody_opens(tmp_path: Path) -> None:
    """The secret of such a key is known to all: what was sealed for it would be public."""
    local = LocalFederation(tmp_path, layout=CONFIDENTIAL)
    local.play()
    question = ask(local, local.miner_accounts[0], 1, [0])
    request = replace(question.request, key=bytes(32))
    request = replace(request, signature=local.miner_accounts[0].sign(request.digest(local.ledger.domain)))
    sealed = local.miner_parties[1].answer(request)[:-64]
    assert question.reader.open(sealed, request.digest(local.ledger.domain)) is None


def test_an_update_sealed_for_other_readers_is_sealed_again(tmp_path: Path) -> None:
    """A reorganisation can open a round again with other readers: what was sealed before is of no use."""
    local = LocalFederation(tmp_path, layout=CONFIDENTIAL)
    trainer, snapshot = local.device_parties[0].trainer, take_snapshot(local.ledger)
    assert snapshot is not None
    before = trainer.update(snapshot, 0)
    trainer.publish(snapshot, before)
    assert trainer.update(snapshot, 0) == before
    readers = dict(list(snapshot.current.readers.items())[:3])
    other = replace(snapshot, current=replace(snapshot.current, readers=readers))
    trainer._published = None  # as in a process that has started again
    assert not trainer.publish(other, before)  # those for whom it is not sealed would call it unavailable
    after = trainer.update(other, 0)
    assert (after.root, after.cid == before.cid) == (before.root, False)
    assert local.learners[0].trainings == 1  # another one may come to something else, and tell more
    assert trainer.update(other, 0) == after
    trainer.publish(other, after)
    assert local.store.has(cid.from_digest(after.cid, local.archive.sizes.update(3)))


def test_the_device_of_the_only_accepted_update_alone_makes_the_models_key(tmp_path: Path) -> None:
    """Who could compute the model has its key; other devices ask for it."""
    local = LocalFederation(tmp_path, layout=MEMBERS, terms=replace(TERMS, min_updates=1))
    for device in (1, 2, 3):
        seal_wrongly(local, device, only_for())
    round_ = local.play()
    assert round_.block is not None
    item, domain = round_.accepted_submissions()[0], local.ledger.domain
    lanes = local.miner_parties[0].lead.archive.update(item)
    plain = payload.encode(MEMBERS, lanes)
    key = local.device_accounts[0].secret("content key", domain.separator, 1, item.update.root, keccak(plain))
    model_key = sealing.model_key(domain, 1, round_.block.root, [key])
    data = local.store.get(local.archive.sizes.model_cid(1, round_.block.cid), 10_000)
    assert sealing.open_model(data, model_key, domain, 1, round_.block.root)
    alone = local.archive.of_party(Vault(domain, local.ledger.history, [local.device_accounts[1]]))
    with pytest.raises(Sealed):
        alone.model(round_.block)


def test_the_cipher_does_not_bind_its_key() -> None:
    """Why a key counts as right by the root of what it opens, and by nothing else."""
    keys, data = TwoKeys(os.urandom(32), os.urandom(32)), b"associated"
    sealed = two_keys(keys, data, 400)
    plains = {ChaCha20Poly1305(key).decrypt(bytes(12), sealed, data) for key in (keys.first, keys.second)}
    assert (len(sealed), len(plains)) == (400, 2)
