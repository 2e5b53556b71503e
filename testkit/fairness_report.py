"""Say as rows what the fairness bench has measured: values beside levels and pay, and what skew costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import mean
from typing import Any

import numpy as np

from testkit.fairness import PARTIES, Coalition, Mixture, coalitions, shapley, spearman
from testkit.fairness_skew import LAST
from testkit.robustness_cases import FEDAVG, Case

Results = dict[str, dict[str, Any]]
Row = dict[str, Any]
BOUNDS = (0.6, 1.4)  # fair shares that an honest device is to earn


def worth_key(mixture: Mixture, members: Coalition) -> str:
    """Return the key of a coalition's result."""
    return f"worth|{mixture.key}|{''.join(map(str, sorted(members)))}"


def given_key(mixture: Mixture) -> str:
    """Return the key of the result of playing the protocol."""
    return f"given|{mixture.key}"


def skew_key(case: Case) -> str:
    """Return the key of the result of a federation with skewed data."""
    return f"skew|{case.key}"


def correlations(mixtures: Iterable[Mixture], results: Results) -> list[Row]:
    """Return rank correlations with Shapley values, one row a federation all of whose results are there."""
    rows = []
    for mixture in mixtures:
        parts = _value_parts(mixture, results)
        if parts is None:
            continue
        value = parts["Shapley"]
        row: Row = {"task": mixture.task, "seed": mixture.seed}
        row |= {
            name: round(spearman(parts[name], value), 2)
            for name in ("level", "merit", "gain", "pay", "claim")
        }
        row["level, by loss"] = round(spearman(parts["level"], parts["Shapley, loss"]), 2)
        row |= {
            f"last by {name}": last_two(parts[name]) for name in ("Shapley", "level", "merit", "gain", "pay")
        }
        row["accuracy"] = round(100 * results[given_key(mixture)]["accuracy"][-1], 1)
        row["FedAvg"] = round(
            100 * results[worth_key(mixture, frozenset(range(len(PARTIES))))]["accuracy"], 1
        )
        rows.append(row)
    return rows


def last_two(values: Sequence[float]) -> str:
    """Return the names of the two parties with the lowest values, the lowest first."""
    return ", ".join(PARTIES[place].name for place in np.argsort(values, kind="stable")[:2])


def parties(mixtures: Iterable[Mixture], results: Results) -> list[Row]:
    """Return what each party is worth and given, in the mean over seeds, one row a task and party."""
    by_task: dict[str, list[dict[str, list[float]]]] = {}
    for mixture in mixtures:
        if (parts := _value_parts(mixture, results)) is not None:
            by_task.setdefault(mixture.task, []).append(parts)
    return [
        {"task": task, "party": party.name, "seeds": len(each)}
        | {name: round(mean(parts[name][place] for parts in each), 3) for name in each[0]}
        for task, each in by_task.items()
        for place, party in enumerate(PARTIES)
    ]


def _value_parts(mixture: Mixture, results: Results) -> dict[str, list[float]] | None:
    """Return by name what each party has: value, mean level, merit and gain, shares of pay and claims."""
    keys = {some: worth_key(mixture, some) for some in coalitions(len(PARTIES))}
    given = results.get(given_key(mixture))
    if given is None or not all(key in results for key in keys.values()):
        return None
    by_accuracy = shapley({some: results[key]["accuracy"] for some, key in keys.items()}, len(PARTIES))
    by_loss = shapley({some: -results[key]["loss"] for some, key in keys.items()}, len(PARTIES))
    return {
        "Shapley": _plain(by_accuracy / by_accuracy.sum()),
        "Shapley, loss": _plain(by_loss / by_loss.sum()),
        "level": _plain(np.mean(given["levels"], axis=0)),
        "merit": _plain(np.mean(given["merits"], axis=0)),
        "gain": _plain(np.mean(given["gains"], axis=0)),
        "pay": given["pay"],
        "claim": given["fair"],
    }


def skewed(cases: Iterable[Case], results: Results) -> list[Row]:
    """Return what skewed data cost with the rules and without, one row a size and partition, over seeds.

    Means without the rules are empty until all seeds with them have been played without, too.
    """
    pairs: dict[tuple[int, str], list[tuple[Row, Row | None]]] = {}
    for case in cases:
        if case.pipeline != FEDAVG and (result := results.get(skew_key(case))) is not None:
            plain = results.get(skew_key(replace(case, pipeline=FEDAVG)))
            pairs.setdefault((case.devices, case.partition), []).append((result, plain))
    return [
        {"devices": devices, "data": partition, "seeds": len(each)} | _skewed_row(each)
        for (devices, partition), each in pairs.items()
    ]


def _skewed_row(pairs: Sequence[tuple[Row, Row | None]]) -> Row:
    ours, plain = [pair[0] for pair in pairs], [pair[1] for pair in pairs if pair[1] is not None]
    both = {"ours": ours, "nobody judged": plain if len(plain) == len(ours) else []}
    row: Row = {}
    for what, measure in {"accuracy": _accuracy, "rarest class": _rarest, "worst class": _worst}.items():
        for name, each in both.items():
            row[f"{what}, {name}"] = round(100 * mean(map(measure, each)), 1) if each else ""
    ratios = [ratio for result in ours for ratio in result["ratios"]]
    heads = [
        ratio * share * len(result["fair"])
        for result in ours
        for ratio, share in zip(result["ratios"], result["fair"], strict=True)
    ]
    outside = sum(not BOUNDS[0] <= ratio <= BOUNDS[1] for ratio in ratios)
    return row | {
        "rejected": f"{sum(each['rejected'] for each in ours)} of {sum(each['sent'] for each in ours)}",
        "pay, fair shares": f"{min(ratios):.2f} to {max(ratios):.2f}",
        "outside 0.6 to 1.4": f"{outside} of {len(ratios)}",
        "pay of the rarest class": round(mean(map(_rare_pay, ours)), 2),
        "pay a head": f"{min(heads):.2f} to {max(heads):.2f}",
    }


def _accuracy(result: Row) -> float:
    return float(mean(result["accuracy"][-LAST:]))


def _rarest(result: Row) -> float:
    return float(result["recalls"][result["rarest"]])


def _worst(result: Row) -> float:
    return float(min(result["recalls"]))


def _rare_pay(result: Row) -> float:
    """Return what counted samples of the rarest class earn, in fair shares."""
    parts = np.asarray(result["fair"]) * np.asarray(result["rarest_of"])
    return float(parts @ np.asarray(result["ratios"]) / parts.sum())


def _plain(values: Iterable[float]) -> list[float]:
    return [float(value) for value in values]


def table(rows: Sequence[Row]) -> str:
    """Return rows with the same keys as a table in Markdown; nothing of no rows."""
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [[str(value) for value in row.values()] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
