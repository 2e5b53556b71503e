"""`bcfl keys`: what opens the sealed updates and models of a confidential federation, in files.

No key is an option of a command, and none is printed but the public part of an auditor's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bcfl.cli.groups import grouped
from bcfl.cli.node.options import FederationOptions, SignerOptions, StoreOptions
from bcfl.cli.options import JsonOption
from bcfl.cli.output.printing import Column, plural, print_fields, print_json, print_table
from bcfl.errors import ConfigError

if TYPE_CHECKING:
    from bcfl.federation.keyring import RoundHolding

app = typer.Typer(help="Keys of sealed updates and models.", no_args_is_help=True)


@app.command("new")
def new(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file to write; it must not be there yet.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Make an auditor's key: the secret goes to FILE, the public part is printed for `bcfl disclose`."""
    from bcfl.federation.keyfile import new_secret
    from bcfl.protocol.readers import announcement

    key = announcement(new_secret(file))
    if as_json:
        print_json({"file": str(file), "key": key})
    else:
        print_fields([("file", f"{file}, which nobody else should have"), ("key", key)])


@app.command("fetch")
@grouped
def fetch(
    federation: FederationOptions,
    signer: SignerOptions,
    stores: StoreOptions,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The key file to write, or to add to.")
    ],
    rounds: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ROUND]...", show_default=False, help="These rounds; else all."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the keys that an account can have: of updates as a voter of their round, of models as a member.

    A voter opens what was sealed for it, and asks other miners for what does not open.
    """
    from bcfl.federation.keyfile import save
    from bcfl.federation.keyring import hold_round
    from bcfl.federation.query import RemoteQuery
    from bcfl.federation.reading_account import account_archive
    from bcfl.roles.common.keys import Keys

    holdings, keys = [], Keys()
    with federation.connect() as client:
        query = RemoteQuery(client, stores.open())
        begun = [number for number, round_ in query.history.rounds.items() if round_.submissions]
        numbers = sorted({query.find_round(text).number for text in rounds} if rounds else begun)
        archive = account_archive(query, signer.unlock(client.network))
        for number in numbers:
            holdings.append(hold_round(archive, query.history, number))
            keys.updates.update(holdings[-1].keys.updates)
            keys.models.update(holdings[-1].keys.models)
        all_keys = save(output, keys, query.ledger.domain) if keys.updates or keys.models else None
    if as_json:
        print_json({"file": None if all_keys is None else str(output), "rounds": list(map(_view, holdings))})
    else:
        columns = [Column("round", True), Column("updates"), Column("model"), Column("not opened")]
        print_table(columns, list(map(_row, holdings)))
    if all_keys is None:
        raise ConfigError(
            "no key could be had: take the account of a voter or of a member, and see that miners are reached"
        )
    if not as_json:
        words = f"{plural(len(all_keys.updates), 'update')} and {plural(len(all_keys.models), 'model')}"
        print_fields([("file", f"{output}, with the keys of {words}")])


@app.command("rotate")
@grouped
def rotate(federation: FederationOptions, signer: SignerOptions, as_json: JsonOption = False) -> None:
    """Announce a miner's next key to read with; later rounds are sealed for it.

    The miner need not restart, and still reads what was sealed for the keys before.
    """
    from bcfl.federation.registration import rotate_key
    from bcfl.protocol.readers import announcement

    with federation.connect() as client:
        account = signer.unlock(client.network)
        key = announcement(rotate_key(client, account).public)
    if as_json:
        print_json({"miner": account.address, "key": key})
    else:
        print_fields([("miner", account.address), ("key", f"{key}, for rounds that open from now on")])


def register(parent: typer.Typer) -> None:
    """Add `bcfl keys`."""
    parent.add_typer(app, name="keys")


def _view(holding: RoundHolding) -> dict[str, Any]:
    return {
        "round": holding.round,
        "updates": holding.opened,
        "revealed": holding.revealed,
        "model": holding.model,
        "voter": holding.is_reader,
        "reason": _reason(holding) or None,
    }


def _row(holding: RoundHolding) -> tuple[object, ...]:
    return (holding.round, f"{holding.opened} of {holding.revealed}", holding.model, _reason(holding))


def _reason(holding: RoundHolding) -> str:
    """Say why something of a round stays sealed; "" where nothing does."""
    reasons = []
    if holding.opened < holding.revealed:
        missing = plural(holding.revealed - holding.opened, "update")
        is_voter = "no key that could be had opens them" if holding.is_reader else "no voter of this round"
        reasons.append(f"{missing}: {is_voter}")
    if holding.model is False:
        reasons.append("the model: no miner gave its key")
    return "; ".join(reasons)
