"""`bcfl bundle`: a whole training in one file, for whoever audits it without chain and store."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from bcfl.cli.options import JsonOption
from bcfl.cli.output.printing import plural, print_fields, print_json
from bcfl.cli.query.target import QueryTarget


def bundle(
    target: QueryTarget,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")],
    as_json: JsonOption = False,
) -> None:
    """Write a training into one file: logs, transactions, receipts, headers, models, updates, statements."""
    from bcfl.bundle.writer import write_bundle

    with target.open() as query:
        stated = query.statements()
        summary = write_bundle(query.contract, query.store, output, query.first_block, stated)
    unreachable = [item["miner"] for item in stated.unreachable]
    if as_json:
        content = {"file": str(output), "bytes": summary.size_bytes, "contents": summary.contents}
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
