"""`bcfl audit`: a whole training checked by an outsider, one verdict for every round and one for all."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bcfl.cli.options import BlockHashOption, BundleArgument, JsonOption
from bcfl.cli.output.printing import Column, plural, print_fields, print_json, print_table
from bcfl.cli.output.terminal import say
from bcfl.cli.query.target import QueryTarget
from bcfl.errors import ConfigError

if TYPE_CHECKING:
    from bcfl.federation.audits import AuditSource
    from bcfl.federation.statements import StatementTally
    from bcfl.roles.auditor.verdict import RoundVerdict, Unopened, Verdict

WRONG: Final = 1  # exit code


def audit(
    target: QueryTarget,
    bundle: BundleArgument = None,
    first: Annotated[
        int | None, typer.Option("--from", metavar="N", min=0, show_default=False, help="The first round.")
    ] = None,
    last: Annotated[
        int | None, typer.Option("--to", metavar="M", min=0, show_default=False, help="The last round.")
    ] = None,
    block_hash: BlockHashOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check everything that can be checked of a training: by address, node and store, or by a bundle.

    Exit code 0 if all of it holds, 1 if something does not, 2 if it cannot be looked at.
    """
    with open_source(bundle, block_hash, target) as source:
        verdict = _judge(source, first, last, quiet=as_json)
        tally = _tally(source)
    if as_json:
        print_json(view(source, verdict, tally))
    else:
        _print(source, verdict, tally)
    if not verdict.passed:
        raise typer.Exit(WRONG)


@contextmanager
def open_source(bundle: Path | None, block_hash: str | None, target: QueryTarget) -> Iterator[AuditSource]:
    """Open what the options name: a bundle, a run, or a deployed federation."""
    if bundle is not None:
        from bcfl.bundle.reader import open_bundle

        if target.run is not None or target.runs is not None:
            raise ConfigError("a bundle is audited alone: leave --run and --runs out")
        with open_bundle(bundle, block_hash) as source:
            yield replace(source, keyring=target.adding_to(source.keyring, source.transcript.domain))
        return
    if block_hash is not None:
        raise ConfigError("--block-hash is for a bundle: name the file")
    from bcfl.federation.audits import source_of

    with target.open() as query:
        yield source_of(query.contract, query.store, query.first_block, query.keyring)


def view(source: AuditSource, verdict: Verdict, tally: StatementTally | None) -> dict[str, Any]:
    """Return the verdict as JSON has it; `tally` is of the statements that a bundle carries."""
    transcript, first = source.transcript, verdict.first
    return {
        "passed": verdict.passed,
        "contract": transcript.domain.contract,
        "chain_id": transcript.domain.chain_id,
        "block": transcript.storage_snapshot.block,
        "first": None if first is None else asdict(first),
        "rounds": [{**asdict(round_), "passed": round_.passed} for round_ in verdict.rounds],
        "statements": tally,
        "sealed": asdict(verdict.sealed),
        "believed": list(source.assumptions),
    }


def _judge(source: AuditSource, first: int | None, last: int | None, *, quiet: bool) -> Verdict:
    """Judge the rounds `first` to `last`, behind a bar on a terminal."""
    from bcfl.federation.audits import judge

    if quiet or not sys.stderr.isatty():
        return judge(source, first, last)
    from rich.console import Console
    from rich.progress import track

    def bar(verdicts: Iterator[RoundVerdict], count: int) -> Iterable[RoundVerdict]:
        return track(verdicts, "auditing", count, console=Console(stderr=True), transient=True)

    return judge(source, first, last, bar)


def _print(source: AuditSource, verdict: Verdict, tally: StatementTally | None) -> None:
    columns = [Column("round", True), Column("status"), Column("verdict"), Column("field"), Column("what")]
    print_table(columns, [row for round_ in verdict.rounds for row in _rows(round_)])
    say()
    transcript, first, sealed = source.transcript, verdict.first, verdict.sealed
    words = (
        f"{plural(len(verdict.rounds), 'round')}, all {'that could be checked' if sealed else 'of it'} holds"
    )
    if first is not None:
        words = f"WRONG, first in round {first.round}: {first.field}: {first.message}"
    print_fields(
        [
            ("verdict", words),
            ("contract", f"{transcript.domain.contract} on chain {transcript.domain.chain_id}"),
            ("block", transcript.storage_snapshot.block),
            *([] if tally is None else [("statements", _stated(tally))]),
            *([("not opened", _sealed_text(sealed))] if sealed else []),
            *(("believed", assumption) for assumption in source.assumptions),
        ]
    )


def _tally(source: AuditSource) -> StatementTally | None:
    from bcfl.federation.subject import tally_of

    return tally_of(source)


def _stated(tally: StatementTally) -> str:
    """Return in words who has signed what a bundle carries of metrics; if it is true, nobody can tell."""
    missing = f", {tally['missing']:,} not in the file" if tally["missing"] else ""
    return f"{tally['members']:,} signed by members of right models, {tally['others']:,} not{missing}"


def _sealed_text(sealed: Unopened) -> str:
    """Say what no key was here for, and how to get one."""
    counts = ((sealed.updates, "update"), (sealed.models, "model"))
    parts = [plural(count, noun) for count, noun in counts if count] or ["what a round starts from"]
    words = f"{' and '.join(parts)}; {plural(sealed.sums, 'sum')} not recomputed"
    return f"{words}: --keys FILE opens them, of `bcfl keys fetch` or `bcfl disclose`"


def _rows(verdict: RoundVerdict) -> Iterator[tuple[object, ...]]:
    """Yield the rows of one round: its findings, or that it holds, and who was lazy."""
    head: tuple[object, ...] = (verdict.round, verdict.status)
    for finding in verdict.findings:
        yield (*head, "WRONG", finding.field, finding.message)
    if verdict.passed:
        yield (*head, "holds", "", "; ".join(verdict.notes))
    elif verdict.sealed:
        yield (*head, "sealed", "", verdict.sealed.words)
    if verdict.lazy:
        yield (*head, "lazy", "attestations", f"attested a wrong proposal: {', '.join(verdict.lazy)}")
