"""
The tables of the documentation are those of the results, and the bars are judged by them.
"""

from __future__ import annotations

import pytest

import bars
import pages
import report
import results
from bars import Bar, Highlight
from report import Report
from topic import BenchmarkError, Figure, Topic, Variant

FAKE = Topic(
    "fake",
    "",
    (
        Variant("ours", lambda *_: {}, "ours"),
        Variant("obvious stack", lambda *_: {}, "peer"),
        Variant("never ran", lambda *_: {}, "peer"),
    ),
    (
        Figure("events/s", "events/s", "higher"),
        Figure("p50", "ns", "lower", ".1f", against=(), in_chart=False),
    ),
    bases={"obvious stack": "obvious"},
)


def save(directory, minor, rate):
    """
    Two rounds of each variant that ran, as a run keeps them.
    """
    rounds = {
        "ours": [{"events/s": rate * 0.9, "p50": 3.0}, {"events/s": rate * 1.1, "p50": 4.0}],
        "obvious stack": [{"events/s": 1000.0}, {"events/s": 1000.0}],
    }
    machine = {"cpu": "a CPU", "cores": 2, "memory_gb": 8, "kernel": "Linux 6", "filesystem": "ext4"}
    entry = {
        "date": "2026-01-02T03:04:05+00:00",
        "python": f"CPython {minor}.1",
        "machine": machine,
        "versions": {"msgspec": "1.0"},
        "variants": results.summarize(FAKE, rounds),
    }
    results.save("fake", minor, entry, directory)


@pytest.fixture
def measured(tmp_path):
    """
    A report on a topic with results of two Pythons.
    """
    save(tmp_path, "3.11", 4000.0)
    save(tmp_path, "3.13", 12345.0)
    return Report(tmp_path, {"fake": FAKE})


class TestTables:
    def test_shows_each_variant_on_each_python(self, measured):
        """
        A cell has the median, how far the rounds were apart, and the ratio; a variant that never ran has no row.
        """
        assert measured.block("fake") == (
            "|  | events/s, 3.11 | events/s, 3.13 |\n"
            "| --- | ---: | ---: |\n"
            "| **ours** | 4,000 ±10 %, 4.0× obvious | 12,345 ±10 %, 12× obvious |\n"
            "| obvious stack | 1,000 ±0 %, 1.0× obvious | 1,000 ±0 %, 1.0× obvious |\n"
        )

    def test_shows_other_figures_that_a_page_asks_for(self, measured):
        """
        A figure that is in no chart is shown where the marker names it; one that does not exist is a mistake.
        """
        assert measured.block("fake", "p50").splitlines()[0] == "|  | p50 [ns], 3.11 | p50 [ns], 3.13 |"
        assert measured.block("fake", "p50").splitlines()[2] == "| **ours** | 3.5 ±14 % | 3.5 ±14 % |"
        with pytest.raises(BenchmarkError, match="fake has no figure 'p51'"):
            measured.block("fake", "p50; p51")

    def test_says_on_what_it_was_measured(self, measured):
        """
        A line for each Python, with the machine and the versions.
        """
        assert measured.block("machine", "fake").splitlines()[0] == (
            "- CPython 3.11.1 on a CPU, 2 cores, 8 GB, Linux 6, ext4; 2026-01-02; msgspec 1.0"
        )

    def test_says_what_was_not_measured(self, tmp_path):
        """
        Without results there are no empty tables.
        """
        nothing = Report(tmp_path, {"fake": FAKE})
        assert nothing.block("fake") == nothing.block("highlights") == "Not measured yet.\n"
        assert nothing.block("machine", "fake") == "Not measured yet.\n"


class TestRewrite:
    def test_replaces_what_stands_between_the_markers_only(self, measured):
        """
        The page around the tables stays, and a second time changes nothing.
        """
        page = "Before.\n\n<!-- begin: fake -->\nold\n<!-- end: fake -->\n\nAfter: `<!-- begin: x -->`.\n"
        fresh = measured.rewrite(page)
        assert fresh == page.replace("old\n", measured.block("fake"))
        assert measured.rewrite(fresh) == fresh

    def test_takes_no_marker_of_an_unknown_table(self, measured):
        """
        A misspelt marker is a mistake, not a table that stays as it is.
        """
        with pytest.raises(BenchmarkError, match="there is no table for 'begin: fakes'"):
            measured.rewrite("<!-- begin: fakes -->\n<!-- end: fakes -->\n")

    @pytest.mark.parametrize("page", [page for page in report.PAGES if page.exists()], ids=lambda page: page.name)
    def test_the_pages_have_the_tables_of_the_results(self, page):
        """
        What the documentation says of the measurements is what is in `benchmarks/results`.
        """
        text = page.read_text("utf-8")
        assert Report().rewrite(text) == text, "make bench-report"
        assert text.count("<!-- begin: ") == text.count("<!-- end: ") == len(pages.MARKERS.findall(text))


class TestBars:
    def test_says_what_is_met_and_by_how_much_it_is_not(self, measured):
        """
        Each bar is judged on each Python.
        """
        rows = measured.bars(
            [
                Bar("rate", "fake", "ours", "events/s", "≥", 10, "obvious stack"),
                Bar("time", "fake", "ours", "p50", "≤", 3.5, unit="ns"),
                Bar("share", "fake", "ours", "p50", "<", 3.5, unit="ns"),
                Bar("none", "fake", "ours", "p50", "≤", 0, unit="ns"),
                Bar("other", "fake", "never ran", "p50", "≤", 3, unit="ns"),
            ]
        ).splitlines()
        assert rows[2:] == [
            "| rate | ≥ 10 × obvious stack | 4× | 12.3× | no: 3.11 misses it by 60 % |",
            "| time | ≤ 3.5 ns | 3.5 ns | 3.5 ns | yes |",
            "| share | < 3.5 ns | 3.5 ns | 3.5 ns | no: 3.11 misses it by 0 %, 3.13 misses it by 0 % |",
            "| none | 0 ns | 3.5 ns | 3.5 ns | no: 3.11 misses it by 3.5 ns, 3.13 misses it by 3.5 ns |",
            "| other | ≤ 3 ns | not measured | not measured | not measured |",
        ]

    def test_highlights_the_newest_python(self, measured):
        """
        A row has ours, what it stands beside, and the ratio.
        """
        rows = measured.highlights([Highlight("rate", "fake", "events/s", "ours"), Highlight("x", "fake", "y", "ours")])
        assert rows.splitlines() == [
            "| CPython 3.13 | here | beside it | ratio |",
            "| --- | ---: | ---: | ---: |",
            "| rate | **12,345** | 1,000 (obvious stack) | 12× |",
            "| x | not measured |  |  |",
        ]

    @pytest.mark.parametrize("bar", bars.BARS, ids=lambda bar: f"{bar.what} {bar.wording}")
    def test_each_names_what_is_measured(self, bar):
        """
        A bar's topic, variants and figures exist, so that none is left unjudged because of a word.
        """
        topic = report.declared_topics()[bar.topic]
        names = {variant.name for variant in topic.variants}
        assert {bar.variant, bar.base or bar.variant} <= names
        assert topic.figure(bar.figure) is not None
        assert topic.figure(bar.base_figure or bar.figure) is not None

    @pytest.mark.parametrize("row", bars.HIGHLIGHTS, ids=lambda row: row.what)
    def test_each_highlight_names_what_is_measured(self, row):
        """
        The same for the rows of the short table.
        """
        topic = report.declared_topics()[row.topic]
        assert {row.ours, row.base} <= {variant.name for variant in topic.variants}
        assert topic.figure(row.figure) is not None
