"""Faults to plant, one at a time, in the code that an episode runs: the simulation has to find them.

A plant changes a few words of one function while it is planted. Where the words are not there any more,
planting fails, so that no plant becomes void unnoticed.
"""

from __future__ import annotations
import __future__

import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any


@dataclass(frozen=True)
class Plant:
    """A change of a function: the words `old` become `new`."""

    name: str
    place: str  # "module:function" or "module:Class.function"
    old: str
    new: str


def _function(place: str) -> FunctionType:
    """Return the function of a place, whatever it is wrapped in."""
    module, _, path = place.partition(":")
    item: Any = importlib.import_module(module)
    for name in path.split("."):
        item = inspect.getattr_static(item, name)
    for wrapper in ("fget", "func", "__func__", "__wrapped__"):
        if not isinstance(item, FunctionType) and hasattr(item, wrapper):
            item = getattr(item, wrapper)
    assert isinstance(item, FunctionType), place
    return item


def changed_code(plant: Plant) -> Any:
    """Return the code of a plant's function after the change; raises LookupError for words that are gone."""
    function = _function(plant.place)
    source = textwrap.dedent(inspect.getsource(function))
    lines = source.splitlines(keepends=True)
    while lines[0].startswith("@"):
        del lines[0]
    source = "".join(lines)
    if source.count(plant.old) != 1:
        raise LookupError(f"{plant.name}: {plant.old!r} is {source.count(plant.old)} times in {plant.place}")
    names: dict[str, Any] = {}
    code = compile(
        source.replace(plant.old, plant.new), f"<{plant.name}>", "exec", __future__.annotations.compiler_flag
    )
    exec(code, function.__globals__, names)
    changed = names[function.__name__].__code__
    assert changed.co_freevars == function.__code__.co_freevars, plant.place
    return changed


@contextmanager
def planted(plant: Plant) -> Iterator[None]:
    """Run what is within with a fault planted."""
    function, code = _function(plant.place), changed_code(plant)
    before = function.__code__
    function.__code__ = code
    try:
        yield
    finally:
        function.__code__ = before


_JOURNAL = "bcfl.roles.common.journal:Journal"
_VOTING = "bcfl.roles.miner.voting:Voting"
_BATCHES = "bcfl.roles.miner.batches:Batches"
_INBOX = "bcfl.roles.miner.inbox:MinerInbox"
_TRAINER = "bcfl.roles.device.trainer:Trainer"
_LEAD = "bcfl.roles.miner.lead:Lead"
_DAEMON = "bcfl.federation.daemon:Daemon"
_DELIVERY = "bcfl.ledger.delivery:Delivery"
_TOWER = "bcfl.roles.watchtower.watchtower:Watchtower"
_SPECIFICATION = "bcfl.specification"

PLANTS = (
    # The journal.
    Plant("a file is not synced", f"{_JOURNAL}.write", "os.fsync(file.fileno())", "pass"),
    Plant("the folder is not synced", f"{_JOURNAL}._settle", "_sync(folder)", "pass"),
    Plant("a record is overwritten in place", f"{_JOURNAL}.write", 'f".{name}.new"', "name"),
    Plant(
        "a seal is not checked",
        f"{_JOURNAL}.read",
        "if not seal or digest not in (_digest(data, self._path.name, name), _digest(data)):",
        "if not seal:",
    ),
    Plant(
        "a damaged record ends the party",
        f"{_JOURNAL}.read",
        "self._set_aside(file)",
        'from bcfl.errors import RunError; raise RunError("damaged")',
    ),
    Plant(
        "a full disk is not foreseen",
        f"{_JOURNAL}.write",
        "except OSError as error",
        "except PermissionError as error",
    ),
    # The vote.
    Plant("the salt of a vote is made anew", f"{_VOTING}._opening", "snapshot.round)\n", "snapshot.now)\n"),
    Plant(
        "a vote is not recorded",
        f"{_VOTING}._record",
        "self.context.journal.write_json(RECORD, record)",
        "pass",
    ),
    Plant(
        "a vote is recorded after it is sent",
        f"{_VOTING}.vote",
        "opening = self._record(snapshot, verdicts, self.verifier.levels)\n",
        "opening = self._opening(snapshot, verdicts, self.verifier.levels, None)\n"
        "        self.context.send(ContractCall('commit_vote', (self._digest(snapshot, opening),)))\n"
        "        self._record(snapshot, verdicts, self.verifier.levels)\n"
        "        return 'voted'\n",
    ),
    Plant(
        "a vote is sent twice",
        f"{_VOTING}._is_due",
        "not has_voted and",
        "",
    ),
    Plant(
        "a vote on other updates is used",
        f"{_VOTING}._recorded_vote",
        'record["updates"] != _updates_digest(snapshot.current)',
        "False",
    ),
    Plant("nobody unveils alone", f"{_VOTING}.unveil", "snapshot.share < MIDDLE_SHARE", "snapshot.share < 2"),
    Plant(
        "a store that is away accuses",
        "bcfl.roles.miner.verifier:Verifier._read",
        "except (Unavailable, Corrupt) as error",
        "except Exception as error",
    ),
    # Batches and inbox.
    Plant(
        "a batch is not recorded",
        f"{_BATCHES}._close",
        "self.context.journal.write_json",
        "(lambda *_: None)",
    ),
    Plant(
        "a batch is forgotten after a restart",
        f"{_BATCHES}._restore",
        "if not self.inbox.commitments:",
        "if False:",
    ),
    Plant(
        "the inbox takes any round",
        f"{_INBOX}._snapshot",
        "if snapshot is None or round_ != snapshot.round:",
        "if snapshot is None:",
    ),
    Plant(
        "the inbox keeps an old round's messages",
        f"{_INBOX}.start_round",
        "self.commitments, self.updates, self.batches, self.openings = {}, {}, {}, {}",
        "pass",
    ),
    Plant(
        "the inbox takes openings of nothing",
        f"{_INBOX}.take_opening",
        "commit_digest is None or commit_digest != verification.vote_digest(message, links)",
        "False",
    ),
    # The device.
    Plant(
        "an update is not recorded",
        f"{_TRAINER}._train",
        "self.journal.write_json(RECORD, record)",
        "pass",
    ),
    Plant(
        "a device reveals nothing after a restart",
        f"{_TRAINER}.publish",
        "data, number = self.journal.read(SEALED), update",
        "data, number = self.journal.read('none'), update",
    ),
    Plant(
        "the salt of an update is made anew",
        f"{_TRAINER}.recorded_update",
        "return _from_record(record)",
        "return _from_record(record | {'salt': str(int(record['salt']) ^ snapshot.now)})",
    ),
    # The lead.
    Plant(
        "whatever is proposed is attested",
        f"{_LEAD}._is_right",
        "return result is not None and (result.root, result.rows) == (proposal.root, proposal.rows)",
        "return True",
    ),
    Plant(
        "one miner rounds otherwise",
        f"{_LEAD}._compute",
        "return self.archive.next_model(parent, snapshot.current.accepted_submissions(), snapshot.history)",
        "result = self.archive.next_model("
        "parent, snapshot.current.accepted_submissions(), snapshot.history)\n"
        "        is_other = int(self.context.address, 16) % 2\n"
        "        return replace(result, root=result.root[::-1]) if is_other else result",
    ),
    Plant(
        "nobody passes a silent leader over", f"{_LEAD}.propose", "return self._skip(snapshot)", "return None"
    ),
    Plant(
        "what has support is not made final",
        f"{_LEAD}.attest",
        "if is_over and current.has_support(proposal.attested):",
        "if False:",
    ),
    Plant(
        "an attestation is repeated",
        f"{_LEAD}._may_attest",
        "if address in proposal.attested or address in current.slashed:",
        "if False:",
    ),
    # The process.
    Plant(
        "a full disk ends the party",
        f"{_DAEMON}.turn",
        "if _is_final(error):",
        "if isinstance(error, (ConfigError, RunError)):",
    ),
    Plant(
        "a store that is away ends the party",
        f"{_DAEMON}.turn",
        "if _is_final(error):",
        "if _is_final(error) or isinstance(error, StoreError):",
    ),
    Plant(
        "the pause grows without bound",
        f"{_DAEMON}._back_off",
        "min(self._retry_seconds, self._poll * 2.0 ** min(self._failures, 10))",
        "self._poll * 2.0 ** min(2 * self._failures, 20)",
    ),
    Plant("nobody ends a phase", f"{_DAEMON}._advance", "if not self._advances:", "if True:"),
    # The chain.
    Plant(
        "a reorganisation goes unnoticed",
        "bcfl.ledger.live:LiveLedger._was_reorganised",
        "return block is not None and",
        "return False and",
    ),
    Plant(
        "events are read twice",
        "bcfl.ledger.federation:FederationLedger._read",
        "self._next_block = end + 1",
        "self._next_block = end",
    ),
    Plant(
        "events are skipped",
        "bcfl.ledger.federation:FederationLedger._read",
        "self._next_block = end + 1",
        "self._next_block = head + 1",
    ),
    Plant(
        "a lost transaction is not sent again",
        f"{_DELIVERY}._push",
        "if not (self._is_held and self._is_known()):",
        "if not self._is_held:",
    ),
    Plant(
        "a nonce is counted by the sender",
        "tests.simulation.network:PartyContract.send",
        'nonce = int(self._request("eth_getTransactionCount", key.address, "pending"), 16)',
        'nonce = int(self._request("eth_getTransactionCount", key.address, "pending"), 16)\n'
        "    nonce = self.__dict__.setdefault('own', nonce)\n"
        "    self.own = nonce + 1",
    ),
    Plant("a deadline is one second late", "bcfl.roles.common.snapshot:RoundSnapshot.due", ">=", ">"),
    # Beside the rounds.
    Plant(
        "a device claims twice",
        "bcfl.roles.background.claims:claims",
        "as_device = device is not None and (account, round_.number, False) not in history.claimed",
        "as_device = device is not None",
    ),
    Plant(
        "what is needed is unpinned",
        "bcfl.roles.background.pinning:Pinning._unpin_old",
        "last + self.rounds < number",
        "last <= number",
    ),
    Plant("a challenge is not opened", f"{_TOWER}._open", "if not due:", "if True:"),
    Plant(
        "the salt of a challenge is made anew",
        "bcfl.roles.watchtower.openings:Openings._salt",
        '"challenge", digest, turn, count',
        '"challenge", digest, turn, snapshot.now',
    ),
    Plant(
        "a watchtower looks once in a round",
        f"{_TOWER}._look_at",
        "if key == self._judged and",
        "if self._judged and",
    ),
    # The contract, as it is specified.
    Plant(
        "a deadline is one second late on chain",
        f"{_SPECIFICATION}.rounds:is_reached",
        ">= clock.deadline",
        "> clock.deadline",
    ),
    Plant(
        "anything becomes final",
        f"{_SPECIFICATION}.proposals:_is_attested",
        "return Electorate",
        "return True or Electorate",
    ),
    Plant(
        "the window is never open",
        f"{_SPECIFICATION}.docket:is_window_over",
        "return call.block.timestamp >= end and",
        "return True or",
    ),
    Plant(
        "a penalty stays in the stake",
        f"{_SPECIFICATION}.registry:penalize",
        "registry.stakes[miner] = stake - taken",
        "pass",
    ),
    Plant(
        "a reward is a wei too high",
        f"{_SPECIFICATION}.rewards:reserve",
        "books.owed += earned",
        "books.owed += earned + 1",
    ),
    Plant(
        "a share is credited twice",
        f"{_SPECIFICATION}.rewards:_credit",
        "treasury.credit(call, account, amount)",
        "treasury.credit(call, account, 2 * amount)",
    ),
    Plant(
        "what is forfeit goes to nobody", f"{_SPECIFICATION}.rewards:_credit", "books.pool += forfeit", "pass"
    ),
    Plant(
        "the grace is left out",
        f"{_SPECIFICATION}.rounds:act",
        "call.block.timestamp + grace",
        "call.block.timestamp",
    ),
    Plant(
        "a lead costs nothing", f"{_SPECIFICATION}.election:_pass_on", "turns.charge(call, leader)", "pass"
    ),
)
