"""The way of messages between processes: lost, late, repeated, or taken with the answer lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bcfl.errors import BcflError, RelayError
from bcfl.protocol.requests import KeyRequest
from tests.simulation.outsider import interfere
from tests.simulation.process import Killed

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World


@dataclass(frozen=True)
class PartyRelay:
    """A process's way to the inboxes of miners."""

    world: World
    sender: Process

    def inbox(self, miner: str) -> PartyInbox:
        """Return the inbox of a miner; raises RelayError where there is no such process."""
        process = self.world.by_address.get(miner)
        if process is None:
            raise RelayError(f"miner {miner} cannot be reached")
        return PartyInbox(self.world, self.sender, process)

    def ask(self, miners: Sequence[str], request: KeyRequest) -> Iterator[tuple[str, bytes]]:
        """Yield what miners answer to a request for keys."""
        for miner in miners:
            with suppress(RelayError):
                yield miner, self.inbox(miner).answer(request)


class PartyInbox:
    """The inbox of a miner behind a network."""

    def __init__(self, world: World, sender: Process, target: Process) -> None:
        self._world, self._sender, self._target = world, sender, target
        self.take_commitment = self._method("take_commitment")
        self.take_update = self._method("take_update")
        self.take_batch = self._method("take_batch")
        self.take_opening = self._method("take_opening")

    def batch(self, round_: int) -> tuple[bytes, ...] | None:
        """Return the commitments of the miner's batch."""
        if self._sender.strike("message-lost"):
            raise RelayError("nobody answers")
        batch: tuple[bytes, ...] | None = self._reach("batch", round_)
        return batch

    def answer(self, request: KeyRequest) -> bytes:
        """Return the miner's answer to a request for keys."""
        if self._sender.strike("message-lost"):
            raise RelayError("nobody answers")
        answer: bytes = self._reach("answer", request)
        return answer

    def _method(self, name: str) -> Callable[[Any], None]:
        return lambda message: self._send(name, message)

    def _send(self, name: str, message: object) -> None:
        """Hand over a message; raises RelayError where no answer comes back."""
        sender, world = self._sender, self._world
        sender.pass_point("message")
        if sender.strike("message-lost"):
            raise RelayError("nobody answers")
        if fault := sender.strike("message-late"):
            world.later(world.dice.number(1, 40, fault.name), lambda: self._again(name, message))
            raise RelayError("nobody answers")
        self._reach(name, message)
        interfere(world, self._target, message, self._bring(name))
        if fault := sender.strike("message-repeated"):
            world.later(world.dice.number(1, 90, fault.name), lambda: self._again(name, message))
        if sender.strike("message-answer-lost"):
            raise RelayError("nobody answers")
        sender.pass_point("message-after")

    def _bring(self, name: str) -> Callable[[Process, object], None]:
        """Return what brings a message to any inbox as another one than its sender."""
        return lambda target, message: PartyInbox(self._world, self._sender, target)._again(name, message)

    def _again(self, name: str, message: object) -> None:
        """Bring a message that nobody waits for any more."""
        with suppress(RelayError):
            self._reach(name, message, is_asked=False)

    def _reach(self, name: str, message: object, *, is_asked: bool = True) -> Any:
        """Have the miner judge a message, as its mailbox has it."""
        target, world = self._target, self._world
        target.suffer(target.strike("inbox-away"))
        if target.inbox is None or target.is_busy or target.is_away("inbox"):
            if is_asked:
                self._sender.unanswered = world.time
            raise RelayError(f"{target.name} does not answer")
        with world.turn_of(target):
            try:
                return getattr(target.inbox, name)(message)
            except RelayError:
                raise
            except BcflError as error:
                raise RelayError(f"{target.name} cannot judge it now: {error}") from error
            except Killed:
                raise RelayError(f"{target.name} has died") from None
            except Exception as error:
                world.blame("died", f"{target.name} fails at a message: {error!r}", target)
                raise RelayError("the message could not be judged") from error
