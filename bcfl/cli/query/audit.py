"""`bcfl audit`: a whole training checked by an outsider, one verdict for every round and one for all."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bcfl.cli.options import JsonOption, RunOption, RunsOption
from bcfl.cli.output.printing import Column, plural, print_fields, print_json, print_table
from bcfl.errors import ConfigError

if TYPE_CHECKING:
    from bcfl.ports import Store
    from bcfl.protocol.transcript import Transcript
    from bcfl.protocol.types import Layout
    from bcfl.roles.auditor.audit import Audit
    from bcfl.roles.auditor.verdict import RoundVerdict, Verdict

WRONG: Final = 1  # exit code
BELIEVED: Final = (
    "that the node tells all logs of the contract, and its storage, as they are on the chain",
    "that the code at the address is a federation's (`bcfl verify-contract`)",
)


@dataclass(frozen=True)
class Source:
    """What an audit looks at, and what it has to believe of it."""

    transcript: Transcript
    store: Store
    believed: tuple[str, ...]


def audit(
    bundle: Annotated[
        Path | None,
        typer.Argument(metavar="[BUNDLE]", show_default=False, help="A file that `bcfl bundle` has written."),
    ] = None,
    first: Annotated[
        int | None, typer.Option("--from", metavar="N", min=0, show_default=False, help="The first round.")
    ] = None,
    last: Annotated[
        int | None, typer.Option("--to", metavar="M", min=0, show_default=False, help="The last round.")
    ] = None,
    block_hash: Annotated[
        str | None,
        typer.Option(
            "--block-hash",
            metavar="HASH",
            show_default=False,
            help="With BUNDLE: the hash of its last block, from somebody you trust.",
        ),
    ] = None,
    run: RunOption = None,
    runs: RunsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check everything that can be checked of a training: by address, node and store, or by a bundle.

    Exit code 0 if all of it holds, 1 if something does not, 2 if it cannot be looked at.
    """
    with source(bundle, block_hash, run, runs) as found:
        verdict = judged(found, first, last, quiet=as_json)
    if as_json:
        print_json(view(found, verdict))
    else:
        _print(found, verdict)
    if not verdict.passed:
        raise typer.Exit(WRONG)


@contextmanager
def source(
    bundle: Path | None, block_hash: str | None, run: Path | None, runs: Path | None
) -> Iterator[Source]:
    """What the options name: a bundle, a run, or a deployed federation."""
    if bundle is not None:
        from bcfl.cli.query.bundle import unbundled

        if run is not None or runs is not None:
            raise ConfigError("a bundle is audited alone: leave --run and --runs out")
        with unbundled(bundle, block_hash) as found:
            yield found
        return
    if block_hash is not None:
        raise ConfigError("--block-hash is for a bundle: name the file")
    from bcfl.federation.query import opened
    from bcfl.ledger.transcript import gather

    with opened(run, runs) as client:
        yield Source(gather(client.contract, client.first_block), client.store, BELIEVED)


def judged(found: Source, first: int | None, last: int | None, *, quiet: bool) -> Verdict:
    """The verdict on the rounds `first` to `last`; raises ConfigError when there are none."""
    from bcfl.roles.auditor.audit import Audit
    from bcfl.roles.auditor.verdict import Verdict
    from bcfl.roles.common.archive import Archive

    layout = layout_of(found.transcript, found.store)
    made = Audit(found.transcript, Archive(found.store, layout, found.transcript.terms))
    known = made.rounds[-1]
    low, high = first or 0, known if last is None else last
    if not low <= high <= known:
        raise ConfigError(f"there are no rounds {low} to {high}: this federation has rounds 0 to {known}")
    verdict = Verdict()
    for each in _watched(made, low, high, quiet):
        verdict.rounds.append(each)
    return verdict


def layout_of(transcript: Transcript, store: Store) -> Layout:
    """The layout of the terms, from any model that the store holds; raises StoreError when it has none."""
    from bcfl.federation.layouts import stored_layout

    models = [event.args["cid"] for event in transcript.events if event.name in ("Genesis", "Finalized")]
    return stored_layout(store, transcript.terms, models)


def view(found: Source, verdict: Verdict) -> dict[str, Any]:
    """The verdict as JSON has it."""
    transcript, first = found.transcript, verdict.first
    return {
        "passed": verdict.passed,
        "contract": transcript.domain.contract,
        "chain_id": transcript.domain.chain_id,
        "block": transcript.storage_snapshot.block,
        "first": None if first is None else asdict(first),
        "rounds": [{**asdict(each), "passed": each.passed} for each in verdict.rounds],
        "believed": list(found.believed),
    }


def _watched(made: Audit, first: int, last: int, quiet: bool) -> Iterator[RoundVerdict]:
    """The verdicts as they come, behind a bar on a terminal."""
    verdicts = made.verdicts(first, last)
    if quiet or not sys.stderr.isatty():
        yield from verdicts
        return
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(verdicts, "auditing", last - first + 1, console=console, transient=True)


def _print(found: Source, verdict: Verdict) -> None:
    columns = [Column("round", True), Column("status"), Column("verdict"), Column("field"), Column("what")]
    rows: list[tuple[object, ...]] = []
    for each in verdict.rounds:
        head: tuple[object, ...] = (each.round, each.status)
        for finding in each.findings:
            rows.append((*head, "WRONG", finding.field, finding.message))
        if each.passed:
            rows.append((*head, "holds", "", "; ".join(each.notes)))
        if each.lazy:
            rows.append((*head, "lazy", "attestations", f"attested a wrong proposal: {', '.join(each.lazy)}"))
    print_table(columns, rows)
    print()
    transcript, first = found.transcript, verdict.first
    words = f"{plural(len(verdict.rounds), 'round')}, all of it holds"
    if first is not None:
        words = f"WRONG, first in round {first.round}: {first.field}: {first.message}"
    print_fields(
        [
            ("verdict", words),
            ("contract", f"{transcript.domain.contract} on chain {transcript.domain.chain_id}"),
            ("block", transcript.storage_snapshot.block),
            *(("believed", what) for what in found.believed),
        ]
    )
