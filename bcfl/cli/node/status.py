"""`bcfl status`: in one screen what a federation waits for, from whom, until when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bcfl.cli.node.joining import FOLDER, DeploymentOption, FolderOption, NetworkOption, joined
from bcfl.cli.options import JsonOption
from bcfl.cli.output.printing import Column, ether, moment, plural, print_fields, print_table, shortened, show
from bcfl.protocol.types import Engine, Mode, Phase

if TYPE_CHECKING:
    from bcfl.federation.node import FederationClient
    from bcfl.protocol.rounds import History, Round
    from bcfl.protocol.types import Clock

NEVER: Final = 2**36 - 1  # the deadline of a phase that time does not end
NAMED: Final = 3
# Of whom a phase waits, and for what.
WAITS: Final = {
    Phase.COMMIT: "to commit to updates",
    Phase.REVEAL: "to reveal updates",
    Phase.VOTE: "to commit to verdicts",
    Phase.UNVEIL: "to unveil verdicts",
    Phase.TALLY: "to count the votes",
    Phase.ELECT: "to win the race",
    Phase.PROPOSE: "to propose the new model",
    Phase.ATTEST: "to attest the new model",
    Phase.IDLE: "to open the first round",
    Phase.VOID: "to open the next round",
}
TO_END: Final = "to end"  # when all have done their part and its time is not over
LEFT_OUT: Final = "to commit alone, if left out"  # by their miners, which have all committed


def status(
    network: NetworkOption = None,
    deployment: DeploymentOption = "federation",
    folder: FolderOption = FOLDER,
    address: Annotated[
        bool, typer.Option("--address", metavar="", help="Print the contract's address alone, for scripts.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """What a federation waits for, from whom, until when; and how it went so far."""
    with joined(network, deployment, folder) as client:
        content = {} if address else standing(client)
    if address:
        print(client.address)
    else:
        show(content, as_json, _print)


def register(parent: typer.Typer) -> None:
    """Add `bcfl status`."""
    parent.command("status")(status)


def standing(client: FederationClient) -> dict[str, Any]:
    """Where a federation stands now."""
    ledger = client.ledger
    history, clock, now = ledger.history(), ledger.clock(), ledger.now()
    current = history.current
    deadline = None if clock.deadline >= NEVER or clock.phase in (Phase.IDLE, Phase.VOID) else clock.deadline
    last, awaited = history.head, _awaited(history, clock)
    done = not awaited and deadline is not None and now < deadline
    alone = clock.phase is Phase.COMMIT and {item["role"] for item in awaited} == {"device"}
    return {
        "deployment": client.name,
        "contract": client.address,
        "network": client.network.name,
        "chain_id": client.chain.chain_id,
        "now": now,
        "round": 0 if current is None else current.number,
        "phase": clock.phase.name.lower(),
        "waits": LEFT_OUT if alone else TO_END if done else WAITS[clock.phase],
        "awaited": awaited,
        "deadline": deadline,
        "overdue": deadline is not None and now >= deadline,
        "updates": 0 if current is None else len(current.submissions),
        "mode": Mode(ledger.terms.mode).name.lower(),
        "engine": Engine(ledger.terms.engine if current is None else current.engine).name.lower(),
        "committee": [] if current is None else list(current.committee),
        "leader": None if current is None else current.leader,
        "devices": len(history.devices if current is None else history.expected_devices()),
        "miners": [_miner(history, account, current) for account in history.miners],
        "blocks": len(history.blocks) - 1,
        "void": sum(found.void is not None for found in history.rounds.values()),
        "last": {"round": last.round, "root": last.root, "leader": last.leader},
    }


def standing_line(content: dict[str, Any]) -> str:
    """The same in one line."""
    left = "" if content["deadline"] is None else f", {max(0, content['deadline'] - content['now'])} s left"
    return f"round {content['round']} · waits for {_wait(content)}{left}"


def _awaited(history: History, clock: Clock) -> list[dict[str, str]]:
    """Who may still act in this phase."""
    current = history.current
    if clock.phase is Phase.IDLE or current is None:
        return [{"role": "owner", "account": ""}]
    if clock.phase is Phase.PROPOSE and current.leader is not None:
        return [{"role": "leader", "account": current.leader}]
    missing = clock.expected & ~clock.acted
    miners = [member.account for member in history.miners.values() if missing >> member.index & 1]
    if clock.phase is Phase.ATTEST and current.proposals:
        attested = current.proposals[-1].attested
        miners = [vote.voter.account for vote in current.votes if vote.voter.account not in attested]
    found = [{"role": "miner", "account": account} for account in miners]
    if clock.phase in (Phase.COMMIT, Phase.REVEAL):
        shown = {item.update.device for item in current.submissions}
        devices = [history.devices[d] for d in history.expected_devices() if d not in shown]
        found += [{"role": "device", "account": account} for account in devices]
    return found


def _miner(history: History, account: str, current: Round | None) -> dict[str, Any]:
    member = history.miners[account]
    return {
        "miner": account,
        "stake": member.stake,
        "weight": member.weight,
        "endpoint": history.endpoints.get(account),
        "left": bool(member.exit_round),
        "devices": sum(history.bound(device) == account for device in history.expected_devices()),
        "committed": current is not None and account in current.commits,
        "voted": current is not None and account in current.vote_commits,
    }


def _wait(content: dict[str, Any]) -> str:
    """Who is awaited, by role, and for what."""
    awaited, words = content["awaited"], []
    for role in dict.fromkeys(item["role"] for item in awaited):
        accounts = [item["account"] for item in awaited if item["role"] == role]
        if len(accounts) == 1:
            words.append(f"the {role} {shortened(accounts[0])}".strip())
        else:
            words.append(plural(len(accounts), role))
    nobody = "the phase" if content["waits"] == TO_END else "anybody"
    return f"{' and '.join(words) or nobody} {content['waits']}"


def _print(content: dict[str, Any]) -> None:
    until = "as soon as somebody does it"
    if content["deadline"] is not None:
        left = content["deadline"] - content["now"]
        rest = f"{left} s left" if left > 0 else "over: anybody may go on"
        until = f"{moment(content['deadline'])} UTC ({rest})"
    accounts = [item["account"] for item in content["awaited"] if item["account"]]
    names = ", ".join(map(shortened, accounts[:NAMED]))
    names += f" and {len(accounts) - NAMED} more" if len(accounts) > NAMED else ""
    phase = f", phase {content['phase']}" if content["round"] else ""
    updates = f"{content['updates']} of {plural(content['devices'], 'device')}"
    fields = [
        ("federation", f"{content['deployment']} on {content['network']}, chain {content['chain_id']}"),
        ("contract", content["contract"]),
        ("round", f"{content['round']}{phase}" if content["round"] else "none yet"),
        ("waits for", _wait(content)),
        ("by name", names if len(accounts) > 1 else None),
        ("until", until),
        ("updates", updates if content["round"] else None),
        ("mode", content["mode"]),
        ("engine", content["engine"]),
        ("committee", ", ".join(content["committee"]) or None),
        ("leader", content["leader"]),
        ("so far", f"{plural(content['blocks'], 'block')}, {plural(content['void'], 'void round')}"),
    ]
    print_fields([(name, value) for name, value in fields if value is not None])
    rows = [
        (m["miner"], ether(m["stake"]), m["weight"], m["devices"], m["committed"], m["voted"], m["endpoint"])
        for m in content["miners"]
    ]
    if rows:
        columns = [Column("miner"), Column("stake", True), Column("weight", True), Column("devices", True)]
        columns += [Column("batch"), Column("votes"), Column("endpoint")]
        print_table(columns, rows, "Miners")
