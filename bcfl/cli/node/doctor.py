"""`bcfl doctor`: what stands in the way of taking part, and what to do about each."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bcfl.cli.groups import grouped
from bcfl.cli.node.options import FederationOptions, StoreOptions
from bcfl.cli.options import JsonOption
from bcfl.cli.output.printing import Column, plural, print_json, print_table
from bcfl.cli.output.terminal import say

if TYPE_CHECKING:
    from bcfl.federation.diagnosis import Finding

FAILURE: Final = 1  # exit code


@grouped
def doctor(
    federation: FederationOptions,
    stores: StoreOptions,
    journal: Annotated[
        Path,
        typer.Option("--journal", metavar="DIR", help="Where a party writes down what it must not forget."),
    ] = Path("journal"),
    as_json: JsonOption = False,
) -> None:
    """Check Python, packages, node, chain, contract, store, clock and disk; exit code 1 if one fails."""
    from bcfl.federation.diagnosis import FAILED, check_machine, check_network, check_store

    findings = [
        *check_machine(journal),
        *check_network(federation.network, federation.deployment, federation.folder),
        check_store(stores.store, stores.gateway),
    ]
    failed = sum(finding.status == FAILED for finding in findings)
    if as_json:
        print_json({"ok": not failed, "checks": [asdict(finding) for finding in findings]})
    else:
        _print(findings, failed)
    if failed:
        raise typer.Exit(FAILURE)


def register(parent: typer.Typer) -> None:
    """Add `bcfl doctor`."""
    parent.command("doctor")(doctor)


def _print(findings: list[Finding], failed: int) -> None:
    print_table(
        [Column("check"), Column("status"), Column("found")], [(f.check, f.status, f.found) for f in findings]
    )
    advice = [(f.check, f.advice) for f in findings if f.advice]
    if advice:
        print_table([Column("check"), Column("what to do")], advice, "What to do")
    say()
    say(f"{plural(failed, 'check')} failed" if failed else "nothing stands in the way")
