"""Say in sentences what happened in a training, for the head of every document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bcfl.pages.texts import duration, metric_text, plural, words

if TYPE_CHECKING:  # `bcfl round` needs a few words, not all that an audit needs
    from bcfl.federation.views.figures import FigureView
    from bcfl.federation.views.progress import RoundSummary
    from bcfl.federation.views.summary import Summary

WHOSE = {
    "owner": "the owner's test data",
    "miner": "the miners' held-out data",
    "device": "the devices' data",
}


def title(view: Summary) -> str:
    """Return what a document is called."""
    task = view["options"].get("task") or view["options"].get("flower")
    return f"{view['name']}: {task}" if task else view["name"]


def whose(figure: FigureView) -> str:
    """Return in words whose figure it is: the owner's, or the median of so many."""
    if figure["role"] == "owner":
        return "as the owner states, on its test data"
    return f"the median of {plural(figure['parties'], figure['role'])}, each on its own held-out data"


def last_figure(view: Summary) -> tuple[RoundSummary, FigureView] | None:
    """Return the last round of which anybody states how good its model is, and the figure."""
    for item in reversed(view["rounds"]):
        if item["figure"] is not None:
            return item, item["figure"]
    return None


def figure_words(figure: FigureView) -> str:
    """Return metrics and loss of a figure in words."""
    parts = [f"{name} {metric_text(name, value)}" for name, value in figure["metrics"].items()]
    if figure["loss"] is not None:
        parts.append(f"loss {metric_text('loss', figure['loss'])}")
    return ", ".join(parts)


def story(view: Summary) -> list[str]:
    """Return what happened, a sentence each."""
    return [
        *_rounds(view),
        *_learned(view),
        *_updates(view),
        *_leaders(view),
        *_privacy(view),
        *_attack(view),
    ]


def _privacy(view: Summary) -> Iterator[str]:
    from bcfl.federation.views.privacy import words_of

    if view["privacy"] is not None:
        yield f"Noise hides the data: of no device more is told than {words_of(view['privacy'])}."


def _rounds(view: Summary) -> Iterator[str]:
    totals = view["totals"]
    parties = f"{plural(totals['devices'], 'device')} and {plural(totals['miners'], 'miner')}"
    ended = totals["finalized"] + totals["void"]
    time = ""
    if view["started"] is not None and view["ended"] is not None:
        time = f" in {duration(view['ended'] - view['started'])} of the chain's time"
    yield f"{parties} went through {plural(ended, 'round')}{time}; {totals['finalized']} became final."
    reasons = Counter(item["reason"] for item in view["rounds"] if item["reason"] is not None)
    if reasons:
        named = ", ".join(f"{words(reason)} {count:,}" for reason, count in reasons.most_common())
        yield f"Void: {plural(totals['void'], 'round')} ({named})."


def _learned(view: Summary) -> Iterator[str]:
    last, missing = last_figure(view), len(view["unreachable"])
    if missing:
        yield f"{plural(missing, 'miner')} could not be asked what is stated of the models."
    if last is None:
        yield (
            "Nobody has stated how good the models are: "
            "bcfl evaluate --rounds says it of every round, on your own data."
        )
        return
    item, figure = last
    yield f"After round {item['round']} the model has {figure_words(figure)}, {whose(figure)}."


def _updates(view: Summary) -> Iterator[str]:
    totals = view["totals"]
    if totals["updates"]:
        reasons = Counter[str]()
        for item in view["rounds"]:
            reasons.update(item["reasons"])
        named = ", ".join(f"{words(reason)} {count:,}" for reason, count in reasons.most_common())
        yield (
            f"Of {plural(totals['updates'], 'update')} {totals['accepted']:,} were accepted and "
            f"{totals['rejected']:,} rejected{f' ({named})' if named else ''}."
        )


def _leaders(view: Summary) -> Iterator[str]:
    leaders = [item for item in view["miners"] if item["led"]]
    skipped = sum(item["skipped"] for item in view["miners"])
    penalties = sum(item["penalties"] for item in view["miners"])
    if leaders:
        counts = sorted({item["led"] for item in leaders})
        times = plural(counts[-1], "time") if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,} times"
        yield f"{plural(len(leaders), 'miner')} led, each {times}."
    if skipped:
        yield f"Leaders lost their turn {plural(skipped, 'time')}."
    if penalties:
        count = sum(1 for item in view["miners"] if item["penalties"])
        yield f"{plural(count, 'miner')} paid penalties."


def _attack(view: Summary) -> Iterator[str]:
    mistakes = view["mistakes"]
    if mistakes is None:
        return
    counts = Counter((item["attack"], item["role"]) for item in mistakes["adversaries"])
    named = ", ".join(f"{plural(count, role)} {attack}" for (attack, role), count in counts.items())
    hostile = plural(mistakes["hostile_updates"], "hostile update")
    honest = plural(mistakes["honest_updates"], "honest update")
    accepted, rejected = f"{mistakes['false_accepts']:,}", f"{mistakes['false_rejects']:,}"
    yield f"Adversaries: {named}. Accepted: {accepted} of {hostile}; rejected: {rejected} of {honest}."
