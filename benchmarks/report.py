"""
Turns the results into the tables of the documentation, and puts them where a page has their markers.

    <!-- begin: throughput -->                          the charted figures of a topic
    <!-- begin: caller: burst p50; paced p99.9 -->      other ones
    <!-- begin: bars -->                                what has to be reached, and what is
    <!-- begin: highlights -->                          ours beside what others use, in a few rows
    <!-- begin: machine: throughput -->                 on what and with which versions a topic was measured

Each ends with ``<!-- end: NAME -->``; what stands between is written anew. ``--check`` only says what is not current.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bars import BARS, HIGHLIGHTS, Bar, Highlight
from pages import rewrite
from results import RESULTS, load, ratio_text
from topic import BenchmarkError, Figure, Topic

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "docs" / "performance.md")
NOT_MEASURED = "not measured"

Results = Mapping[str, Any]  # by Python version


class Report:
    """
    The tables, from the results in one directory.

    Args:
        directory: Where ``<topic>.json`` are.

        topics: The topics' declarations by name, for the figures' names and forms.
    """

    def __init__(self, directory: Path = RESULTS, topics: Mapping[str, Topic] | None = None) -> None:
        self.directory = directory
        self.topics = declared_topics() if topics is None else topics
        self.results = {name: load(name, directory) for name in self.topics}
        self.minors = sorted({minor for found in self.results.values() for minor in found}, key=_version)

    def block(self, name: str, detail: str = "") -> str:
        """
        The text between a pair of markers.

        Raises:
            BenchmarkError: If there is no such table.
        """
        if name == "bars":
            return self.bars(BARS)
        if name == "highlights":
            return self.highlights(HIGHLIGHTS)
        if name == "machine" and detail in self.topics:
            return self.machine(detail)
        if name not in self.topics:
            raise BenchmarkError(f"there is no table for 'begin: {name}{f': {detail}' if detail else ''}'")
        topic = self.topics[name]
        if not detail:
            return self.table(topic, [figure for figure in topic.figures if figure.in_chart])
        return self.table(topic, [_figure(topic, each.strip()) for each in detail.split(";")])

    def table(self, topic: Topic, figures: Sequence[Figure]) -> str:
        """
        A topic's medians, how far the rounds were apart, and the ratio to the first base of each figure.
        """
        results = self.results[topic.name]
        columns = [(figure, minor) for figure in figures for minor in self.minors if minor in results]
        if not columns:
            return f"{NOT_MEASURED.capitalize()} yet.\n"
        heads = [f"{_with_unit(figure)}, {minor}" for figure, minor in columns]
        rows = []
        for variant in topic.variants:
            cells = [_cell(topic, figure, results[minor], variant.name) for figure, minor in columns]
            if any(cells):
                rows.append([f"**{variant.name}**" if variant.kind == "ours" else variant.name, *cells])
        return _markdown(["", *heads], rows)

    def bars(self, bars: Sequence[Bar]) -> str:
        """
        Each bar with what was measured, and by how much it is missed.
        """
        rows = []
        for bar in bars:
            values = {minor: bar.value(self.results, minor) for minor in self.minors}
            rows.append(
                [bar.what, bar.wording, *(_measured(bar, value) for value in values.values()), _verdict(bar, values)]
            )
        return _markdown(["what", "bar", *self.minors, "met"], rows)

    def highlights(self, highlights: Sequence[Highlight]) -> str:
        """
        Ours beside what others use, on the newest Python that was measured.
        """
        if not self.minors:
            return f"{NOT_MEASURED.capitalize()} yet.\n"
        minor = self.minors[-1]
        rows = []
        for row in highlights:
            variants = self.results.get(row.topic, {}).get(minor, {}).get("variants", {})
            ours, base = (variants.get(name, {}).get("median", {}).get(row.figure) for name in (row.ours, row.base))
            if ours is None or base is None:
                rows.append([row.what, NOT_MEASURED, "", ""])
                continue
            form = _figure(self.topics[row.topic], row.figure).form
            rows.append([row.what, f"**{ours:{form}}**", f"{base:{form}} ({row.base})", ratio_text(ours / base)])
        return _markdown([f"CPython {minor}", "here", "beside it", "ratio"], rows)

    def machine(self, topic: str) -> str:
        """
        On what a topic was measured, a line for each Python.
        """
        lines = []
        for entry in (self.results[topic][minor] for minor in self.minors if minor in self.results[topic]):
            about = entry["machine"]
            versions = ", ".join(f"{name} {version}" for name, version in entry["versions"].items())
            lines.append(
                f"- {entry['python']} on {about['cpu']}, {about['cores']} cores, {about['memory_gb']} GB, "
                f"{about['kernel']}, {about['filesystem']}; {entry['date'][:10]}; {versions}\n"
            )
        return "".join(lines) or f"{NOT_MEASURED.capitalize()} yet.\n"

    def rewrite(self, text: str) -> str:
        """
        A page with every table between its markers as it is now.
        """
        return rewrite(text, self.block)


def declared_topics() -> dict[str, Topic]:
    """
    Every topic that has a script, by name.
    """
    scripts = sorted(Path(__file__).parent.glob("bench_*.py"))
    topics: list[Topic] = [importlib.import_module(script.stem).TOPIC for script in scripts]
    return {topic.name: topic for topic in topics}


def _version(minor: str) -> list[int]:
    return [int(part) for part in minor.split(".")]


def _figure(topic: Topic, name: str) -> Figure:
    found = topic.figure(name)
    if found is None:
        raise BenchmarkError(f"{topic.name} has no figure {name!r}")
    return found


def _with_unit(figure: Figure) -> str:
    return figure.name if figure.unit in {"", figure.name} else f"{figure.name} [{figure.unit}]"


def _cell(topic: Topic, figure: Figure, entry: Mapping[str, Any], variant: str) -> str:
    """``183,000 ±2 %, 4.9×``: the median, half of the way from the least to the most, and the ratio."""
    outcome = entry["variants"].get(variant)
    if outcome is None or figure.name not in outcome["median"]:
        return ""
    median, least, most = (outcome[part][figure.name] for part in ("median", "min", "max"))
    text = format(median, figure.form)
    if median and len(outcome["rounds"]) > 1:
        text += f" ±{50 * (most - least) / abs(median):.0f} %"
    ratios: Mapping[str, float] = outcome["ratios"].get(figure.name, {})
    for base in topic.bases.values():
        if base in ratios:
            return f"{text}, {ratio_text(ratios[base])} {base}"
    return text


def _measured(bar: Bar, value: float | None) -> str:
    if value is None:
        return NOT_MEASURED
    return f"{value:.3g}×" if bar.base else f"{value:.3g} {bar.unit}".rstrip()


def _verdict(bar: Bar, values: Mapping[str, float | None]) -> str:
    known = {minor: value for minor, value in values.items() if value is not None}
    if not known:
        return NOT_MEASURED
    missed = [f"{minor} misses it by {bar.missed_by(value)}" for minor, value in known.items() if not bar.is_met(value)]
    return f"no: {', '.join(missed)}" if missed else "yes"


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *("---:" for _ in heads[1:])], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    """
    Rewrite the pages, or with ``--check`` say which of them would change.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a page is not current")
    parser.add_argument("--print", metavar="NAME", help="only print a table: a topic's, bars, or highlights")
    arguments = parser.parse_args()
    report = Report()
    if arguments.print:
        print(report.block(*arguments.print.split(": ", 1)), end="")
        return
    for page in PAGES:
        if not page.exists():
            continue
        before = page.read_text("utf-8")
        after = report.rewrite(before)
        if before == after:
            continue
        print(f"{page.relative_to(ROOT)} {'is not current: make bench-report' if arguments.check else 'rewritten'}")
        if arguments.check:
            sys.exit(1)
        page.write_text(after, "utf-8")


if __name__ == "__main__":
    try:
        main()
    except BenchmarkError as error:
        sys.exit(f"bench-report: {error}")
