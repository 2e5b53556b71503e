"""Render what the robustness bench has measured, as a table in Markdown and as a picture in SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean, stdev
from typing import Any
from xml.sax.saxutils import escape

from testkit.robustness_cases import FEDAVG, PARTITIONS, PIPELINES, SMALL_PARTITIONS, Case

Results = dict[str, dict[str, Any]]
NAMES = {FEDAVG: "FedAvg", "mean": "ours, mean", "median": "ours, median", "trimmed_mean": "ours, trimmed"}
COLOURS = {FEDAVG: "#9aa0a6", "mean": "#1a73e8", "median": "#e8710a", "trimmed_mean": "#188038"}
GROUPS = {
    "poison": "Poison",
    "backdoor": "Backdoor",
    "miners": "Two of five miners collude with the poisoners",
    "earnings": "Who wants to earn without work",
    "small": "3 to 20 devices",
    "adaptive": "An adversary that adapts",
    "VBFL": "VBFL's setting: 20 devices, 15% of them add noise of variance 1 to the weights",
}
VBFL = (
    "VBFL's own result (arXiv:2101.03300), on MNIST with a CNN: 87% accuracy with 15% malicious devices, "
    "7.4 times plain federated learning."
)
ROW, LEFT, RIGHT, TOP, WIDTH = 24, 200, 24, 60, 760  # of the picture, pixels
DASHED = 'stroke="#1a73e8" stroke-dasharray="3 3"'  # where nobody attacks


def table(cases: Sequence[Case], results: Results) -> str:
    """Return sections of rows: accuracy by pipeline, then what ours with the mean let through and dropped."""
    parts = []
    for group, title in GROUPS.items():
        rows = _rows([case for case in cases if case.group == group], results)
        if not rows:
            continue
        pipelines = [name for name in PIPELINES if any(row[4].get(name) for row in rows)]
        head = ["attack", "share", "data", *(NAMES[name] for name in pipelines)]
        head += ["lost to no attack", "backdoor", "honest rejected", "attackers accepted", "earn", "seeds"]
        cells = [_cells(row, pipelines, results, cases) for row in rows]
        if group == "adaptive":  # strikes in some rounds and not in others
            head.append("ours, mean of the last five rounds")
            cells = [[*each, _last_five(row, results)] for each, row in zip(cells, rows, strict=True)]
        lines = [f"\n### {title}\n", _line(head), _line(["---"] * len(head)), *map(_line, cells)]
        parts.append("\n".join(lines) + (f"\n\n{VBFL}" if group == "VBFL" else ""))
    return "\n".join(parts).strip()


Row = tuple[str, float, str, int, dict[str, list[Case]]]  # attack, share, data, devices, cases by pipeline


def _rows(cases: Sequence[Case], results: Results) -> list[Row]:
    """Return what has been measured, one row for all pipelines and seeds of an attack."""
    rows: dict[tuple[str, float, str, int], dict[str, list[Case]]] = {}
    for case in cases:
        if case.key in results:
            row = rows.setdefault((case.attack, case.share, case.partition, case.devices), {})
            row.setdefault(case.pipeline, []).append(case)
    partitions = list(dict.fromkeys((*PARTITIONS, *SMALL_PARTITIONS)))
    order = sorted(rows, key=lambda row: (row[3], partitions.index(row[2]), row[1]))
    return [(*row, rows[row]) for row in order]


def _cells(row: Row, pipelines: Sequence[str], results_by_key: Results, cases: Sequence[Case]) -> list[str]:
    attack, share, partition, devices, by_pipeline = row
    mean_cases = by_pipeline.get("mean", [])
    results = [results_by_key[case.key] for case in mean_cases]
    size = "" if devices == Case.devices else f", {devices} devices"
    cells = [(attack or "nobody") + size, f"{share:.0%}" if share else "", partition]
    cells += [
        _spread([_final(results_by_key[c.key]) for c in by_pipeline.get(name, [])]) for name in pipelines
    ]
    clean = {
        case.seed: _final(results_by_key[case.key])
        for case in cases
        if not case.attack and case.key in results_by_key
        and (case.partition, case.devices, case.pipeline) == (partition, devices, "mean")
    }  # fmt: skip
    losses = [
        clean[case.seed] - _final(results_by_key[case.key]) for case in mean_cases if case.seed in clean
    ]
    cells.append(f"{mean(losses):.1f}" if losses and attack else "")
    cells.append(_percent(results, lambda result: result["success"]))
    cells.append(_percent(results, lambda result: _ratio(result, "false_rejects", "honest")))
    cells.append(_percent(results, lambda result: _ratio(result, "false_accepts", "adversarial")))
    cells.append(_percent(results, lambda result: result["earned"]))
    return [*cells, str(max(map(len, by_pipeline.values())))]


def _final(result: dict[str, Any]) -> float:
    """Return the accuracy after the last round, percent."""
    return 100 * float(result["accuracy"][-1])


def _last_five(row: Row, results: Results) -> str:
    """Return the mean accuracy of the last five rounds of ours, percent."""
    curves = [results[case.key]["accuracy"][-5:] for case in row[4].get("mean", [])]
    return _spread([100 * mean(curve) for curve in curves])


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def _ratio(result: dict[str, Any], part: str, whole: str) -> float | None:
    return result[part] / result[whole] if result[whole] else None


def _percent(results: Sequence[dict[str, Any]], value: Callable[[dict[str, Any]], float | None]) -> str:
    values = [number for result in results if (number := value(result)) is not None]
    return f"{100 * mean(values):.1f}%" if values else ""


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def plot(cases: Sequence[Case], results: Results) -> str:
    """Draw a row an attack, a dot a pipeline, the means of all seeds; a dashed line where nobody attacks."""
    rows = [row for row in _rows([c for c in cases if c.group in ("poison", "backdoor")], results) if row[0]]
    clean = {
        row[2]: row for row in _rows([c for c in cases if not c.attack and c.group == "poison"], results)
    }
    titles = [partition for partition in PARTITIONS if any(row[2] == partition for row in rows)]
    height = TOP + ROW * (len(rows) + 2 * len(titles)) + 30
    pipelines = [name for name in PIPELINES if any(row[4].get(name) for row in rows)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        *_legend(pipelines),
    ]
    y = TOP
    for title in titles:
        partition_rows = [row for row in rows if row[2] == title]
        parts += _partition(title, partition_rows, clean.get(title), pipelines, results, y)
        y += ROW * (len(partition_rows) + 2)
    return "\n".join([*parts, "</svg>\n"])


def _legend(pipelines: Sequence[str]) -> list[str]:
    title = "Accuracy after the last round, by attack and share of attackers"
    parts = [f'<text x="12" y="24" font-weight="bold">{title}</text>']
    places = range(12, WIDTH, 120)
    for x, name in zip(places, pipelines, strict=False):
        parts.append(f'<circle cx="{x + 5}" cy="42" r="5" fill="{COLOURS[name]}"/>')
        parts.append(f'<text x="{x + 15}" y="46">{NAMES[name]}</text>')
    if "mean" in pipelines:
        x = places[len(pipelines)]
        parts.append(f'<line x1="{x}" x2="{x + 16}" y1="42" y2="42" {DASHED}/>')
        parts.append(f'<text x="{x + 21}" y="46">{NAMES["mean"]}, nobody attacks</text>')
    return parts


def _partition(
    title: str, rows: Sequence[Row], clean: Row | None, pipelines: Sequence[str], results: Results, top: int
) -> list[str]:
    """Draw the rows of one partition of the data, over a scale from 0 to 100%."""
    bottom = top + ROW * (len(rows) + 1)
    parts = [f'<text x="12" y="{top + 15}" font-weight="bold">data: {escape(title)}</text>']
    for i in range(1, len(rows) + 1, 2):  # bands, so that one sees to which row a dot belongs
        parts.append(f'<rect y="{top + ROW * i}" width="{WIDTH}" height="{ROW}" fill="#f5f6f8"/>')
    for percent in range(0, 101, 20):
        x = _x(percent)
        parts.append(f'<line x1="{x}" x2="{x}" y1="{top + 20}" y2="{bottom}" stroke="#e8eaed"/>')
        grey = 'text-anchor="middle" fill="#5f6368" font-size="10"'
        parts += [f'<text x="{x}" y="{y}" {grey}>{percent}%</text>' for y in (top + 15, bottom + 13)]
    if clean is not None and clean[4].get("mean"):
        x = _x(mean(_final(results[case.key]) for case in clean[4]["mean"]))
        parts.append(f'<line x1="{x}" x2="{x}" y1="{top + 20}" y2="{bottom}" {DASHED}/>')
    for i, (attack, share, _, _, by_pipeline) in enumerate(rows, 1):
        y = top + ROW * i + 12
        parts.append(f'<text x="12" y="{y + 4}">{escape(attack)}, {share:.0%}</text>')
        for place, name in enumerate(pipelines):
            if by_pipeline.get(name):
                x = _x(mean(_final(results[case.key]) for case in by_pipeline[name]))
                height = y + 4 * place - 2 * (len(pipelines) - 1)  # dots that coincide stay visible
                dot = f'<circle cx="{x}" cy="{height}" r="4" fill="{COLOURS[name]}" fill-opacity="0.85"/>'
                parts.append(dot)
    return parts


def _x(percent: float) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * percent / 100, 1)
