"""`bcfl watch`: a federation live, event by event, as the chain records them."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bcfl.cli.node.account import PasswordFile
from bcfl.cli.node.joining import (
    FOLDER,
    AccountOption,
    DeploymentOption,
    FolderOption,
    GatewayOption,
    KeystoreOption,
    NetworkOption,
    StoreOption,
    joined,
    signing,
)
from bcfl.cli.node.status import standing, standing_line
from bcfl.cli.output.printing import ether, moment, plural, print_folded, shortened
from bcfl.errors import Unreachable
from bcfl.protocol.types import Engine, VoidReason

if TYPE_CHECKING:
    from bcfl.federation.node import FederationClient
    from bcfl.ledger.contract import Contract, Event

REMEMBERED: Final = 64  # blocks that may be taken back without reading everything again
LONGEST: Final = 15.0  # seconds between two tries while the node is away
ENDS: Final = ("Finalized", "Voided")
# What an event says, in words; its arguments by name, addresses shortened.
WORDS: Final = {
    "Genesis": "the federation was deployed",
    "Funded": "{amount} for the pool",
    "Renewed": "miner {miner} renewed its hash chain",
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
    "Skipped": "{leader} lost its turn",
    "Refuted": "{challenger} refuted the proposal of {leader}, which loses its stake",
    "ChallengeFailed": "{challenger} challenged a right proposal and loses its bond",
    "Disputed": "{challenger} wants to be shown what is behind the proposal",
    "RowsShown": "{answerer} showed what the rows of the proposal are made of",
    "NodesShown": "{answerer} showed nodes of the disputed tree",
    "LeafShown": "{answerer} showed the disputed leaf",
    "Pursued": "{challenger} wants to be shown more",
    "DisputeEnded": "the dispute of {challenger} is over",
    "Penalized": "miner {miner} pays {amount}",
    "Finalized": "round {round} is final: block {block_hash}, led by {leader}",
    "Voided": "round {round} is void: {reason}",
    "Claimed": "{account} claimed {amount} of round {round}",
}


def watch(
    network: NetworkOption = None,
    deployment: DeploymentOption = "federation",
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
    account: AccountOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFile = None,
    store: StoreOption = "store",
    gateway: GatewayOption = None,
    poll: Annotated[
        float, typer.Option("--poll", metavar="X", min=0.05, max=60, help="Seconds between looks.")
    ] = 1.0,
    folder: FolderOption = FOLDER,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print one JSON object an event.")
    ] = False,
) -> None:
    """Follow a federation live, until Ctrl-C or so many rounds have ended."""
    ended = 0
    with joined(network, deployment, folder) as client:
        if not as_json:
            print_folded(f"{standing_line(standing(client))} · times are UTC", 0)
        look = nothing
        if challenge:
            from bcfl.federation.watchtower import start_watchtower
            from bcfl.storage import open_store

            who = signing(client.network, account, keystore, password_file)
            look = start_watchtower(client, who, open_store(store, gateway))
        for event in follow(client, from_start, poll, look):
            _print(event, as_json)
            ended += event.name in ENDS
            if ended == rounds:
                return


def register(parent: typer.Typer) -> None:
    """Add `bcfl watch`."""
    parent.command("watch")(watch)


def nothing() -> None:
    """What is done at a look at the chain, besides looking."""


def follow(
    client: FederationClient, from_start: bool, poll: float, look: Callable[[], None] = nothing
) -> Iterator[Event]:
    """The events as they come, for ever; those of blocks that replace others too. A node may be away.

    `look` is called whenever the chain has been looked at.
    """
    contract = client.ledger.contract
    seen: deque[tuple[int, str]] = deque(maxlen=REMEMBERED)
    following = client.block if from_start else _number(contract, "latest")[0] + 1
    failures = 0
    while True:
        try:
            while seen and _number(contract, hex(seen[-1][0])) != seen[-1]:
                following = seen.pop()[0]  # these blocks were taken back: what stands there now is told
            latest = _number(contract, "latest")
            if latest[0] >= following:
                events = list(contract.events(following, latest[0]))
                following = latest[0] + 1
                seen.append(latest)
                yield from events
            look()
            failures = 0
        except Unreachable as error:
            failures += 1
            print(f"{error}; trying again", file=sys.stderr, flush=True)
        time.sleep(min(LONGEST, poll * 2.0**failures))


def words(event: Event) -> str:
    """What an event says."""
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
                self[name] = shortened(_printable(value))
        for name in ("stake", "amount"):
            if name in args:
                self[name] = ether(args[name])
        if "roots" in args:
            self["updates"] = plural(len(args["roots"]), "update")
        if "engine" in args:
            self["led_by"] = _led_by(args["engine"], args["committee"])
        if "reason" in args and args["reason"] in set(VoidReason):
            self["reason"] = VoidReason(args["reason"]).name.lower().replace("_", " ")

    def __missing__(self, name: str) -> str:
        return f"({name})"


def _led_by(engine: int, committee: int) -> str:
    """What decides who leads a round that opens."""
    known = Engine(engine).name.lower() if engine in set(Engine) else f"engine {engine}"
    return f"a committee of {committee.bit_count()}" if committee else known


def _printable(text: str) -> str:
    """Foreign text, as a terminal can show it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _number(contract: Contract, block: str) -> tuple[int, str]:
    found = contract.chain.request("eth_getBlockByNumber", block, False)
    return (-1, "") if found is None else (int(found["number"], 16), str(found["hash"]))


def _print(event: Event, as_json: bool) -> None:
    if not as_json:
        head = f"{moment(event.timestamp)}  block {event.block:<4}  "
        print_folded(head + words(event), len(head))
        return
    content = {
        "event": event.name,
        "args": dict(event.args),
        "block": event.block,
        "timestamp": event.timestamp,
        "transaction": event.transaction,
    }
    print(json.dumps(content, default=lambda value: "0x" + value.hex()), flush=True)
