"""Make the pages of the parties: all of them, a miner, a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from bcfl.errors import ConfigError
from bcfl.explorer.facts import Cache, Statements, digests_of, summary_of
from bcfl.explorer.page import NotFound, Page, Params, cut
from bcfl.explorer.views.readings import readings, scale_of
from bcfl.federation.query import Query
from bcfl.federation.views.member import device_view, miner_view
from bcfl.pages.charts import Cells, code
from bcfl.pages.texts import short

Name = TypeVar("Name", int, str)


def parties_page(query: Query, cache: Cache, statements: Statements, params: Params) -> Page:
    """Return the list of miners and devices."""
    view = summary_of(query, cache, statements)
    rows, part = cut(view["devices"], params)
    content = {
        "miners": view["miners"],
        "devices": rows,
        **part.json,
        "left_out": view["totals"]["left_out_devices"],
    }
    extra = {"part": part, "settled": view["mistakes"] is not None}
    return Page("parties.html", "Parties", content, "parties", extra)


def device_page(query: Query, cache: Cache, statements: Statements, name: str, params: Params) -> Page:
    """Return the page of a device; raises NotFound."""
    index = _found(lambda: query.find_device(name))
    unclaimed = _unclaimed(query, cache, query.history.devices[index])
    view = device_view(query, index, query.journals, unclaimed=unclaimed)
    rows, part = cut(view["rounds"][::-1], params)
    known = summary_of(query, cache, statements)["devices"]
    entry = known[view["index"]] if view["index"] < len(known) else None
    letters = "".join(
        code(item.get("verdict"), item.get("level")) if item["submitted"] else "." for item in view["rounds"]
    )
    record = Cells(
        "Its updates by round",
        [f"{view['index']}  {short(view['device'])}"],
        [item["round"] for item in view["rounds"]],
        [letters],
        column_href="/rounds/{}",
    )
    scale = scale_of(item.get("findings", {}) for item in rows)
    why = {item["round"]: readings(item.get("findings", {}), scale) for item in rows}
    extra = {"part": part, "rows": rows, "record": record, "entry": entry, "why": why}
    return Page("device.html", f"Device {view['index']}", view, "parties", extra)


def miner_page(query: Query, cache: Cache, statements: Statements, name: str, params: Params) -> Page:
    """Return the page of a miner; raises NotFound."""
    account = _found(lambda: query.find_miner(name))
    view = miner_view(query, account, unclaimed=_unclaimed(query, cache, account))
    rows, part = cut(view["rounds"][::-1], params)
    known = summary_of(query, cache, statements)["miners"]
    entry = next((item for item in known if item["miner"] == view["miner"]), None)
    extra = {"part": part, "rows": rows, "entry": entry}
    return Page("miner.html", f"Miner {view['index']}", view, "parties", extra)


def _unclaimed(query: Query, cache: Cache, account: str) -> int:
    """Return what an account has earned and not claimed, in wei."""
    history = query.history
    digests = digests_of(cache)
    digests.follow(history, query.events, query.terms)
    return max(0, digests.incomes[account] - history.credited.get(account, 0))


def _found(find: Callable[[], Name]) -> Name:
    try:
        return find()
    except ConfigError as error:
        raise NotFound(str(error)) from None
