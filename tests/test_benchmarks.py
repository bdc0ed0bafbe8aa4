"""
The harness of the benchmarks takes turns, believes no variant without its lines, and keeps what it measured.

No time is judged here.
"""

from __future__ import annotations

import gzip
import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
from helpers import run_python

import bench_throughput
import lines
import results
from topic import BenchmarkError, Figure, Topic, Variant
from workload import Builder, Logging, nothing

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

# Two variants that note their turns outside of the directory that each round gets for itself.
FAKE = """
import os, sys
from pathlib import Path
import harness
from topic import BenchmarkError, Figure, Size, Topic, Variant

NOTES = Path(sys.argv[0]).parent / "notes"

def note(name, directory, options):
    assert not any(directory.iterdir())
    (directory / "left.log").write_text("x")
    with NOTES.open("a") as notes:
        print(name, os.getpid(), options["records"], file=notes)

def slow(directory, options):
    '''Twice as slow.'''
    note("slow", directory, options)
    print("a peer that prints")
    print("expected complaint", file=sys.stderr)
    print("something else", file=sys.stderr)
    return {"events/s": 50.0 + len(NOTES.read_text().splitlines())}

def fast(directory, options):
    '''Twice as fast.'''
    note("fast", directory, options)
    return {"events/s": 100.0 + 2 * len(NOTES.read_text().splitlines())}

def losing(directory, options):
    raise BenchmarkError("2 of 3 records landed")

def broken(directory, options):
    raise ZeroDivisionError("of its own")

def undeclared(directory, options):
    return {"event/s": 1.0}

EXTRA = {"losing": losing, "broken": broken, "undeclared": undeclared}
chosen = Path(sys.argv[0]).stem
TOPIC = Topic(
    "fake",
    "Nothing is measured.",
    (
        Variant("slow", slow, "peer", expected="expected"),
        Variant("fast", fast, "ours"),
        *(Variant(name, run, "peer") for name, run in EXTRA.items() if name == chosen),
        *([Variant("absent", fast, "peer", needs=("no_such_module",))] if chosen == "absent" else []),
    ),
    (Figure("events/s", "1/s", "higher"),),
    bases={"slow": "slow"},
    sizes={"records": Size(500, 5, "records")},
    rounds=2,
)
if __name__ == "__main__":
    harness.main(TOPIC)
"""


@pytest.fixture
def run_fake(tmp_path):
    """
    Runs the fake topic with an extra variant, if one is named; gives the finished child.
    """

    def run(*arguments: str, extra: str = "fake") -> Any:
        script = tmp_path / f"{extra}.py"
        script.write_text(FAKE, "utf-8")
        places = ["--results", str(tmp_path / "results"), "--directory", str(tmp_path)]
        return run_python(script, *places, *arguments, env={"PYTHONPATH": str(BENCHMARKS)})

    return run


class TestRun:
    def test_takes_turns_in_processes_of_their_own(self, run_fake, tmp_path):
        """
        Variants run A B A B, each in a fresh process and an empty directory, which is gone afterwards.
        """
        result = run_fake("--rounds", "3")
        assert not result.returncode, result.stderr
        turns = [line.split() for line in (tmp_path / "notes").read_text().splitlines()]
        assert [name for name, _, _ in turns] == ["slow", "fast"] * 3
        assert len({process for _, process, _ in turns}) == 6
        assert {records for _, _, records in turns} == {"500"}
        assert not [*tmp_path.glob("bench-*")]

    def test_prints_medians_extremes_and_ratios_in_one_aligned_table(self, run_fake):
        """
        The table has a row for each variant. What variants print is not taken for figures, and is shown if unexpected.
        """
        result = run_fake("--quick")
        assert result.stderr.splitlines() == ["slow said: a peer that prints", "slow said: something else"]
        assert result.stdout.splitlines()[1:] == [
            "        median  min – max  ratio",
            "events/s [1/s], higher is better",
            "  slow      51    51 – 51  1.0× slow",
            "  fast     104  104 – 104  2.0× slow",
        ]

    def test_runs_one_round_of_small_sizes_if_that_is_asked_for(self, run_fake, tmp_path):
        """
        ``--quick`` is one round of the quick size, ``--only`` leaves variants out, and a size can be given.
        """
        run_fake("--quick", "--only", "fast")
        run_fake("--quick", "--only", "fast", "--records", "7")
        assert [line.split()[2] for line in (tmp_path / "notes").read_text().splitlines()] == ["5", "7"]

    @pytest.mark.parametrize(
        ("extra", "says"),
        [
            ("losing", "variant 'losing' failed with 1 and said:\n2 of 3 records landed"),
            ("broken", "ZeroDivisionError: of its own"),
            ("undeclared", "variant 'undeclared' gave figures that the topic does not declare: event/s"),
        ],
    )
    def test_names_the_variant_that_failed_and_gives_no_figures(self, run_fake, tmp_path, extra, says):
        """
        One failing round ends the run with what the child said, and neither a table nor a result is there.
        """
        result = run_fake(extra=extra)
        assert result.returncode == 1
        assert result.stderr.splitlines()[-1]
        assert says in result.stderr
        assert "Traceback" not in result.stderr.replace("said:\nTraceback", "")
        assert not result.stdout
        assert not (tmp_path / "results").exists()

    def test_says_which_peer_is_left_out_and_why(self, run_fake):
        """
        A peer that can't be imported has a line of its own, and the others run.
        """
        printed = run_fake("--quick", extra="absent").stdout.splitlines()
        assert printed[0] == "left out: absent: no_such_module is not installed (pip install '.[bench]')"
        assert any(line.startswith("  fast") for line in printed)

    def test_lists_its_variants(self, run_fake):
        """
        ``--list`` runs nothing.
        """
        assert run_fake("--list").stdout.splitlines() == ["slow (peer): Twice as slow.", "fast (ours): Twice as fast."]


class TestTopics:
    @pytest.mark.parametrize("script", sorted(BENCHMARKS.glob("bench_*.py")), ids=lambda script: script.stem)
    def test_is_declared_under_the_name_of_its_script(self, script):
        """
        Each topic can be listed, also where its peers are not installed.
        """
        listed = run_python(script, "--list", check=True, env={"PYTHONWARNINGS": "error"}).stdout
        assert " (ours): " in listed
        assert f'"{script.stem.removeprefix("bench_")}",' in script.read_text("utf-8")

    def test_throughput_finds_every_line_again(self):
        """
        A quick run of ours, the obvious stack and a floor gives a rate and a ratio for each.
        """
        names = ["logger.info", "session.event rare", "session.event full, shedding", "obvious stack", "encode_lines"]
        result = run_python(BENCHMARKS / "bench_throughput.py", "--quick", "--only", *names, check=True)
        rows = [line for line in result.stdout.splitlines() if line.endswith("× obvious")]
        assert [row[2:32].strip() for row in rows] == names
        assert all(float(row.split()[-2].removesuffix("×").replace(",", "")) > 0 for row in rows)
        assert not result.stderr

    def test_throughput_gives_no_rate_where_a_record_is_missing(self, tmp_path):
        """
        A logger that loses a record, or refuses one and does not say so, ends the run.
        """
        lossy = Logging(lambda number: None, nothing, nothing, lambda: [0, 1, 3])
        run = bench_throughput.measure(Builder("lossy", lambda place: lossy, "peer"))
        with pytest.raises(BenchmarkError, match="3 of 4 records, 0 of them as refused, landed"):
            run(tmp_path, {"records": 4, "slow_records": 4, "sessions": 1})

    def test_ours_are_believed_only_with_their_audit_lines(self, tmp_path):
        """
        An audited event whose line is missing in the audit file ends the run, though it is in the session's log.
        """
        program = """
            import sys
            from pathlib import Path
            sys.path.insert(0, sys.argv[2])
            import ours
            from workload import Place

            directory = Path(sys.argv[1])
            logging = ours.full_event(Place(directory, 2, 10))
            logging.log_all(10)
            logging.finish()
            logging.close()
            print(sorted(logging.numbers()))
            audit = directory / "s0" / "audit_system.log"
            lines = audit.read_bytes().splitlines(True)
            audit.write_bytes(b"".join(line for line in lines if b'"pid":4' not in line))
            logging.numbers()
        """
        result = run_python(textwrap.dedent(program), tmp_path, BENCHMARKS)
        assert result.stdout == f"{[*range(10)]}\n"
        assert result.stderr.splitlines()[-1].endswith("10 events in the sessions' logs, and 9 audited")

    @pytest.mark.parametrize(
        ("topic", "names"),
        [
            ("format", ["JsonLinesFormatter", "TextFormatter", "PtyFormatter", "python-json-logger", "json.dumps"]),
            pytest.param(
                "memory",
                ["session.output", "obvious stack"],
                marks=pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc"),
            ),
            ("startup", ["import of ours", "sessionlog --version"]),
        ],
    )
    def test_others_give_a_figure_for_each_variant(self, topic, names):
        """
        A quick run of some variants of the smaller topics has a row for each of them.
        """
        result = run_python(BENCHMARKS / f"bench_{topic}.py", "--quick", "--only", *names, check=True)
        rows = [line for line in result.stdout.splitlines() if line.startswith("  ")]
        assert all(any(row[2:].startswith(name) for row in rows) for name in names)
        assert not result.stderr


class TestResults:
    def test_keeps_a_full_run_only(self, run_fake, tmp_path):
        """
        A quick run, one of other sizes, or one of fewer rounds is not kept, unless that is asked for.
        """
        for arguments in (["--quick"], ["--records", "3"], ["--rounds", "1"], ["--only", "fast"]):
            run_fake(*arguments)
        assert not (tmp_path / "results").exists()
        run_fake("--quick", "--save")
        assert (tmp_path / "results" / "fake.json").exists()
        assert run_fake("--only", "fast", "--save").returncode == 2

    def test_holds_machine_versions_rounds_medians_and_ratios(self, run_fake, tmp_path):
        """
        The file says what was run, on what, and every round's figures.
        """
        run_fake()
        ((minor, entry),) = json.loads((tmp_path / "results" / "fake.json").read_text("utf-8")).items()
        assert entry["python"].startswith(f"CPython {minor}.")
        assert entry["options"] == {"rounds": 2, "records": 500}
        assert {"cpu", "cores", "kernel", "filesystem"} <= entry["machine"].keys()
        assert "msgspec" in entry["versions"]
        assert entry["variants"]["fast"]["rounds"] == [{"events/s": 104.0}, {"events/s": 108.0}]
        assert entry["variants"]["fast"]["median"] == {"events/s": 106.0}
        assert entry["variants"]["fast"]["ratios"] == {"events/s": {"slow": 2.03846}}
        assert str(tmp_path) not in json.dumps(entry)

    def test_updates_the_results_of_its_own_python_only(self, tmp_path):
        """
        Each minor version has its own key, in the order of versions.
        """
        results.save("fake", "3.13", {"date": "first"}, tmp_path)
        results.save("fake", "3.9", {"date": "second"}, tmp_path)
        results.save("fake", "3.13", {"date": "third"}, tmp_path)
        assert [*results.load("fake", tmp_path).items()] == [("3.9", {"date": "second"}), ("3.13", {"date": "third"})]

    def test_compares_a_figure_with_its_own_bases_only(self):
        """
        *against* narrows the bases, and who lacks the base has no ratio.
        """
        variants = tuple(Variant(name, lambda *_: {}, "peer") for name in ("a", "b", "c"))
        figures = (Figure("x", "ns", "lower", against=("b",)), Figure("y", "", "none", against=()))
        topic = Topic("fake", "", variants, figures, bases={"a": "first", "b": "second"})
        found = {"a": [{"x": 1.0, "y": 2.0}], "b": [{"x": 4.0}], "c": [{"x": 2.0}, {"x": 8.0}, {"x": 3.0}]}
        outcomes = results.summarize(topic, found)
        assert [outcome["ratios"] for outcome in outcomes.values()] == [
            {"x": {"second": 0.25}},
            {"x": {"second": 1.0}},
            {"x": {"second": 0.75}},
        ]
        assert outcomes["c"]["min"] == {"x": 2.0}
        assert outcomes["c"]["max"] == {"x": 8.0}

    def test_takes_no_base_that_is_no_variant(self):
        """
        A misspelt base is a mistake of the topic, not a column that is missing.
        """
        with pytest.raises(ValueError, match="unknown variants: obvius"):
            Topic("fake", "", (), (), bases={"obvius": "obvious"})

    @pytest.mark.parametrize(
        ("value", "text"), [(12.4, "12×"), (4.06, "4.1×"), (0.384, "0.38×"), (0.00631, "0.0063×"), (1234, "1,234×")]
    )
    def test_writes_a_ratio_with_the_digits_that_say_something(self, value, text):
        """
        Two digits where they matter, whole numbers above ten.
        """
        assert results.ratio_text(value) == text


class TestCharts:
    def test_says_how_to_get_one_without_matplotlib(self, run_fake, tmp_path):
        """
        Where matplotlib can't be imported, the results are kept all the same.
        """
        (tmp_path / "matplotlib.py").write_text("raise ModuleNotFoundError(name='matplotlib')", "utf-8")
        result = run_fake()
        assert result.stdout.splitlines()[-1] == "no chart without matplotlib: pip install '.[plot]'"
        assert [path.name for path in (tmp_path / "results").iterdir()] == ["fake.json"]

    def test_draws_the_same_file_for_the_same_figures(self, tmp_path):
        """
        A chart has a bar with a label for each variant, and changes only when the figures do.
        """
        pytest.importorskip("matplotlib", exc_type=ImportError)
        import charts

        kinds = {"ours": 200.0, "peer": 9.0, "floor": 1234.5}
        variants = tuple(Variant(name, lambda *_: {}, name) for name in kinds)
        topic = Topic("fake", "", variants, (Figure("events/s", "events/s", "higher"), Figure("p50", "ns", "lower")))
        outcomes = results.summarize(topic, {name: [{"events/s": value}] for name, value in kinds.items()})
        charts.draw(topic, outcomes, "CPython 3.x", tmp_path / "first.svg")
        charts.draw(topic, outcomes, "CPython 3.x", tmp_path / "second.svg")
        drawn = (tmp_path / "first.svg").read_text("utf-8")
        assert drawn == (tmp_path / "second.svg").read_text("utf-8")
        for text in ("fake, CPython 3.x", "events/s", "log scale", "ours", "peer", "floor", "200", "1,234"):
            assert text in drawn
        assert "p50" not in drawn


class TestLines:
    @pytest.fixture
    def numbered(self, tmp_path):
        """
        Six numbered lines: in a log, a rotated one and a gzipped one.
        """
        (tmp_path / "s1").mkdir()
        written = [b'{"data":{"pid":%d}}\n' % number for number in range(6)]
        (tmp_path / "s1" / "session.log").write_bytes(b"".join(written[4:]) + b'{"event":"session_end","data":{}}\n')
        (tmp_path / "s1" / "session.log.1").write_bytes(b"".join(written[2:4]))
        (tmp_path / "s1" / "session.log.2.gz").write_bytes(gzip.compress(b"".join(written[:2])))
        (tmp_path / "s1" / "audit_user.log").write_bytes(written[0])
        return tmp_path

    def found(self, directory):
        """
        The numbers in the logs of the sessions.
        """
        return lines.json_numbers(directory, lambda line: line["data"].get("pid"), lines.SESSION_LOGS)

    def test_finds_lines_in_rotated_and_gzipped_files(self, numbered):
        """
        All that was sent is there, wherever rotation has put it.
        """
        assert lines.check_numbers(self.found(numbered), 6) == 6

    def test_catches_a_lost_a_doubled_and_a_foreign_line(self, numbered):
        """
        The message says how many, and which.
        """
        (numbered / "s1" / "session.log.1").write_bytes(b'{"data":{"pid":3}}\n{"data":{"pid":3}}\n{"data":{"pid":9}}\n')
        with pytest.raises(BenchmarkError) as caught:
            lines.check_numbers(self.found(numbered), 6)
        assert str(caught.value) == "7 of 6 records landed: 1 missing (2); 1 doubled (3); 1 never sent (9)"

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b'{"data":{"pid":1}}\n{"data":', "the last line is torn"),
            (b'{"data":{"pid"\n', "s1/session.log.1:1: no JSON"),
            (b"[1]\n", "s1/session.log.1:1: no object"),
        ],
    )
    def test_takes_no_line_that_is_not_whole(self, numbered, content, says):
        """
        A torn line ends the run with its place.
        """
        (numbered / "s1" / "session.log.1").write_bytes(content)
        with pytest.raises(BenchmarkError, match=says):
            lines.check_numbers(self.found(numbered), 6)

    def test_reads_numbers_out_of_text(self, tmp_path):
        """
        Peers that write text are checked too.
        """
        (tmp_path / "plain.log").write_text("a pid=0 x\na pid=1 x\n")
        assert [*lines.text_numbers(tmp_path, r"pid=(\d+)")] == [0, 1]
        (tmp_path / "plain.log").write_text("a pid=0 x\nsomething else\n")
        with pytest.raises(BenchmarkError, match=r"plain\.log:2: not the line that was logged"):
            [*lines.text_numbers(tmp_path, r"pid=(\d+)")]

    def test_adds_up_what_landed_and_what_was_refused(self):
        """
        Together they are all that was sent; a line that is neither ends the run.
        """
        assert lines.check_rest([0, 2], 3, 1) == 2
        with pytest.raises(BenchmarkError, match="2 of 3 records, 0 of them as refused, landed"):
            lines.check_rest([0, 2], 3, 0)
        with pytest.raises(BenchmarkError, match=r"1 never sent \(3\)"):
            lines.check_rest([0, 3], 3, 1)

    def test_wants_the_metadata_of_each_session(self, numbered):
        """
        A session without its file, or with one that is torn, ends the run.
        """
        with pytest.raises(BenchmarkError, match="0 of 1 metadata files landed"):
            lines.check_metadata(numbered, 1)
        (numbered / "s1" / "metadata.json").write_text('{"session": "s1"')
        with pytest.raises(BenchmarkError, match=r"s1/metadata\.json: no JSON"):
            lines.check_metadata(numbered, 1)
        (numbered / "s1" / "metadata.json").write_text('{"session": "s1"}')
        assert lines.check_metadata(numbered, 1) == 1

    def test_counts_lines_that_have_no_number(self):
        """
        A plain count has to be met too.
        """
        assert lines.check_count(3, 3) == 3
        with pytest.raises(BenchmarkError, match="2 of 3 audit lines landed"):
            lines.check_count(2, 3, "audit lines")
