"""`bcfl watch`: a federation live, event by event, as the chain records them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bcfl.cli.groups import grouped
from bcfl.cli.node.options import FederationOptions, MetricsOption, SignerOptions, StoreOptions, parse_listen
from bcfl.cli.node.patience import connected
from bcfl.cli.node.status import status_line
from bcfl.cli.options import KeyFileOption, KeysOption, given_keys
from bcfl.cli.output.printing import ether, format_time, json_text, plural, print_folded, shortened
from bcfl.cli.output.statements import stated_text
from bcfl.cli.output.terminal import plain, say
from bcfl.protocol.limits import MAX_MINERS
from bcfl.protocol.types import Engine, VoidReason

if TYPE_CHECKING:
    from bcfl.federation.client import FederationClient
    from bcfl.ledger.contract import Event

STATED_SECONDS: Final = 5.0  # after a block
ENDS: Final = ("Finalized", "Voided")
# The words for an event; its arguments by name, addresses shortened.
WORDS: Final = {
    "Genesis": "the federation was deployed",
    "Funded": "{amount} for the pool",
    "MinerRegistered": "miner {miner} joined with {stake}",
    "MinerLeft": "miner {miner} leaves",
    "Announced": "miner {miner} is reached at {endpoint}",
    "StakeChanged": "the stake of {miner} is {stake}",
    "DeviceRegistered": "device {device} may take part from round {from_round} on",
    "DeviceLeft": "device {device} takes part until round {until_round}",
    "RoundOpened": "round {round} is open, led by {led_by}",
    "Committed": "{sender} committed",
    "Revealed": "{updates} of the batch of {submitter} revealed",
    "VoteCommitted": "miner {miner} committed to its verdicts",
    "Wished": "miner {miner} wishes for another engine",
    "Voted": "miner {miner} unveiled its verdicts",
    "Tallied": "the votes are counted: {samples:,} samples accepted",
    "Elected": "{leader} leads",
    "Proposed": "{leader} proposed a model",
    "Attested": "miner {miner} attested it",
    "CidCorrected": "miner {miner} says where the model lies: its leader named another CID",
    "Skipped": "{leader} lost its turn",
    "Refuted": "{challenger} refuted the proposal of {leader}: who made and attested it is slashed",
    "ChallengeAnnounced": "{challenger} announced a challenge, sealed",
    "ChallengeFailed": "{challenger} challenged a right proposal and loses its bond",
    "AnnouncementEnded": "the bond of a challenge of {challenger} has {gone}",
    "Disputed": "{challenger} wants to be shown what is behind the proposal",
    "RowsShown": "{answerer} showed what the rows of the proposal are made of",
    "NodesShown": "{answerer} showed nodes of the disputed tree",
    "LeafShown": "{answerer} showed the disputed leaf",
    "Pursued": "{challenger} wants to be shown more",
    "DisputeEnded": "the dispute of {challenger} is over, and its bond has {gone}",
    "Penalized": "miner {miner} pays {amount}",
    "Finalized": "round {round} is final: block {block_hash}, led by {leader}",
    "Voided": "round {round} is void: {reason}",
    "Claimed": "{account} claimed {amount} of round {round}",
}


@grouped
def watch(
    federation: FederationOptions,
    signer: SignerOptions,
    stores: StoreOptions,
    from_start: Annotated[
        bool, typer.Option("--all", metavar="", help="Begin with the deployment, not now.")
    ] = False,
    rounds: Annotated[
        int | None,
        typer.Option("--rounds", metavar="N", min=1, show_default=False, help="End after N rounds."),
    ] = None,
    challenge: Annotated[
        bool,
        typer.Option(
            "--challenge",
            metavar="",
            help="Recompute every proposal, and challenge a wrong one; any funded account may.",
        ),
    ] = False,
    keys: KeysOption = None,
    key_file: KeyFileOption = None,
    poll: Annotated[
        float,
        typer.Option("--poll", metavar="X", min=0.05, max=60, help="Seconds between two reads of the chain."),
    ] = 1.0,
    metrics: MetricsOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print one JSON object an event.")
    ] = False,
) -> None:
    """Follow a federation live, until Ctrl-C or so many rounds have ended."""
    from bcfl.federation.metrics import serve
    from bcfl.federation.observers import WatchObserver
    from bcfl.federation.views.status import status_view

    place = None if metrics is None else parse_listen(metrics, "--metrics")
    rounds_ended, act = 0, _do_nothing
    with connected(federation.connect, _report) as client, ExitStack() as stack:
        observer = WatchObserver(client)
        if place is not None:
            _report(f"metrics at {stack.enter_context(serve(observer, *place))}/metrics")
        if not as_json:
            print_folded(f"{status_line(status_view(client))} · times are UTC", 0)
        if challenge:
            from bcfl.federation.watchtower import start_watchtower

            key, count = signer.unlock(client.network), observer.counters.count
            given = given_keys(keys, key_file, client.ledger.domain)
            act = start_watchtower(client, key, stores.open(), _report, count, given)
        if place is not None:
            act = observer.after(act)
        for event in _events(client, act, observer.fail, from_start, poll, as_json):
            observer.hear(event)
            rounds_ended += event.name in ENDS
            if rounds_ended == rounds:
                return


def register(parent: typer.Typer) -> None:
    """Add `bcfl watch`."""
    parent.command("watch")(watch)


def _events(
    client: FederationClient,
    act: Callable[[], None],
    fail: Callable[[], None],
    from_start: bool,
    poll: float,
    as_json: bool,
) -> Iterator[Event]:
    """Print and yield events as they come; `fail` is called where the node is away."""
    from bcfl.federation.event_stream import follow_events

    def retry(reason: str) -> None:
        fail()
        _retry(reason)

    teller = Teller(client, as_json)
    for event in follow_events(client, from_start=from_start, poll=poll, act=teller.after(act), report=retry):
        _print(event, as_json)
        teller.hear(event)
        yield event


def _do_nothing() -> None:
    """Do nothing between two reads."""


def _report(text: str) -> None:
    say(text, to_stderr=True)


def _retry(reason: str) -> None:
    say(f"{reason}; trying again", to_stderr=True)


class Teller:
    """Tells what parties state of a model, a while after its block: they have to evaluate it first."""

    def __init__(self, client: FederationClient, as_json: bool) -> None:
        self._client, self._as_json = client, as_json
        self._due: float | None = None

    def hear(self, event: Event) -> None:
        """Notice that a round is final."""
        if event.name == "Finalized":
            self._due = time.monotonic() + STATED_SECONDS

    def after(self, act: Callable[[], None]) -> Callable[[], None]:
        """Return what does `act` between two reads of the chain, and tells what is due."""

        def both() -> None:
            act()
            if self._due is not None and time.monotonic() >= self._due:
                self._due = None
                self._tell()

        return both

    def _tell(self) -> None:
        from bcfl.federation.inbox_statements import last_stated

        view = last_stated(self._client)
        number = max((item["round"] for item in view["statements"]), default=0)
        if self._as_json and number:
            say(json_text({"stated": view, "round": number}))
        elif number:
            print_folded(f"after round {number} the model has {stated_text(view)}", 4)


def words(event: Event) -> str:
    """Return what an event says."""
    template = WORDS.get(event.name)
    if template is None:
        return f"{event.name} {' '.join(f'{name}={value}' for name, value in event.args.items())}"
    return template.format_map(_Arguments(event.args))


class _Arguments(dict[str, Any]):
    """The arguments of an event as its words name them."""

    def __init__(self, args: Mapping[str, Any]) -> None:
        super().__init__(args)
        for name, value in args.items():
            if isinstance(value, bytes):
                self[name] = shortened("0x" + value.hex())
            elif isinstance(value, str):
                self[name] = shortened(plain(value))
        for name in ("stake", "amount"):
            if name in args:
                self[name] = ether(args[name])
        if "roots" in args:
            self["updates"] = plural(len(args["roots"]), "update")
        if "returned" in args:
            self["gone"] = "come back" if args["returned"] else "been lost"
        if "engine" in args:
            self["led_by"] = _led_by(args["engine"], args["committee"])
        if "reason" in args and args["reason"] in set(VoidReason):
            self["reason"] = VoidReason(args["reason"]).name.lower().replace("_", " ")

    def __missing__(self, name: str) -> str:
        return f"({name})"


def _led_by(engine: int, committee: int) -> str:
    """Return what decides who leads a round that opens."""
    name = Engine(engine).name.lower() if engine in set(Engine) else f"engine {engine}"
    return f"a committee of {committee >> MAX_MINERS}" if committee else name  # above its mask: its size


def _print(event: Event, as_json: bool) -> None:
    if not as_json:
        head = f"{format_time(event.timestamp)}  block {event.block:<4}  "
        print_folded(head + words(event), len(head))
        return
    content = {
        "event": event.name,
        "args": dict(event.args),
        "block": event.block,
        "timestamp": event.timestamp,
        "transaction": event.transaction,
    }
    say(json_text(content))
