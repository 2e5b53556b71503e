"""What attacks on a confidential federation share: devices that seal wrongly, miners that answer wrongly."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from bcfl.ports import ContractCall
from bcfl.protocol import cid, requests
from bcfl.protocol.accounts import Account
from bcfl.protocol.fixedpoint import Lanes
from bcfl.protocol.readers import WRAP_BYTES
from bcfl.protocol.requests import KeyRequest, Question
from bcfl.protocol.rounds import Round
from bcfl.protocol.sealing import Seal
from bcfl.protocol.types import Verdict
from bcfl.roles.common.archive import PackedVector, StoredVector
from bcfl.roles.common.snapshot import RoundSnapshot
from bcfl.roles.miner.miner import Miner
from tests.local_federation import LocalFederation

Forge = Callable[[bytes, Seal, Round], bytes]  # of the honest bytes: what is stored instead


def seal_wrongly(local: LocalFederation, device: int, forge: Forge) -> None:
    """Let a device put other bytes on the store than it should, and commit to them."""
    archive = local.device_parties[device].trainer.archive
    honest = archive.pack_update

    def pack(lanes: Lanes, round_: Round, device: int, account: Account) -> PackedVector:
        vector = honest(lanes, round_, device, account)
        seal = Seal(local.ledger.domain, round_.number, device, vector.stored.root)
        data = forge(vector.data, seal, round_)
        return PackedVector(StoredVector(seal.root, cid.digest(cid.compute(data))), data)

    archive.pack_update = pack  # type: ignore[method-assign]


def with_wraps(data: bytes, wraps: Sequence[bytes | None]) -> bytes:
    """Return a sealed update with other wraps; None: it stays."""
    size = WRAP_BYTES
    parts = [data[size * i : size * (i + 1)] if wrap is None else wrap for i, wrap in enumerate(wraps)]
    return b"".join(parts) + data[size * len(wraps) :]


def only_for(*readers: int) -> Forge:
    """Wrap the key right for some readers, and nonsense for the others."""

    def forge(data: bytes, seal: Seal, round_: Round) -> bytes:
        del seal
        count = len(round_.readers)
        return with_wraps(data, [None if i in readers else os.urandom(WRAP_BYTES) for i in range(count)])

    return forge


class WrongInbox:
    """The inbox of a miner that answers requests for keys in its own way."""

    def __init__(self, miner: Miner, answer: Callable[[KeyRequest], bytes]) -> None:
        self._miner, self.answer = miner, answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._miner, name)


def answer_wrongly(local: LocalFederation, miner: int, answer: Callable[[KeyRequest], bytes]) -> None:
    party = local.miner_parties[miner]
    local.relay.open(party.account.address, WrongInbox(party, answer))


def signed_answer(local: LocalFederation, miner: int, plain: bytes) -> Callable[[KeyRequest], bytes]:
    """Let a miner say the same to everybody, sealed and signed as it should be."""
    account, domain = local.miner_accounts[miner], local.ledger.domain
    return lambda request: requests.seal_answer(plain, request, domain, account, os.urandom(32))


def ask(local: LocalFederation, account: Account, number: int, positions: Sequence[int] = ()) -> Question:
    return Question.ask(account, local.ledger.domain, number, positions, os.urandom(32))


def reasons(round_: Round, device: int) -> set[Verdict]:
    """Return all verdicts of the round's voters on a device's update."""
    place = next(item.position for item in round_.submissions if item.update.device == device)
    return set(round_.verdicts(place).values())


def propose_garbage(local: LocalFederation, miner: Miner) -> None:
    """Let a miner that leads name other bytes of the same length as the right model's."""
    lead, honest = miner.lead, miner.lead.propose

    def propose(snapshot: RoundSnapshot) -> str | None:
        if snapshot.due or snapshot.current.leader != miner.account.address:
            return honest(snapshot)
        model = lead._compute(snapshot)
        assert model is not None
        name = local.store.put(os.urandom(local.archive.sizes.model(model.round)))
        content = (model.root, cid.digest(name), model.rows)
        lead.context.send(ContractCall("propose", (lead._accepted(snapshot), *content)))
        return "lied"

    lead.propose = propose  # type: ignore[method-assign]
