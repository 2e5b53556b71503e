"""List what the privacy bench plays, and write what comes out as tables in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from testkit.privacy.cases import Case, Outcome
from testkit.privacy.inversion import Effort
from testkit.privacy.settings import CIPHERTEXT, CONFIDENTIAL, DP_SETTINGS, GLOBAL_MODELS

SHORT, LONG_ROUND = Effort(tries=6, iterations=800, polish=200), Effort(tries=4, iterations=300, polish=100)
NOISY = Effort(polish=150)


def adversaries(is_small: bool) -> list[Case]:
    """Return the cases of three adversaries in the settings, all on the same digits."""
    batches = ((1, 8), (8, 1)) if is_small else ((1, 8), (8, 2), (32, 1))
    cases = []
    for batch, trials in batches:
        cases.append(Case(batch=batch, trials=trials))
        if batch == 1:
            cases.append(Case(batch=batch, trials=trials, setting=CONFIDENTIAL))
        if batch < 32:
            sealed = Case(batch=batch, trials=trials, setting=CONFIDENTIAL, adversary="outsider")
            cases.append(replace(sealed, source=CIPHERTEXT, effort=SHORT))
            if not is_small:
                cases += list(_sums(batch))
        noisy = DP_SETTINGS[1:2] if is_small else DP_SETTINGS
        cases += [Case(batch=batch, trials=trials, setting=setting, effort=NOISY) for setting in noisy]
    return cases


def _sums(batch: int) -> Iterable[Case]:
    for devices in (3, 20):
        for adversary in ("outsider", "device") if devices == 3 else ("device",):
            yield Case(
                batch=batch, devices=devices, setting=CONFIDENTIAL, adversary=adversary, source=GLOBAL_MODELS
            )


def circumstances(is_small: bool) -> list[Case]:
    """Return the cases that differ in data, model, steps, lanes, and when in the training."""
    table = "breast-cancer"
    if is_small:
        return [Case(task=table, trials=8), Case(steps=5, trials=8)]
    return [
        Case(steps=5, trials=8),
        Case(batch=8, steps=5, effort=SHORT),
        Case(batch=32, steps=5, effort=SHORT),
        Case(batch=71, steps=5, lot=16, effort=LONG_ROUND),
        Case(is_trained=True, trials=8),
        Case(batch=8, is_trained=True, trials=2),
        Case(lane_bits=8, trials=8),
        Case(batch=8, lane_bits=8, trials=2),
        Case(batch=8, lane_bits=32, trials=2),
        Case(model="cnn", trials=3),
        Case(model="cnn", batch=8),
        Case(task="fashion-mnist", trials=8),
        Case(task="fashion-mnist", batch=8),
        Case(task="fashion-mnist", batch=8, steps=5, effort=SHORT),
        Case(task="fashion-mnist", batch=32),
        Case(task="fashion-mnist", setting=DP_SETTINGS[1], trials=8, effort=NOISY),
        Case(task="fashion-mnist", model="cnn"),
        Case(task=table, trials=16),
        Case(task=table, batch=8, trials=2),
        Case(task=table, batch=32, effort=SHORT),
        Case(task=table, batch=8, steps=5, effort=SHORT),
        Case(task=table, setting=DP_SETTINGS[1], trials=8, effort=NOISY),
    ]


def reader(case: Case) -> str:
    """Return who reads what the case attacks."""
    if case.source == CIPHERTEXT:
        return "outsider, device"
    if case.source == GLOBAL_MODELS:
        return case.adversary
    return "miner" if case.setting.is_sealed else "outsider, device, miner"


def read(case: Case) -> str:
    """Return what the case attacks."""
    if case.source != GLOBAL_MODELS:
        return case.source
    others = case.devices - (case.adversary == "device")
    return f"global models: {others} {'other ' if case.adversary == 'device' else ''}devices"


def _decibels(outcome: Outcome) -> list[str]:
    if outcome.psnr is None:
        return ["", ""]
    return [
        f"{outcome.psnr:.1f} ({outcome.blind_psnr:.1f})",
        f"{outcome.ssim:.2f} ({outcome.blind_ssim:.2f})",
    ]


def _found(outcome: Outcome) -> list[str]:
    digits = 2 if outcome.error < 0.1 else 0
    error = f"{outcome.error:.{digits}%} ({outcome.blind_error:.0%})"
    return [error, f"{outcome.labels:.0%}", f"{outcome.identified:.0%}", str(outcome.samples)]


Columns = dict[str, Callable[[Case], str]]
ADVERSARIES: Columns = {
    "setting": lambda case: case.setting.name,
    "adversary": reader,
    "reads": read,
    "samples": lambda case: str(case.batch),
}
CIRCUMSTANCES: Columns = {
    "task": lambda case: f"{case.task}, {case.model}",
    "samples": lambda case: str(case.batch),
    "local steps": lambda case: str(case.steps * -(-case.batch // (case.lot or case.batch))),
    "lanes": lambda case: f"{case.lane_bits} bits",
    "round": lambda case: "11" if case.is_trained else "1",
    "reads": lambda case: case.source if case.setting.multiplier is None else case.setting.name,
}
FOUND = ("PSNR in dB (blind)", "SSIM (blind)", "error (blind)", "labels", "identified", "victims")


def line(cells: Iterable[str]) -> str:
    """Return a row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def table(columns: Columns, outcomes: list[Outcome]) -> str:
    """Return a table in Markdown, a row a case."""
    head = [*columns, *FOUND]
    rows = [[*(cell(o.case) for cell in columns.values()), *_decibels(o), *_found(o)] for o in outcomes]
    return "\n".join([line(head), line(["---"] * len(head)), *map(line, rows)])
