"""
The chart of a topic: a panel of horizontal bars for each figure. Needs matplotlib.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from results import Outcome
from topic import Figure, Topic

ACCENT, GREY, PALE, INK = "#1f6f8b", "#b4b9be", "#eef0f2", "#33383d"
WIDE_RANGE = 50  # times; from there on a linear scale shows nothing of the small ones
BAR = 0.30  # inches for a bar and the space around it
HEAD = 0.42  # inches for a panel's title
LETTER = 0.075  # inches that a letter of a name takes
PANEL = 4.6  # inches of width, without names

STYLE: Any = {  # the type of its keys is one that older releases of matplotlib lack
    "font.family": "sans-serif",
    "font.size": 9,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "sessionlog",  # the same figures give the same file
    "hatch.linewidth": 0.6,
}


def draw(topic: Topic, outcomes: Mapping[str, Outcome], subtitle: str, path: Path) -> None:
    """
    Draw medians with their extremes, ours in colour, peers grey, floors hatched.

    Args:
        topic: What was measured.

        outcomes: By variant.

        subtitle: What stands beside the topic's name, such as the interpreter's.

        path: Where to write it; the suffix says the format.
    """
    panels = [(figure, _given(figure, outcomes)) for figure in topic.figures if figure.in_chart]
    panels = [(figure, given) for figure, given in panels if given]
    if not panels:
        return
    names = LETTER * max(len(name) for _, given in panels for name in given)
    heights = [BAR * len(given) + HEAD for _, given in panels]
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(PANEL + names + 0.4, sum(heights) + 0.45), layout="constrained")
        canvas.suptitle(f"{topic.name}, {subtitle}", x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
        axes = canvas.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
        for (figure, given), row in zip(panels, axes, strict=True):
            _panel(row[0], figure, given)
        canvas.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)


def _given(figure: Figure, outcomes: Mapping[str, Outcome]) -> dict[str, Outcome]:
    return {name: outcome for name, outcome in outcomes.items() if figure.name in outcome["median"]}


def _panel(axes: Axes, figure: Figure, given: Mapping[str, Outcome]) -> None:
    medians = [outcome["median"][figure.name] for outcome in given.values()]
    positive = [value for value in medians if value > 0]
    is_log = bool(positive) and len(positive) == len(medians) and max(positive) > WIDE_RANGE * min(positive)
    if is_log:
        axes.set_xscale("log")
        axes.set_xlim(10 ** math.floor(math.log10(min(positive)) - 0.3), max(positive) * 6)
    else:
        axes.set_xlim(0, max(*medians, 0) * 1.22 or 1)
    for place, outcome in enumerate(given.values()):
        _bar(axes, place, figure, outcome)
    unit = "" if figure.unit in {"", figure.name} else f" [{figure.unit}]"
    better = "" if figure.better == "none" else f"{figure.better} is better"
    notes = ", ".join(filter(None, (better, "log scale" if is_log else "")))
    axes.set_title(f"{figure.name}{unit}" + (f"   ({notes})" if notes else ""), loc="left", fontsize=9, color=INK)
    axes.set_yticks(range(len(given)), [*given])
    axes.set_ylim(len(given) - 0.45, -0.55)  # the first on top
    axes.tick_params(axis="y", length=0, colors=INK)
    axes.tick_params(axis="x", which="both", bottom=False, labelbottom=False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(GREY)


def _bar(axes: Axes, place: int, figure: Figure, outcome: Outcome) -> None:
    median, least, most = (outcome[part][figure.name] for part in ("median", "min", "max"))
    colour = {"ours": ACCENT, "peer": GREY, "floor": PALE}[outcome["kind"]]
    hatch, edge = ("////", GREY) if outcome["kind"] == "floor" else ("", colour)
    axes.barh(place, median, height=0.68, color=colour, hatch=hatch, edgecolor=edge)
    if most > least:
        axes.plot([least, most], [place, place], color=INK, linewidth=0.9, solid_capstyle="butt")
    axes.annotate(
        format(median, figure.form),
        (max(median, most), place),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color=INK,
        fontweight="bold" if outcome["kind"] == "ours" else "normal",
    )
