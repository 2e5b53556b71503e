"""Find the keys that open what is sealed: a party's own, those that it was given, those that it asks for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

from bcfl.errors import PayloadError, Sealed
from bcfl.ports import Relay
from bcfl.protocol import requests, sealing
from bcfl.protocol.accounts import Account
from bcfl.protocol.fixedpoint import Lanes
from bcfl.protocol.requests import Question, RoundKeys
from bcfl.protocol.rounds import History, Round, Submission
from bcfl.protocol.sealing import KEY_BYTES, ReaderKey, Seal
from bcfl.protocol.submissions import Domain
from bcfl.roles.common.keys import Keys, ModelName, UpdateName, update_name
from bcfl.roles.common.members import miners_to_ask

MAX_KEYS: Final = 8_192  # that are remembered, 100 bytes each
MAX_QUESTIONS: Final = 16  # whose answers are remembered, 2 MiB each where all miners answer for all updates
NameT = TypeVar("NameT", UpdateName, ModelName)
ValueT = TypeVar("ValueT", bytes, None)


class Vault:
    """The keys with which the owner of some accounts reads.

    `history` is of the federation as far as it is known. `relay`: the way to the miners, who answer the first
    account where it is a member; None: nobody is asked. `given`: keys that were disclosed.
    """

    def __init__(
        self,
        domain: Domain,
        history: Callable[[], History],
        accounts: Sequence[Account] = (),
        relay: Relay | None = None,
        given: Keys | None = None,
    ) -> None:
        self.domain, self.accounts, self._history, self._relay = domain, accounts, history, relay
        self.keys, self._given = Keys(), given or Keys()
        self._readers: dict[bytes, ReaderKey | None] = {}  # own keys by public key; None: not one of them
        self._answers: dict[tuple[int, tuple[UpdateName, ...]], _Answers] = {}
        self._missed: dict[UpdateName, None] = {}  # updates that were looked at, and no key opened
        self._uses_given = True

    def seal(self, submission: Submission) -> Seal:
        """Return what a sealed update is bound to."""
        update = submission.update
        return Seal(self.domain, update.round, update.device, update.root)

    def content_keys(self, submission: Submission, wraps: bytes, asks: bool) -> Iterator[bytes]:
        """Yield keys that may open an update, the likeliest first; with `asks` other readers are asked."""
        name = update_name(submission)
        for known in (self.keys.updates.get(name), self._given_key(name)):
            if known is not None:
                yield known
        round_ = self._history().rounds.get(submission.update.round)
        if round_ is None:
            return
        yield from self._own_keys(submission, round_, wraps)
        if asks:
            yield from self._asked_keys(submission, round_)
        _add(self._missed, name, None)  # who comes here has tried all in vain: to look again brings nothing

    def remember(self, submission: Submission, key: bytes) -> None:
        """Keep the key that has opened an update."""
        _add(self.keys.updates, update_name(submission), key)
        self._missed.pop(update_name(submission), None)

    def has_missed(self, submission: Submission) -> bool:
        """Whether an update was looked at, and no key at hand opens it."""
        return update_name(submission) in self._missed

    def ask_again(self) -> None:
        """Forget what was answered: who could not help then may have the key by now."""
        self._answers.clear()

    def key_of(self, submission: Submission) -> bytes | None:
        """Return the key that has opened an update here, None where none has."""
        return self.keys.updates.get(update_name(submission))

    def model_keys(self, number: int, root: bytes, asks: bool) -> Iterator[bytes]:
        """Yield keys that may open the model of a round; with `asks` miners are asked."""
        for known in (self.keys.models.get((number, root)), self._given_model_key((number, root))):
            if known is not None:
                yield known
        if (number, root) in self.keys.models:
            return  # that one is right: bytes that it does not open are not this model's
        round_ = self._history().rounds.get(number)
        if round_ is None:
            return
        yield from self.model_keys_of(number, root, round_.accepted_submissions())
        if asks:
            for _, answer in self._round_answers(round_):
                if answer.model is not None:
                    yield answer.model
            self._answers.pop((number, ()), None)  # no answer helped: ask again another time

    def model_keys_of(self, number: int, root: bytes, accepted: Sequence[Submission]) -> Iterator[bytes]:
        """Yield the key that the content keys of a round's accepted updates make, if all are known here."""
        keys = [self.key_of(item) or self._given_key(update_name(item)) for item in accepted]
        if keys and None not in keys:
            yield sealing.model_key(self.domain, number, root, [key for key in keys if key])

    def model_key_of(self, number: int, root: bytes) -> bytes | None:
        """Return the key that has opened a model here, or was given, None where there is none."""
        return self.keys.models.get((number, root)) or self._given_model_key((number, root))

    def remember_model(self, number: int, root: bytes, key: bytes) -> None:
        """Keep the key that has opened a model."""
        _add(self.keys.models, (number, root), key)

    def accepted(self, number: int) -> list[Submission]:
        """Return the accepted updates of a round; none of one that is not known."""
        round_ = self._history().rounds.get(number)
        return [] if round_ is None else round_.accepted_submissions()

    def is_reader(self, number: int) -> bool:
        """Whether one of the accounts is a voter of a round, for whom its updates are sealed."""
        round_ = self._history().rounds.get(number)
        return round_ is not None and any(account.address in round_.readers for account in self.accounts)

    @contextmanager
    def without_given(self) -> Iterator[None]:
        """Read with own keys, and those that have opened something right: a given one may be a liar's."""
        self._uses_given = False
        try:
            yield
        finally:
            self._uses_given = True

    def is_given(self, submission: Submission) -> bool:
        """Whether a key of an update was given."""
        return update_name(submission) in self._given.updates

    def gives_model(self, number: int, root: bytes) -> bool:
        """Whether a key of a round's model was given."""
        return (number, root) in self._given.models

    def _given_key(self, name: UpdateName) -> bytes | None:
        return self._given.updates.get(name) if self._uses_given else None

    def _given_model_key(self, name: ModelName) -> bytes | None:
        return self._given.models.get(name) if self._uses_given else None

    def has_key(self, submission: Submission) -> bool:
        """Whether a key that should open an update is at hand: one that was given, or a voter's own."""
        key = self.key_of(submission) or self._given_key(update_name(submission))
        return key is not None or self.is_reader(submission.update.round)

    def has_model_key(self, number: int, root: bytes) -> bool:
        """Whether a key that should open the model of a round is at hand, or all that it follows from."""
        if self.model_key_of(number, root) is not None:
            return True
        round_ = self._history().rounds.get(number)
        accepted = [] if round_ is None else round_.accepted_submissions()
        return bool(accepted) and all(self.has_key(item) for item in accepted)

    def reference_norm(self, number: int) -> float | None:
        """Return the reference norm that more than half of a round's voting weight says, or stays below.

        None where voters of half of the weight say none: the others may be those that lie.
        """
        round_ = self._history().rounds.get(number)
        if round_ is None:
            return None
        weights, said = round_.weights(), dict[float, int]()
        total = sum(weights.values())
        for miner, answer in self._round_answers(round_):
            if answer.norm is not None and miner in weights:
                said[answer.norm] = said.get(answer.norm, 0) + weights[miner]
                if 2 * said[answer.norm] > total:
                    return answer.norm
        return _median(said, total)

    def _own_keys(self, submission: Submission, round_: Round, wraps: bytes) -> Iterator[bytes]:
        """Yield the keys that were wrapped for the accounts, or nothing."""
        seal = self.seal(submission)
        for position, (miner, public) in enumerate(round_.readers.items()):
            reader = None if public is None else self._reader_key(miner, public)
            key = None if reader is None else sealing.open_wrap(wraps, position, reader, seal)
            if key is not None:
                yield key

    def _reader_key(self, miner: str, public: bytes) -> ReaderKey | None:
        """Return the secret of an announced key, None where it is not one of the accounts'."""
        account = next((item for item in self.accounts if item.address == miner), None)
        if account is None:
            return None
        if public not in self._readers:
            self._readers[public] = sealing.reader_key(account, self.domain, public)
        return self._readers[public]

    def _asked_keys(self, submission: Submission, round_: Round) -> Iterator[bytes]:
        """Yield what other readers of the round say; after the first failure all that is missing is asked."""
        if self._relay is None or not self.is_reader(round_.number):
            return
        name = update_name(submission)
        for (number, names), answers in list(self._answers.items()):
            if number == round_.number and name in names:
                yield from _keys_at(answers, names.index(name))
                return
        missing = [item for item in round_.submissions if self.key_of(item) is None]
        is_first = all(number != round_.number for number, names in self._answers if names)
        if is_first or name not in map(update_name, missing):  # what counts for accepted ones differs
            missing = [submission]
        place = [update_name(item) for item in missing].index(name)
        yield from _keys_at(self._ask(round_, missing, list(round_.readers)), place)

    def _round_answers(self, round_: Round) -> Iterator[tuple[str, RoundKeys]]:
        """Yield what miners say of a finished round."""
        if self._relay is None:
            return
        for miner, answer in self._ask(round_, [], miners_to_ask(self._history(), round_)):
            with suppress(ValueError):
                yield miner, RoundKeys.decode(answer)

    def _ask(self, round_: Round, asked: Sequence[Submission], miners: Sequence[str]) -> _Answers:
        """Return the answers of miners, which come one by one, and are kept for the next time."""
        key, positions = (round_.number, tuple(map(update_name, asked))), [item.position for item in asked]
        if key not in self._answers or self._answers[key].is_empty:
            others = [miner for miner in miners if miner != self.accounts[0].address]
            question = Question.ask(
                self.accounts[0], self.domain, round_.number, positions, os.urandom(KEY_BYTES)
            )
            assert self._relay is not None
            while len(self._answers) >= MAX_QUESTIONS:
                del self._answers[next(iter(self._answers))]
            self._answers[key] = _Answers(question, self._relay.ask(others, question.request))
        return self._answers[key]


class _Answers:
    """The answers to one question, by miner: those that have come, and then those that come."""

    def __init__(self, question: Question, incoming: Iterator[tuple[str, bytes]]) -> None:
        self._question, self._incoming = question, incoming
        self._known: list[tuple[str, bytes]] = []
        self._is_over = False

    @property
    def is_empty(self) -> bool:
        """Whether nobody has answered: then it is worth while to ask again."""
        return self._is_over and not self._known

    def distrust(self, miner: str) -> None:
        """Drop what a miner has answered: it said of a key that is wrong that it had opened an update."""
        self._known = [pair for pair in self._known if pair[0] != miner]

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        yield from self._known
        for miner, answer in self._incoming:
            plain = self._question.read(miner, answer)
            if plain is not None:
                self._known.append((miner, plain))
                yield miner, plain
        self._is_over = True


def opened(
    keys: Iterator[bytes], open_: Callable[[bytes], bytes], decode: Callable[[bytes], Lanes], name: str
) -> tuple[Lanes, bytes]:
    """Return the lanes, (parameters,), that the first right key opens, and that key.

    A key is right when `decode` takes what it opens. Raises PayloadError where a key opens something else and
    none is right, Sealed where none opens anything.
    """
    failure: PayloadError | None = None
    for key in keys:
        try:
            plain = open_(key)
        except PayloadError:
            continue
        try:
            return decode(plain), key
        except PayloadError as error:
            failure = failure or error
    raise failure or Sealed(f"{name} is sealed, and no key that can be had opens it", name)


def _keys_at(answers: _Answers, place: int) -> Iterator[bytes]:
    """Yield the keys of answers for the update at a place; who gave a wrong one is not believed again."""
    for miner, answer in answers:
        key = requests.decode_keys(answer)[place]
        if key is not None:
            yield key
            answers.distrust(miner)


def _add(keys: dict[NameT, ValueT], name: NameT, key: ValueT) -> None:
    """Add a key, or what else is noted; the oldest of too many goes."""
    keys.pop(name, None)
    while len(keys) >= MAX_KEYS:
        del keys[next(iter(keys))]
    keys[name] = key


def _median(said: dict[float, int], total: int) -> float | None:
    """Return the least value that voters of more than half of the total weight reach; None where few speak.

    Who is silent counts as one that knows no bound: so liars of less than half of the weight can lower the
    value for nobody, whoever else is away.
    """
    sum_ = 0
    for value in sorted(said):
        sum_ += said[value]
        if 2 * sum_ > total:
            return value
    return None
