"""Write a summary as Markdown: what happened, rounds, leaders, parties, costs, mistakes, how to verify it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from bcfl.federation.documents.words import story, title, whose
from bcfl.federation.views.summary import Summary
from bcfl.pages.texts import clock_words, ether, format_time, metric_text, plain, plural, short, words

MOST_DEVICES: Final = 50
SPECIAL: Final = "\\`*_{}[]<>#|!&~"


def to_markdown(view: Summary) -> str:
    """Return a summary as Markdown; text that others chose means nothing in it."""
    lines = [f"# {escaped(title(view))}", "", *story_lines(view)]
    for heading, part in (
        ("Rounds", _rounds(view)),
        ("Leaders and miners", _miners(view)),
        ("Devices", _devices(view)),
        ("Costs", _costs(view)),
        ("Adversaries and mistakes", _mistakes(view)),
        ("How to verify it", _verify(view)),
    ):
        content = list(part)
        if content:
            lines += ["", f"## {heading}", "", *content]
    return "\n".join(lines) + "\n"


def escaped(text: object) -> str:
    """Return a text as Markdown shows it, on one line."""
    if text is None:
        return "–"
    words_ = " ".join(plain(str(text)).split())
    return "".join(f"\\{letter}" if letter in SPECIAL else letter for letter in words_)


def story_lines(view: Summary) -> list[str]:
    """Return what happened, and whose figures the table of rounds has."""
    lines = [f"{' '.join(map(escaped, story(view)))}", ""]
    if view["totals"]["left_out_rounds"]:
        count = plural(view["totals"]["left_out_rounds"], "earlier round")
        lines.append(f"The tables leave {count} out.")
    started, ended = format_time(view["started"]), format_time(view["ended"])
    lines.append(f"From {started or '–'} to {ended or '–'} {clock_words()}, by the chain's clock.")
    return lines


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]], right: int = 0) -> Iterator[str]:
    """Yield a table whose last `right` columns are numbers."""
    yield f"| {' | '.join(map(escaped, heads))} |"
    yield "|" + "---|" * (len(heads) - right) + "---:|" * right
    for row in rows:
        yield f"| {' | '.join(escaped(cell) for cell in row)} |"


def _rounds(view: Summary) -> Iterator[str]:
    names = list(
        dict.fromkeys(n for item in view["rounds"] if item["figure"] for n in item["figure"]["metrics"])
    )
    rows = []
    for item in view["rounds"]:
        figure = item["figure"]
        metrics = {} if figure is None else figure["metrics"]
        loss = None if figure is None else figure["loss"]
        status = item["status"] + (f" ({words(item['reason'])})" if item["reason"] else "")
        rows.append(
            [
                item["round"],
                status,
                short(item["leader"]),
                *(metric_text(name, metrics.get(name)) for name in names),
                metric_text("loss", loss),
                item["accepted"],
                item["rejected"],
                "–" if item["gas"] is None else f"{item['gas']:,}",
            ]
        )
    if rows:
        heads = ["round", "status", "leader", *names, "loss", "accepted", "rejected", "gas"]
        yield from _table(heads, rows, right=len(names) + 4)
    figures = [item["figure"] for item in view["rounds"] if item["figure"] is not None]
    if figures:
        yield ""
        yield f"Metrics and loss: {whose(figures[-1])}."


def _miners(view: Summary) -> Iterator[str]:
    heads = ["miner", "state", "stake", "share", "led", "skipped", "voted", "attested", "income", "penalties"]
    rows = [
        [
            short(item["miner"]) + (f" ({item['attack']})" if item["attack"] else ""),
            item["state"],
            ether(item["stake"]),
            f"{item['share']:.1%}",
            item["led"],
            item["skipped"],
            item["voted"],
            item["attested"],
            ether(item["income"]),
            ether(item["penalties"]),
        ]
        for item in view["miners"]
    ]
    if rows:
        yield from _table(heads, rows, right=8)


def _devices(view: Summary) -> Iterator[str]:
    rows = [
        [
            item["index"],
            short(item["device"]) + (f" ({item['attack']})" if item["attack"] else ""),
            item["submitted"],
            item["accepted"],
            item["rejected"],
            ether(item["income"]),
            *([] if item["epsilon"] is None else [f"{item['epsilon']:.3g}"]),
        ]
        for item in view["devices"][:MOST_DEVICES]
    ]
    if rows:
        heads = ["#", "device", "updates", "accepted", "rejected", "income"]
        heads += [] if view["privacy"] is None else ["epsilon"]
        yield from _table(heads, rows, right=len(heads) - 2)
    left_out = view["totals"]["devices"] - len(rows)
    if left_out:
        yield ""
        yield f"{plural(left_out, 'device')} more: `bcfl report --format json` has the first 1,000."


def _costs(view: Summary) -> Iterator[str]:
    costs = view["costs"]
    if not costs["known_rounds"]:
        yield "The receipts of no round are known here."
        return
    yield (
        f"- {costs['gas']:,} gas in {plural(costs['transactions'], 'transaction')} of "
        f"{plural(costs['known_rounds'], 'round')}: {costs['gas_per_round']:,} a round, "
        f"{costs['gas_per_participant']:,} a round and participant"
    )
    if costs["wei"] is not None and costs["gas_price"] is not None:
        yield f"- {ether(costs['wei'])} at {ether(costs['gas_price'])} for one gas"
    if costs["money"] is not None:
        yield (
            f"- {costs['money']} {escaped(costs['currency'])} at {costs['coin_price']} "
            f"{escaped(costs['currency'])} for one ether: {costs['money_per_round']} a round, "
            f"{costs['money_per_participant']} a round and participant"
        )


def _mistakes(view: Summary) -> Iterator[str]:
    mistakes = view["mistakes"]
    if mistakes is not None:
        rows = [[short(each["account"]), each["role"], each["attack"]] for each in mistakes["adversaries"]]
        yield from _table(["account", "role", "attack"], rows)
        yield ""
        hostile = plural(mistakes["hostile_updates"], "hostile update")
        honest = plural(mistakes["honest_updates"], "honest update")
        yield f"Accepted: {mistakes['false_accepts']:,} of {hostile}."
        yield f"Rejected: {mistakes['false_rejects']:,} of {honest}."


def _verify(view: Summary) -> Iterator[str]:
    verify = view["verify"]
    yield f"- contract `{verify['contract']}` on chain {verify['chain_id']}"
    yield f"- block {verify['block']:,}" + (f" `{verify['block_hash']}`" if verify["block_hash"] else "")
    yield f"- root of the last model `{verify['last_root']}`"
    for check in verify["checks"]:
        command = " ".join(plain(check["command"]).replace("`", "\ufffd").split())  # no quote of a shell's
        yield f"- {check['what']}: `{command}`"
