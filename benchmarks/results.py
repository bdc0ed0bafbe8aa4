"""
From rounds to results: medians, ratios, the table that is printed, and the file that keeps them by Python version.
"""

from __future__ import annotations

import json
import os
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from topic import Figure, Topic

RESULTS = Path(__file__).parent / "results"

DIGITS = 6  # of each figure that is kept

# A list or an object with no other in it: it stands on one line, so that a file of results can be read and compared.
_INNERMOST = re.compile(r"[\[{][^\[\]{}]*[\]}]")

Rounds = Mapping[str, Sequence[Mapping[str, float]]]  # variant → the figures of each of its rounds


class Outcome(TypedDict):
    """
    What a variant's rounds come to, by figure.
    """

    kind: str
    rounds: list[dict[str, float]]
    median: dict[str, float]
    min: dict[str, float]
    max: dict[str, float]
    ratios: dict[str, dict[str, float]]  # figure → short name of the base → ratio of the medians


def summarize(topic: Topic, rounds: Rounds) -> dict[str, Outcome]:
    """
    Medians, extremes, and ratios of medians to each base, for the variants that ran.
    """
    outcomes: dict[str, Outcome] = {}
    for variant in topic.variants:
        if variant.name not in rounds:
            continue
        shortened = [{name: _short(value) for name, value in each.items()} for each in rounds[variant.name]]
        columns = _columns(shortened)
        outcomes[variant.name] = {
            "kind": variant.kind,
            "rounds": shortened,
            "median": {name: statistics.median(values) for name, values in columns.items()},
            "min": {name: min(values) for name, values in columns.items()},
            "max": {name: max(values) for name, values in columns.items()},
            "ratios": {},
        }
    for outcome in outcomes.values():
        for figure in topic.figures:
            if ratios := _ratios(topic, figure, outcome, outcomes):
                outcome["ratios"][figure.name] = ratios
    return outcomes


def _short(value: float) -> float:
    """A figure without the digits that no measurement has."""
    return float(f"{value:.{DIGITS}g}")


def _columns(rounds: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    names = {name: None for each in rounds for name in each}
    return {name: [each[name] for each in rounds if name in each] for name in names}


def _ratios(topic: Topic, figure: Figure, outcome: Outcome, outcomes: Mapping[str, Outcome]) -> dict[str, float]:
    found = {}
    for base, short in topic.bases.items():
        if base not in outcomes or (figure.against is not None and base not in figure.against):
            continue
        value, reference = outcome["median"].get(figure.name), outcomes[base]["median"].get(figure.name)
        if value is not None and reference:
            found[short] = _short(value / reference)
    return found


def ratio_text(value: float) -> str:
    """
    A ratio with as many digits as say something: ``12×``, ``4.1×``, ``0.38×``, ``0.0063×``.
    """
    if value >= 10:
        return f"{value:,.0f}×"
    if value >= 1:
        return f"{value:.1f}×"
    return f"{value:.2f}×" if value >= 0.1 else f"{value:.2g}×"


def table(topic: Topic, outcomes: Mapping[str, Outcome]) -> str:
    """
    One aligned table: a block for each figure, a row for each variant that gives it.
    """
    rows: list[tuple[str, ...]] = []
    for figure in topic.figures:
        given = {name: outcome for name, outcome in outcomes.items() if figure.name in outcome["median"]}
        if not given:
            continue
        unit = "" if figure.unit in {"", figure.name} else f" [{figure.unit}]"
        better = "" if figure.better == "none" else f", {figure.better} is better"
        rows.append((f"{figure.name}{unit}{better}",))
        rows += [_row(figure, name, outcome) for name, outcome in given.items()]
    return _aligned([("", "median", "min – max", "ratio"), *rows])


def _row(figure: Figure, name: str, outcome: Outcome) -> tuple[str, ...]:
    median, least, most = (
        format(values[figure.name], figure.form) for values in (outcome["median"], outcome["min"], outcome["max"])
    )
    ratios = [f"{ratio_text(value)} {base}" for base, value in outcome["ratios"].get(figure.name, {}).items()]
    return (f"  {name}", median, f"{least} – {most}", ", ".join(ratios))


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Names and ratios to the left, numbers to the right; a row of one cell is a heading and sets no width."""
    cells = [row for row in rows if len(row) > 1]
    widths = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
    lines = []
    for row in rows:
        if len(row) == 1:
            lines.append(row[0])
            continue
        name, median, spread, ratio = (
            cell.ljust(width) if at in {0, 3} else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append(f"{name}  {median}  {spread}  {ratio}".rstrip())
    return "\n".join(lines)


def load(topic: str, directory: Path = RESULTS) -> dict[str, Any]:
    """
    The results of a topic by Python version; empty if there are none.
    """
    path = directory / f"{topic}.json"
    content: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return content


def save(topic: str, minor: str, entry: Mapping[str, Any], directory: Path = RESULTS) -> Path:
    """
    Put one Python version's results into the topic's file; those of other versions stay as they are.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{topic}.json"
    merged = {**load(topic, directory), minor: entry}
    ordered = {key: merged[key] for key in sorted(merged, key=lambda key: [*map(int, key.split("."))])}
    beside = path.with_suffix(".new")
    text = json.dumps(ordered, indent=1, ensure_ascii=False)
    beside.write_text(_INNERMOST.sub(lambda found: re.sub(r"\n\s*", " ", found[0]), text) + "\n", "utf-8")
    os.replace(beside, path)  # a run that is stopped here loses no other version's results
    return path
