"""Answer members who ask for keys: voters of a round for its updates, members for the model that it made."""

from __future__ import annotations

import os
from contextlib import suppress

from bcfl.errors import PayloadError, RelayError, StoreError
from bcfl.ports import Ledger
from bcfl.protocol import requests
from bcfl.protocol.accounts import Account
from bcfl.protocol.requests import KeyRequest, RoundKeys
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.sealing import KEY_BYTES
from bcfl.roles.common import norm_bound
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.vault import Vault


class Keyholder:
    """A miner's keys, and who gets them. It asks nobody itself: two that lack a key would ask for ever."""

    def __init__(self, account: Account, ledger: Ledger, archive: Archive) -> None:
        self.account, self.ledger, self.archive = account, ledger, archive

    def answer(self, request: KeyRequest) -> bytes:
        """Return the sealed answer to a request.

        Raises RelayError for one that is not signed, or not of who may know.
        """
        history, vault = self.ledger.history(), self.archive.vault
        round_ = history.rounds.get(request.round)
        if vault is None or round_ is None or not self.archive.privacy.confidential:
            raise RelayError(f"there is nothing sealed in round {request.round}")
        if not request.is_signed(vault.domain):
            raise RelayError(f"the request is not signed by {request.account}")
        if request.positions:
            plain = requests.encode_keys(self._content_keys(round_, request))
        else:
            plain = self._round_keys(history, vault, round_, request.account).encode()
        return requests.seal_answer(plain, request, vault.domain, self.account, os.urandom(KEY_BYTES))

    def _content_keys(self, round_: Round, request: KeyRequest) -> list[bytes | None]:
        """Return the content keys of updates; None where this miner has none either."""
        if request.account not in round_.readers:
            raise RelayError(f"{request.account} does not vote in round {round_.number}")
        positions = request.positions
        if len(set(positions)) != len(positions) or max(positions) >= len(round_.submissions):
            raise RelayError(f"round {round_.number} has no such updates")
        return [self._content_key(round_, position) for position in positions]

    def _content_key(self, round_: Round, position: int) -> bytes | None:
        submission, vault = round_.submissions[position], self.archive.vault
        with suppress(PayloadError, StoreError), self.archive.untouched():
            self.archive.update(submission, asks=False)
        return None if vault is None else vault.key_of(submission)

    def _round_keys(self, history: History, vault: Vault, round_: Round, account: str) -> RoundKeys:
        """Return what a member needs of a finished round, as far as this miner has it."""
        if not is_member(history, account):
            raise RelayError(f"{account} is no member of this federation")
        block = round_.block
        if block is None:
            raise RelayError(f"round {round_.number} has made no model")
        number, key = round_.number, None
        if self.archive.privacy.members:
            key = next(self.archive.model_keys(number, block.root, asks=False), None)
        norm = None
        if vault.is_reader(number):
            with suppress(StoreError), self.archive.untouched():
                norm = norm_bound.norm_of_round(self.archive, round_)
        return RoundKeys(key, norm)


def is_member(history: History, account: str) -> bool:
    """Whether an account takes part now: a device that has not left, or a miner that does not leave."""
    device, miner = history.device_index(account), history.miners.get(account)
    is_miner = miner is not None and not miner.exit_round
    return is_miner or (device is not None and history.is_device(account))
