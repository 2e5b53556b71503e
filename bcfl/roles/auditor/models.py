"""The vectors: every CID to its bytes, and every model bit for bit from the accepted updates.

What is sealed, and has no key here, is hashed and measured, and not opened. That breaks no rule: it is noted.
So is a key that was given and is wrong: whoever gave it may have lied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from bcfl.errors import PayloadError, Sealed, StoreError
from bcfl.protocol.challenges import Form
from bcfl.protocol.rounds import History, Round, Submission
from bcfl.protocol.types import Block
from bcfl.roles.auditor.turns import Turn
from bcfl.roles.auditor.verdict import Issue, Unopened
from bcfl.roles.common.aggregation import NewModel
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.unsealing import open_model

UNREADABLE = (PayloadError, StoreError)
T = TypeVar("T")


class Models:
    """The vectors of a federation, round after round; a model that cannot be read is recomputed."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.reset()

    def reset(self) -> None:
        """Forget what was found in the round that was checked last."""
        self.lazy: tuple[str, ...] = ()
        self.is_misnamed = False  # whether its block names another CID than its model's
        self.missing: list[int] = []  # rejected updates of it whose bytes are gone or wrong
        self.sealed = Unopened()
        self.wrong_keys = 0  # that were given, and open nothing, or not what has the root
        self._unopened: set[int] = set()  # updates of it that are sealed, with no key here

    def check_stored(self, block: Block) -> Iterator[Issue]:
        """Check that the store holds a block's model."""
        try:
            self.archive.model(block)
        except UNREADABLE as error:
            yield "model.bytes", str(error)

    def check(self, parent: Block, round_: Round, turns: list[Turn], history: History) -> Iterator[Issue]:
        """Yield everything that is wrong with the vectors of a round, which starts from `parent`."""
        self.reset()
        issues = list(self._check_updates(round_))
        yield from issues
        if round_.accepted is None or issues:
            return
        updates = round_.accepted_submissions()
        if not updates:
            return
        model = None
        if self._unopened.isdisjoint(item.position for item in updates):
            try:
                model = self._read(lambda: self.archive.next_model(parent, updates, history))
            except UNREADABLE as error:
                if not isinstance(error, Sealed) or self._has_model_key(parent):
                    yield "model.before", str(error)
                    return
        if model is None:
            self.sealed += Unopened(sums=1)
            yield from self._check_unopened(round_.block, history)
            return
        yield from self._check_proposals(model, turns, round_)
        if round_.block is not None:
            yield from self._check_final(model, round_.block)

    def _check_updates(self, round_: Round) -> Iterator[Issue]:
        """Check the bytes of every update; those of a rejected one may be gone or wrong."""
        vault = self.archive.vault
        for item in round_.submissions:
            is_given = vault is not None and vault.is_given(item)
            try:
                self._read(lambda item=item: self.archive.update(item), retries=is_given)  # type: ignore[misc]
            except UNREADABLE as error:
                if isinstance(error, Sealed) and (vault is None or not vault.is_reader(round_.number)):
                    self.sealed += Unopened(updates=1)
                    self.wrong_keys += is_given
                    self._unopened.add(item.position)
                elif self._is_accepted(round_, item):
                    yield f"updates[{item.position}].bytes", str(error)
                else:
                    self.missing.append(item.position)

    def _check_unopened(self, block: Block | None, history: History) -> Iterator[Issue]:
        """Check the model of a round whose sum is not recomputed: its root, or its bytes if it is sealed."""
        if block is None:
            return
        try:
            self._read(lambda: open_model(self.archive, block, history))
        except UNREADABLE as error:
            if isinstance(error, Sealed) and not self._has_model_key(block):
                self.sealed += Unopened(models=1)
                vault = self.archive.vault
                self.wrong_keys += vault is not None and vault.gives_model(block.round, block.root)
            else:
                yield "model.bytes", str(error)

    def _read(self, read: Callable[[], T], *, retries: bool = True) -> T:
        """Return what `read` returns; where given keys do not help it, what it returns without them."""
        vault = self.archive.vault
        try:
            return read()
        except UNREADABLE:
            if vault is None or not retries:
                raise
        with vault.without_given():
            return read()

    def _has_model_key(self, block: Block) -> bool:
        """Whether a key that is none of those given, or has proven itself, should open a block's model."""
        vault = self.archive.vault
        if vault is None:
            return False
        with vault.without_given():
            return vault.has_model_key(block.round, block.root)

    @staticmethod
    def _is_accepted(round_: Round, item: Submission) -> bool:
        return round_.levels is not None and bool(round_.levels[item.position])

    def _check_proposals(self, model: NewModel, turns: list[Turn], round_: Round) -> Iterator[Issue]:
        """Compare every proposal with the right model, and note who attested a wrong one."""
        for turn in turns:
            if turn.proposal is None:
                continue
            args = turn.proposal.args
            wrong = [name for name in ("root", "rows") if args[name] != getattr(model, name)]
            if wrong:
                self.lazy += tuple(turn.supporters)
            silent = turn.refutation is not None and turn.refutation.args["form"] == Form.SILENCE
            if turn.refutation is not None and not silent and not wrong:
                yield "challenges", f"the proposal of {turn.leader} was refuted, and it was right"
            if turn is turns[-1] and round_.block is not None:
                for name in wrong:
                    yield f"proposal.{name}", f"the accepted updates come to 0x{getattr(model, name).hex()}"

    def _check_final(self, model: NewModel, block: Block) -> Iterator[Issue]:
        if block.root != model.root:
            yield "model.root", f"the accepted updates come to 0x{model.root.hex()}"
        else:
            self.is_misnamed = block.cid != model.cid
            yield from self.check_stored(replace(block, cid=model.cid))
