"""
The words of the benchmarks: a topic, its variants, the figures that they give, and the sizes that can be chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal["ours", "peer", "floor"]

# What a variant is given: the sizes of the run by name.
Options = Mapping[str, int]

# One round: writes below the directory, checks what it wrote, and gives figures by name.
Run = Callable[[Path, Options], Mapping[str, float]]


class BenchmarkError(Exception):
    """
    A run that must not give figures: something it should have written is not there, or not whole.
    """


@dataclass(frozen=True, slots=True)
class Figure:
    """
    Something that is measured.

    Args:
        name: What it is called in tables, such as ``events/s``.

        unit: What it is counted in, such as ``1/s``, ``ns`` or ``MB``.

        better: Which end is the good one; ``none`` for what is neither, such as a count that only has to be said.

        form: Format specification of a value. (default: whole numbers with thousands separated)

        against: The bases that it is compared with, by variant; None means all of the topic, () none. (default: all)

        in_chart: Whether the chart has a panel for it. (default: True)
    """

    name: str
    unit: str
    better: Literal["higher", "lower", "none"]
    form: str = ",.0f"
    against: tuple[str, ...] | None = None
    in_chart: bool = True


@dataclass(frozen=True, slots=True)
class Size:
    """
    A number that can be given on the command line, as ``--name`` with dashes.

    Args:
        full: What a full run takes.

        quick: What a quick run takes, which is there for correctness only.

        help: What it is, in a few words.
    """

    full: int
    quick: int
    help: str


@dataclass(frozen=True, slots=True)
class Variant:
    """
    One way to do what the topic measures.

    Args:
        name: What it is called in tables, on the command line and in the results.

        run: One round. Runs in a process of its own, and raises `BenchmarkError` where not all that was sent is there.

        kind: ``ours``, ``peer`` or ``floor``: the least that the work can cost.

        needs: Modules that have to be importable; without them the variant is left out by name.

        description: A sentence for ``--list``. (default: the first line of the function's docstring)

        expected: Part of a line on stderr that is as it should be; any other line is shown. (default: none)
    """

    name: str
    run: Run
    kind: Kind
    needs: tuple[str, ...] = ()
    description: str = ""
    expected: str | None = None


@dataclass(frozen=True, slots=True)
class Topic:
    """
    What is compared, and how.

    Args:
        name: As in ``bench_<name>.py``.

        description: What is measured and how, for ``--help`` and the results.

        variants: In the order of their turns, and of the table's rows.

        figures: In the order of the table.

        bases: Variant → its short name in ratios, as in ``4.1× obvious``.

        sizes: Option → what it is by default.

        rounds: How often each variant runs. (default: 5)

        in_memory: Whether files are written to a file system in memory if there is one, where a disk's would let a
            variant pay for what the one before it has left or removed. (default: False)
    """

    name: str
    description: str
    variants: tuple[Variant, ...]
    figures: tuple[Figure, ...]
    bases: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, Size] = field(default_factory=dict)
    rounds: int = 5
    in_memory: bool = False

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            raise ValueError(f"two variants of {self.name} have one name")
        known = {*names}
        wanted = {*self.bases, *(base for figure in self.figures for base in figure.against or ())}
        if unknown := wanted - known:
            raise ValueError(f"{self.name} compares with unknown variants: {', '.join(sorted(unknown))}")

    def variant(self, name: str) -> Variant:
        """The variant of that name."""
        return next(variant for variant in self.variants if variant.name == name)

    def figure(self, name: str) -> Figure | None:
        """The figure of that name, or None."""
        return next((figure for figure in self.figures if figure.name == name), None)
