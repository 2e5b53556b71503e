"""`bcfl disclose`: one round opened for one auditor, by a file that only its key opens."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bcfl.cli.node.options import SignerOptions
from bcfl.cli.options import JsonOption, round_argument
from bcfl.cli.output.printing import print_fields, print_json
from bcfl.cli.query.target import QueryTarget
from bcfl.errors import ConfigError

if TYPE_CHECKING:
    from bcfl.federation.query import Query
    from bcfl.roles.common.archive import Archive

ENTROPY_BYTES: Final = 32


def disclose(
    target: QueryTarget,
    signer: SignerOptions,
    number: Annotated[str, round_argument("ROUND")],
    to: Annotated[
        str, typer.Option("--to", metavar="KEY", help="The auditor's key, as `bcfl keys new` prints it.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")],
    as_json: JsonOption = False,
) -> None:
    """Give one auditor the keys of one round: of its updates, of its model, and of the model before.

    The keys of a run follow from its seed. Of a deployed federation they are those of the account, which
    has to be a voter of the round, and those of --keys.
    """
    from bcfl.federation.keyfile import parse_public, seal
    from bcfl.federation.keyring import hold_for_audit
    from bcfl.folders import write_private

    public = parse_public(to)
    with target.open() as query:
        round_ = query.find_round(number).number
        holding, parent = hold_for_audit(_archive(query, target, signer), query.history, round_)
        domain = query.ledger.domain
    if not holding.opened:
        raise ConfigError(
            f"no key is at hand that opens an update of round {round_}: "
            "take the account of one of its voters, or key files with --keys"
        )
    write_private(output, seal(holding.keys, domain, round_, public, os.urandom(ENTROPY_BYTES)))
    if as_json:
        counts = {"updates": holding.opened, "revealed": holding.revealed}
        models = {"model": holding.model, "model_before": parent}
        print_json({"file": str(output), "round": round_, "to": to, **counts, **models})
        return
    print_fields(
        [
            ("file", f"{output}, which only the owner of {to} can read"),
            ("round", round_),
            ("updates", f"{holding.opened} of {holding.revealed}"),
            ("model", _text(holding.model)),
            ("model before", _text(parent)),
        ]
    )


def _archive(query: Query, target: QueryTarget, signer: SignerOptions) -> Archive:
    """Return the vectors as whoever discloses can read them; raises ConfigError where no account signs."""
    from bcfl.federation.query import RemoteQuery
    from bcfl.federation.reading_account import account_archive

    if isinstance(query, RemoteQuery) and (signer.account is not None or not target.keys):
        return account_archive(query, signer.unlock(query.client.network))
    return query.archive


def _text(has_key: bool | None) -> str:
    return {None: "public", True: "its key is in the file", False: "its key is not at hand"}[has_key]
