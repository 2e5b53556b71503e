"""`bcfl report`: a whole training as one document, from a run, a network or a bundle."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bcfl.cli.options import BlockHashOption, BundleArgument, JsonOption, optional
from bcfl.cli.output.files import write_file
from bcfl.cli.output.printing import plural, print_json
from bcfl.cli.output.terminal import say
from bcfl.cli.query.audit import open_source
from bcfl.cli.query.target import QueryTarget
from bcfl.errors import BundleError, ConfigError

if TYPE_CHECKING:
    from bcfl.federation.subject import Subject
    from bcfl.federation.views.costs import Prices
    from bcfl.federation.views.summary import Summary

FORMATS: Final = ("html", "md", "csv", "json")
PAGE: Final = Path("report.html")
CURRENCY: Final = re.compile(r"[^\W\d_]{1,8}|[$€£¥]", re.UNICODE)
MOST_PRICE: Final = Decimal(10**9)


@dataclass(frozen=True)
class PriceOptions:
    """What gas and ether cost, so that costs stand in money too."""

    gas_price: Annotated[
        str | None, optional("--gas-price", "WEI", "What a unit of gas costs, such as '2 gwei'.")
    ] = None
    coin_price: Annotated[
        str | None, optional("--coin-price", "X", "What one ether costs, in the currency.")
    ] = None
    currency: Annotated[str, typer.Option("--currency", metavar="NAME", help="Of --coin-price.")] = "USD"

    def load(self) -> Prices | None:
        """Return the prices; None without any. Raises ConfigError."""
        from bcfl.config.values import parse_wei
        from bcfl.federation.views.costs import Prices

        if not CURRENCY.fullmatch(self.currency):
            raise ConfigError(f"--currency {self.currency[:20]!r}: write a name such as EUR")
        if self.gas_price is None:
            if self.coin_price is not None:
                raise ConfigError("--coin-price needs --gas-price, such as --gas-price '2 gwei'")
            return None
        try:
            gas_price = parse_wei(self.gas_price)
        except ValueError as error:
            raise ConfigError(f"--gas-price {self.gas_price[:40]!r}: {error}") from None
        return Prices(gas_price, _price(self.coin_price), self.currency)


def report(
    target: QueryTarget,
    prices: PriceOptions,
    bundle: BundleArgument = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            show_default=False,
            help="The file to write; else report.html, or stdout for other formats.",
        ),
    ] = None,
    kind: Annotated[
        str | None, optional("--format", "NAME", "html, md, csv or json; else by the file's name, or html.")
    ] = None,
    block_hash: BlockHashOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write what happened in a training into one file: curves, verdicts, leaders, costs, how to verify it.

    The page needs no network and no server, and prints to PDF. A bundle is read without chain and store.
    """
    from bcfl.federation.views.summary import summary

    form = _format(kind, output)
    money = prices.load()
    path = output if output is not None or form != "html" else PAGE
    if output is None and path is not None and path.exists():
        raise ConfigError(f"{path} exists: name a file with -o")
    with open_subject(bundle, block_hash, target) as subject:
        view = summary(subject, money)
    text = _document(view, form)
    if path is None:
        say(text.replace("\r\n", "\n").rstrip("\n"))
        return
    data = text.encode()
    write_file(path, data)
    if as_json:
        print_json({"file": str(path), "format": form, "bytes": len(data), "totals": view["totals"]})
    else:
        say(f"{path}: {plural(view['totals']['rounds'], 'round')}, {plural(len(data), 'byte')}")


@contextmanager
def open_subject(bundle: Path | None, block_hash: str | None, target: QueryTarget) -> Iterator[Subject]:
    """Open what a report is about: a bundle, a run, or a deployed federation; raises ConfigError."""
    from bcfl.bundle.query import NONSENSE
    from bcfl.federation.query import LocalQuery, RemoteQuery
    from bcfl.federation.subject import of_bundle, of_deployment, of_run
    from bcfl.ledger.federation import SENSELESS

    if bundle is not None:
        with open_source(bundle, block_hash, target) as source:
            try:
                yield of_bundle(str(bundle), source)
            except SENSELESS as error:
                raise BundleError(f"{bundle}: {NONSENSE} ({type(error).__name__})") from error
        return
    if block_hash is not None:
        raise ConfigError("--block-hash is for a bundle: name the file")
    with target.open() as query:
        if isinstance(query, LocalQuery):
            yield of_run(query)
        elif isinstance(query, RemoteQuery):
            yield of_deployment(query)


def _format(kind: str | None, output: Path | None) -> str:
    """Return the format that is asked for, else that of the file's name, else html."""
    if kind is None:
        ending = "" if output is None else output.suffix[1:].lower()
        return {"markdown": "md", "htm": "html"}.get(ending, ending if ending in FORMATS else "html")
    if kind not in FORMATS:
        raise ConfigError(f"there is no format {kind[:20]!r}: take one of {', '.join(FORMATS)}")
    return kind


def _document(view: Summary, form: str) -> str:
    if form == "json":
        from bcfl.pages.texts import json_text

        return json_text(view, indent=1) + "\n"
    if form == "csv":
        from bcfl.federation.documents.table import to_csv

        return to_csv(view)
    if form == "md":
        from bcfl.federation.documents.markdown import to_markdown

        return to_markdown(view)
    from bcfl import __version__
    from bcfl.federation.documents.page import to_html

    return to_html(view, f"bcfl {__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC")


def _price(text: str | None) -> Decimal | None:
    """Return the price of a coin; raises ConfigError."""
    if text is None:
        return None
    try:
        price = Decimal(text) if len(text) <= 40 else Decimal("NaN")
    except InvalidOperation:
        price = Decimal("NaN")
    if not price.is_finite() or not 0 <= price <= MOST_PRICE:
        raise ConfigError(f"--coin-price {text[:40]!r} is not a price: write, for example, 3000")
    return price
