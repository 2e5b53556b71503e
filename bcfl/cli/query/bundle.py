"""`bcfl bundle`: a whole training in one file, for whoever audits it without chain and store."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bcfl.cli.options import JsonOption
from bcfl.cli.output.printing import plural, print_fields, print_json
from bcfl.cli.query.target import QueryTarget
from bcfl.errors import ConfigError

if TYPE_CHECKING:
    from bcfl.federation.query import Query
    from bcfl.roles.common.keys import Keys


def bundle(
    target: QueryTarget,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")],
    with_keys: Annotated[
        bool,
        typer.Option(
            "--with-keys",
            metavar="",
            help="Put in all keys that are at hand: whoever has the file reads what they open.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a training into one file: logs, transactions, receipts, headers, models, updates, statements.

    What is sealed stays so, unless its keys are put in: those of a run, or those of --keys.
    """
    from bcfl.bundle.writer import write_bundle

    with target.open() as query:
        stated, keys = query.statements(), _keys(query) if with_keys else None
        summary = write_bundle(query.contract, query.store, output, query.first_block, stated, keys)
    unreachable = [item["miner"] for item in stated.unreachable]
    if as_json:
        content: dict[str, Any] = {
            "file": str(output),
            "bytes": summary.size_bytes,
            "contents": summary.contents,
        }
        if keys is not None:
            content["keys"] = {"updates": len(keys.updates), "models": len(keys.models)}
        place = {"block": summary.block, "block_hash": summary.block_hash}
        said = {"statements": summary.statements, "unreachable": unreachable}
        print_json(content | {"missing": summary.missing} | said | place)
        return
    block_hash = f"0x{summary.block_hash.hex()}"
    print_fields(
        [
            ("file", f"{output}, {plural(summary.size_bytes, 'byte')}"),
            ("contents", plural(summary.contents, "vector")),
            ("statements", _stated(summary.statements, len(stated.by_key), len(unreachable))),
            *(("missing", cid) for cid in summary.missing),
            *([] if keys is None else [("keys", _keys_text(keys))]),
            ("block", f"{summary.block}, {block_hash}"),
            ("check it", f"`bcfl audit {quote(str(output))} --block-hash {block_hash}`"),
        ]
    )


def _stated(written: int, known: int, unreachable: int) -> str:
    """Return in words how many statements are in the file, and how many may not be."""
    words = [f"{written:,}"]
    if known > written:
        words.append(f"of the latest rounds, {known - written:,} left out")
    if unreachable:
        words.append(f"{plural(unreachable, 'miner')} could not be asked")
    return "; ".join(words)


def _keys(query: Query) -> Keys:
    """Return all keys that are at hand, each proven by what it opens; raises ConfigError where none is."""
    from bcfl.federation.keyring import hold_rounds

    keys = hold_rounds(query.archive, query.history, sorted(query.history.rounds))
    if not keys.updates and not keys.models:
        raise ConfigError(
            "no key is at hand that opens anything: name files of `bcfl keys fetch` with --keys"
        )
    return keys


def _keys_text(keys: Keys) -> str:
    words = f"of {plural(len(keys.updates), 'update')} and {plural(len(keys.models), 'model')}"
    return f"{words}: whoever has the file reads them"
