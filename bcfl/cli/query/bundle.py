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
    """Write a training into one file: logs, transactions, receipts, headers, every model and every update."""
    from bcfl.bundle.writer import write_bundle

    with target.open() as query:
        summary = write_bundle(query.contract, query.store, output, query.first_block)
    if as_json:
        content = {"file": str(output), "bytes": summary.size_bytes, "contents": summary.contents}
        place = {"block": summary.block, "block_hash": summary.block_hash}
        print_json(content | {"missing": summary.missing} | place)
        return
    block_hash = f"0x{summary.block_hash.hex()}"
    print_fields(
        [
            ("file", f"{output}, {plural(summary.size_bytes, 'byte')}"),
            ("contents", plural(summary.contents, "vector")),
            *(("missing", cid) for cid in summary.missing),
            ("block", f"{summary.block}, {block_hash}"),
            ("check it", f"`bcfl audit {quote(str(output))} --block-hash {block_hash}`"),
        ]
    )
