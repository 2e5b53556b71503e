"""Answer members who ask for keys: voters of a round for its updates, members for the model that it made."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from bcfl.errors import PayloadError, RelayError, StoreError
from bcfl.ports import Ledger
from bcfl.protocol import requests
from bcfl.protocol.accounts import Account
from bcfl.protocol.requests import KeyRequest, RoundKeys
from bcfl.protocol.rounds import History, Round, Submission
from bcfl.protocol.sealing import KEY_BYTES
from bcfl.roles.common import norm_bound
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.members import is_member
from bcfl.roles.common.vault import Vault

READING_SHARE: Final = 8  # of a vote: reading for others takes no more than one part in so many, each round


class Keyholder:
    """A miner's keys, and who gets them. It asks nobody itself: two that lack a key would ask for ever.

    What it knows costs nothing. What it has to read for others it reads in a bounded time each round: who
    asks for much, or for what the store looks for in vain, keeps no miner from its own work.
    """

    def __init__(self, account: Account, ledger: Ledger, archive: Archive) -> None:
        self.account, self.ledger, self.archive = account, ledger, archive
        self._history: History | None = None  # as it was seen last
        self._norms: dict[bytes, float] = {}  # reference norm of the last model, by its root
        self._round = 0  # in which the seconds were spent
        self._seconds = 0.0  # that reading for others has taken in this round

    def follow(self, history: History) -> None:
        """Take note of where the chain stands, for `answer_known`."""
        self._history = history

    def answer(self, request: KeyRequest) -> bytes:
        """Return the sealed answer to a request.

        Raises RelayError for one that is not signed, or not of who may know.
        """
        history = self.ledger.history()
        self.follow(history)
        current = history.number
        if self._round != current:
            self._round, self._seconds = current, 0.0
        return self._seal(self._plain(history, request, reads=True), request)

    def answer_known(self, request: KeyRequest) -> bytes | None:
        """Return the answer if everything is at hand, None where the miner has to look; from any thread.

        So others get their keys while this miner judges, and is busy for long.
        """
        if self._history is None:
            return None
        try:
            plain = self._plain(self._history, request, reads=False)
        except (RelayError, _Unknown):  # who is refused is so by the miner, which reads the chain anew
            return None
        return self._seal(plain, request)

    def _seal(self, plain: bytes, request: KeyRequest) -> bytes:
        return requests.seal_answer(plain, request, self.ledger.domain, self.account, os.urandom(KEY_BYTES))

    def _plain(self, history: History, request: KeyRequest, reads: bool) -> bytes:
        """Return what an answer says; without `reads` raises _Unknown where that has to be looked for."""
        round_, vault = history.rounds.get(request.round), self.archive.vault
        if vault is None or round_ is None or not self.archive.privacy.confidential:
            raise RelayError(f"there is nothing sealed in round {request.round}")
        if not request.is_signed(vault.domain):
            raise RelayError(f"the request is not signed by {request.account}")
        if request.positions:
            return requests.encode_keys(self._content_keys(round_, vault, request, reads))
        return self._round_keys(history, vault, round_, request.account, reads).encode()

    def _content_keys(
        self, round_: Round, vault: Vault, request: KeyRequest, reads: bool
    ) -> list[bytes | None]:
        """Return the content keys of updates; None where this miner has none either."""
        if request.account not in round_.readers:
            raise RelayError(f"{request.account} does not vote in round {round_.number}")
        positions = request.positions
        if len(set(positions)) != len(positions) or max(positions) >= len(round_.submissions):
            raise RelayError(f"round {round_.number} has no such updates")
        submissions = [round_.submissions[position] for position in positions]
        return [self._content_key(round_, vault, item, reads) for item in submissions]

    def _content_key(self, round_: Round, vault: Vault, submission: Submission, reads: bool) -> bytes | None:
        """Return the content key of an update, if need be by reading it; one of the past is not kept."""
        key = vault.key_of(submission)
        if key is not None or vault.has_missed(submission) or not self._is_reader(round_):
            return key
        if not reads:
            raise _Unknown
        with self._reading() as may_read, suppress(PayloadError, StoreError):
            if may_read and round_.closed is None:
                self.archive.update(submission, asks=False)
            elif may_read:
                self.archive.is_given(submission)
        return vault.key_of(submission)

    def _round_keys(
        self, history: History, vault: Vault, round_: Round, account: str, reads: bool
    ) -> RoundKeys:
        """Return what a member needs of a finished round, as far as this miner has it."""
        if not is_member(history, account):
            raise RelayError(f"{account} is no member of this federation")
        block = round_.block
        if block is None:
            raise RelayError(f"round {round_.number} has made no model")
        key = self._model_key(vault, round_, block.root, reads) if self.archive.privacy.members else None
        return RoundKeys(key, self._norm(history, round_, block.root, reads))

    def _model_key(self, vault: Vault, round_: Round, root: bytes, reads: bool) -> bytes | None:
        """Return the key of a round's model; who has voted in it can make it of those of the updates."""
        key = vault.model_key_of(round_.number, root)
        if key is not None or not self._is_reader(round_):
            return key
        accepted = round_.accepted_submissions()
        for submission in accepted:
            self._content_key(round_, vault, submission, reads)
        return next(vault.model_keys_of(round_.number, root, accepted), None)

    def _norm(self, history: History, round_: Round, root: bytes, reads: bool) -> float | None:
        """Return the reference norm of a round: read once for the last model, and never for an older one."""
        if root in self._norms or history.head.root != root or not self._is_reader(round_):
            return self._norms.get(root)
        if not reads:
            raise _Unknown
        norm = None
        with self._reading() as may_read, suppress(StoreError):
            norm = norm_bound.norm_of_round(self.archive, round_) if may_read else None
        if norm is not None:
            self._norms = {root: norm}
        return norm

    def _is_reader(self, round_: Round) -> bool:
        """Whether a round's updates are sealed for this miner too."""
        return self.account.address in round_.readers

    @contextmanager
    def _reading(self) -> Iterator[bool]:
        """Say whether there is time left to read for others, and count what is read within."""
        start, may_read = time.monotonic(), self._seconds * READING_SHARE < self.ledger.terms.vote_seconds
        try:
            with self.archive.untouched():
                yield may_read
        finally:
            self._seconds += time.monotonic() - start


class _Unknown(Exception):
    """What is asked for is not at hand."""
