"""Make the pages of the contract: terms in words, functions that read, and its events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bcfl.errors import ConfigError, LedgerError
from bcfl.explorer.page import Page, Params, cut, number_in
from bcfl.explorer.terms import agreed_in_words, in_words
from bcfl.federation.query import Query
from bcfl.federation.views.call import READS, event_view
from bcfl.ledger.artifact import artifact

EVENTS: Final = 100  # a page
MOST_ARGUMENT: Final = 100  # letters
BALANCES: Final = ("pool", "staked", "owed")


def contract_page(query: Query, params: Params) -> Page:
    """Return terms, balances and functions; with `?function=`, what it returns."""
    abi = artifact()["abi"]
    functions = [entry for entry in abi if entry["type"] == "function"]
    reads = [_signature(entry) for entry in functions if entry["stateMutability"] in READS]
    acts = [_signature(entry) for entry in functions if entry["stateMutability"] not in READS]
    groups = in_words(query.terms)
    view = {
        "contract": query.contract.address,
        "chain_id": query.contract.chain.chain_id,
        "owner": _owner(query),
        "balances": {name: _read(query, name) for name in BALANCES},
        "terms": {term.field: getattr(query.terms, term.field) for _, terms in groups for term in terms},
        "agreement": {} if query.layout is None else dict(query.layout.agreement),
        "reads": reads,
        "acts": acts,
        "call": _call(query, params),
    }
    chosen = next((entry for entry in reads if entry["name"] == params.get("function")), None)
    groups += [] if query.layout is None else [agreed_in_words(query.layout)]
    extra = {"groups": groups, "chosen": chosen, "typed": dict(params)}
    return Page("contract.html", "Contract", view, "contract", extra)


def events_page(query: Query, params: Params) -> Page:
    """Return the events that the query string asks for, the latest first."""
    name, round_ = params.get("name", ""), number_in(params, "round", -1)
    first, party = number_in(params, "from", 0), params.get("party", "").strip().lower()[:MOST_ARGUMENT]
    chosen = [
        event
        for event in query.events
        if name in ("", event.name)
        and event.block >= first
        and (round_ < 0 or event.args.get("round") == round_)
        and (not party or any(party == str(value).lower() for value in event.args.values()))
    ]
    rows, part = cut(chosen[::-1], params, EVENTS)
    names = sorted({event.name for event in query.events})
    content = {"events": [event_view(event) for event in rows], **part.json}
    typed = {key: params[key] for key in ("name", "round", "from", "party") if params.get(key)}
    return Page("events.html", "Events", content, "events", {"part": part, "names": names, "typed": typed})


def _call(query: Query, params: Params) -> dict[str, Any] | None:
    """Call the function of the form; what refuses it is a part of the answer."""
    function = params.get("function", "")
    is_asked = "call" in params or any(
        entry["name"] == function and not entry["inputs"] and entry.get("stateMutability") in READS
        for entry in artifact()["abi"]
        if entry["type"] == "function"
    )
    if not function or not is_asked:
        return None
    texts = [params[f"arg{place}"].strip()[:MOST_ARGUMENT] for place in range(16) if f"arg{place}" in params]
    try:
        view = query.call(function[:MOST_ARGUMENT], *texts)
    except (ConfigError, LedgerError) as error:
        return {"function": function[:MOST_ARGUMENT], "arguments": texts, "result": None, "error": str(error)}
    return {**view, "error": None}


def _owner(query: Query) -> str | None:
    """Return who owns the contract: what it answers, or what its events say; None where neither does."""
    try:
        return str(query.contract.call("owner"))
    except LedgerError:
        return query.history.owner or None


def _read(query: Query, function: str) -> int | None:
    try:
        return int(query.contract.call(function))
    except LedgerError:
        return None


def _signature(entry: Mapping[str, Any]) -> dict[str, Any]:
    def kinds(parameters: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
        return [{"name": each.get("name", ""), "type": each["type"]} for each in parameters]

    return {"name": entry["name"], "inputs": kinds(entry["inputs"]), "outputs": kinds(entry["outputs"])}
