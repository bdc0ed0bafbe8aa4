"""
Runs a topic: each round of each variant in a process of its own, in turn, and then the table, the file and the chart.

A topic's script declares a `Topic` and hands it to `main`:

    python benchmarks/bench_throughput.py [--rounds N] [--quick] [--only NAME …] [--directory DIR] [--list] [--save]

A fresh process for each round keeps imports, threads, the heap and the configuration of `logging` from leaking from one
variant into the next. No figure is given unless the variant has found all its lines again.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import machine
import results
from topic import BenchmarkError, Options, Topic, Variant

CHILD_TIMEOUT = 900  # seconds
BUSY = 10  # percent of all cores
TOLD = 2000  # characters of what a failing child said last

# What would set the sessions' levels from outside.
LEVEL_VARIABLES = ("SESSIONLOG_LEVEL", "FUGUE_SESSION_LOG", "CCMUX_SESSION_LOG")

# Modules that can't be installed on every Python that we support: the first minor version without them.
FIRST_WITHOUT = {"picologging": (3, 13)}


def main(topic: Topic, argv: Sequence[str] | None = None) -> None:
    """
    Read the arguments and run the topic, or one round of one variant if this is a child.
    """
    parser = _parser(topic)
    arguments = parser.parse_args(argv)
    if arguments.save and arguments.only:
        parser.error("ratios hold within one run: --save needs all variants, and --only leaves some out")
    if arguments.child is not None:
        _be_child(topic.variant(arguments.child), Path(arguments.directory), json.loads(arguments.options))
    if arguments.list:
        print("\n".join(f"{variant.name} ({variant.kind}): {describe(variant)}" for variant in topic.variants))
        return
    try:
        _run(topic, arguments)
    except BenchmarkError as error:
        sys.exit(f"bench {topic.name}: {error}")


def describe(variant: Variant) -> str:
    """
    What a variant does, in one sentence.
    """
    return variant.description or (variant.run.__doc__ or variant.name).strip().split("\n")[0]


def why_left_out(variant: Variant) -> str | None:
    """
    Why a variant can't run here, or None if it can.
    """
    for module in variant.needs:
        if importlib.util.find_spec(module) is not None:
            continue
        before = FIRST_WITHOUT.get(module)
        if before is not None and sys.version_info[:2] >= before:
            return f"{module} is not made for Python {machine.python_minor()}"
        return f"{module} is not installed (pip install '.[bench]')"
    return None


def options_of(topic: Topic, arguments: argparse.Namespace) -> dict[str, int]:
    """
    The sizes of a run: those given, else the quick or the full ones.
    """
    given = {name: getattr(arguments, f"size_{name}") for name in topic.sizes}
    usual = {name: size.quick if arguments.quick else size.full for name, size in topic.sizes.items()}
    return {name: usual[name] if given[name] is None else given[name] for name in topic.sizes}


def run_rounds(
    topic: Topic, names: Sequence[str], rounds: int, options: Options, directory: Path
) -> dict[str, list[dict[str, float]]]:
    """
    Let the variants take turns: A B C, A B C, and so on; every turn in a fresh process and an empty directory.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(rounds):
        for turn, name in enumerate(names):
            _progress(f"[{number * len(names) + turn + 1}/{rounds * len(names)}] {topic.name}: {name}")
            found[name].append(_run_child(topic, name, options, directory, tell=number == 0))
    _progress("")
    return found


def _run(topic: Topic, arguments: argparse.Namespace) -> None:
    wanted = [variant for variant in topic.variants if not arguments.only or variant.name in arguments.only]
    left_out = {variant.name: reason for variant in wanted if (reason := why_left_out(variant))}
    names = [variant.name for variant in wanted if variant.name not in left_out]
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}")
    if not names:
        raise BenchmarkError("no variant is left")
    options = options_of(topic, arguments)
    rounds = arguments.rounds or (1 if arguments.quick else topic.rounds)
    parent = arguments.directory or (machine.memory_directory() if topic.in_memory else None)
    with tempfile.TemporaryDirectory(prefix=f"bench-{topic.name}-", dir=parent) as place:
        directory = Path(place)
        about = machine.describe(directory)
        if float(about["busy_percent"]) > BUSY and not arguments.quick:
            print(f"others use {about['busy_percent']} % of the machine: expect rounds far apart", file=sys.stderr)
        outcomes = results.summarize(topic, run_rounds(topic, names, rounds, options, directory))
    sizes = ", ".join(f"{name} {value:,}" for name, value in options.items())
    print(
        f"{topic.name} on {machine.python_name()}, {about['cpu']}, {about['cores']} cores, {about['filesystem']}; ",
        end="",
    )
    print(f"rounds {rounds}{', ' if sizes else ''}{sizes}")
    print(results.table(topic, outcomes), flush=True)
    if not _is_saved(topic, arguments, options, rounds):
        return
    entry = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": machine.python_name(),
        "machine": about,
        "versions": machine.versions(),
        "options": {"rounds": rounds, **options},
        "left_out": left_out,
        "figures": {
            figure.name: {"unit": figure.unit, "better": figure.better, "form": figure.form} for figure in topic.figures
        },
        "variants": outcomes,
    }
    path = results.save(topic.name, machine.python_minor(), entry, Path(arguments.results))
    print(f"wrote {path}")
    _draw(topic, outcomes, path.with_name(f"{topic.name}-{machine.python_minor()}.svg"))


def _is_saved(topic: Topic, arguments: argparse.Namespace, options: Options, rounds: int) -> bool:
    """A full run is kept, any other only if that is asked for: what stands in the documentation comes from here."""
    is_full = (
        not arguments.quick
        and not arguments.only
        and rounds >= topic.rounds
        and all(options[name] == size.full for name, size in topic.sizes.items())
    )
    return is_full or bool(arguments.save)


def _draw(topic: Topic, outcomes: Mapping[str, results.Outcome], path: Path) -> None:
    try:
        import charts
    except ImportError as error:
        print(f"no chart without {error.name}: pip install '.[plot]'")
        return
    charts.draw(topic, outcomes, machine.python_name(), path)
    print(f"drew {path}")


def _run_child(topic: Topic, name: str, options: Options, directory: Path, *, tell: bool) -> dict[str, float]:
    place = Path(tempfile.mkdtemp(dir=directory))
    script = str(sys.modules["__main__"].__file__)
    command = [sys.executable, script, "--child", name, "--directory", str(place), "--options", json.dumps({**options})]
    try:
        child = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CHILD_TIMEOUT,
            env=_environment(directory),
        )
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"variant {name!r} took more than {CHILD_TIMEOUT} s") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)
    said = child.stderr.strip()
    if child.returncode:
        raise BenchmarkError(f"variant {name!r} failed with {child.returncode} and said:\n{said[-TOLD:]}")
    if tell:
        _tell(topic.variant(name), said)
    return _figures_of(topic, name, child.stdout)


def _environment(directory: Path) -> dict[str, str]:
    """Ours, without what would change the levels, and with a place where the roots of a run are noted."""
    kept = {name: value for name, value in os.environ.items() if name not in LEVEL_VARIABLES}
    return {**kept, "SESSIONLOG_HOME": str(directory / "home")}


def _tell(variant: Variant, said: str) -> None:
    """Show what a variant had to say though it succeeded: it may be why its figures are what they are."""
    for line in said.splitlines():
        if variant.expected is None or variant.expected not in line:
            _progress("")
            print(f"{variant.name} said: {line[-TOLD:]}", file=sys.stderr)


def _figures_of(topic: Topic, name: str, answer: str) -> dict[str, float]:
    try:
        found: dict[str, float] = json.loads(answer)
    except ValueError as error:
        raise BenchmarkError(f"variant {name!r} gave no figures: {answer[-TOLD:]!r}") from error
    if undeclared := [figure for figure in found if topic.figure(figure) is None]:
        raise BenchmarkError(f"variant {name!r} gave figures that the topic does not declare: {', '.join(undeclared)}")
    return found


def _be_child(variant: Variant, directory: Path, options: Options) -> NoReturn:
    """One round. Its figures alone go to stdout; what else is printed goes to stderr, for a failure to show."""
    answer = os.dup(1)
    os.dup2(2, 1)
    try:
        figures = variant.run(directory, options)
    except BenchmarkError as error:
        sys.exit(str(error))
    except Exception:
        traceback.print_exc()
        sys.exit(1)
    with open(answer, "w", encoding="utf-8") as stream:
        json.dump({**figures}, stream)
    sys.exit(0)


def _progress(text: str) -> None:
    """One line that is written over, for whoever watches."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def _parser(topic: Topic) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=topic.description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [variant.name for variant in topic.variants]
    parser.add_argument(
        "--rounds", type=_positive, metavar="N", help=f"rounds of each variant (default: {topic.rounds})"
    )
    parser.add_argument("--quick", action="store_true", help="one round of a small size: for correctness only")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help="these variants only")
    parser.add_argument("--directory", metavar="DIR", help="where files are written (default: a temporary directory)")
    parser.add_argument("--list", action="store_true", help="list the variants and stop")
    parser.add_argument("--save", action="store_true", help="keep the results of a run that is not a full one")
    parser.add_argument("--results", default=str(results.RESULTS), metavar="DIR", help="where results are kept")
    for name, size in topic.sizes.items():
        text = f"{size.help} (default: {size.full:,}; quick: {size.quick:,})"
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, dest=f"size_{name}", type=_positive, metavar="N", help=text)
    for internal in ("--child", "--options"):  # how the run calls itself for one round
        parser.add_argument(internal, help=argparse.SUPPRESS)
    return parser


def _positive(text: str) -> int:
    number: Any = int(text)
    if number < 1:
        raise ValueError(text)
    return int(number)
