"""
From options as users write them to `Settings`: names, aliases, tables, combinations, environment.
"""

from __future__ import annotations

import dataclasses
import logging
import logging.config
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionlog_handlers.exceptions import ConfigurationError, SessionLogWarning
from sessionlog_handlers.levels import SessionLevel
from sessionlog_handlers.settings.environment import LEVEL_VARIABLES
from sessionlog_handlers.settings.keys import ALIASES, GROUPS, KEYS, LOG_ROTATION
from sessionlog_handlers.settings.layouts import LAYOUTS, FileSpec
from sessionlog_handlers.settings.model import Settings
from sessionlog_handlers.settings.options import SettingsOptions
from sessionlog_handlers.settings.tables import Flood, Retention

SPAWNS, SIGNALS, PROMPTS, FULL = SessionLevel
DERIVED_FIELDS = {"level_override", "later"}


def read(environ=None, **options):
    """
    Settings of these options in an empty environment.
    """
    return Settings.from_options(options, environ=environ or {})


def complaint(environ=None, **options):
    """
    The error that these options of a handler called ``s`` make.
    """
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_options(options, key_prefix="handlers.s", environ=environ or {})
    return str(caught.value)


class TestTable:
    def test_default_of_each_key_is_that_of_settings(self):
        """
        The default that a key's row shows is what a handler that is told nothing has.
        """
        defaults = Settings()
        for key in KEYS.values():
            if not (key.derived or key.later):
                assert key.parse(key.default) == getattr(defaults, key.name), key.name
        assert KEYS["layout"].parse(KEYS["layout"].default) == defaults.layout

    def test_keys_and_fields_are_the_same(self):
        """
        Each field of Settings can be set by the key of its name, and each key is a field or says that it goes into one.
        """
        fields = {field.name for field in dataclasses.fields(Settings)}
        plain = {key.name for key in KEYS.values() if not (key.derived or key.later)}
        assert fields - DERIVED_FIELDS - plain == {"layout"}
        assert plain <= fields

    def test_typed_options_are_the_same(self):
        """
        A type checker knows each key and alias, and no other.
        """
        assert set(SettingsOptions.__annotations__) | {"directory"} == {*KEYS, *ALIASES, LOG_ROTATION}

    def test_no_name_is_there_twice(self):
        """
        A key or alias means one thing.
        """
        names = [name for keys in GROUPS.values() for key in keys for name in (key.name, *key.aliases)]
        assert len(names) == len(set(names))

    def test_nothing_given_is_the_default(self):
        """
        A handler without options has the defaults, without a word.
        """
        assert read() == Settings()


# What YAML can make of a value.
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | st.binary(max_size=3)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3), max_leaves=6
)


class TestAnything:
    @given(st.dictionaries(st.sampled_from([*KEYS, *ALIASES, LOG_ROTATION]) | SCALARS, VALUES, max_size=4))
    def test_any_options_are_settings_or_problems(self, options):
        """
        Whatever is in a configuration, it makes settings or says what is wrong; nothing else is raised.
        """
        examined = Settings.examine(options, environ={})
        assert (examined.settings is None) == bool(examined.problems)
        for problem in examined.problems:
            assert isinstance(problem, ConfigurationError)

    @given(st.dictionaries(st.sampled_from(LEVEL_VARIABLES), st.text(max_size=8)))
    def test_any_environment_is_survived(self, environ):
        """
        No content of a variable keeps an app from logging.
        """
        assert Settings.examine({}, environ=environ).settings is not None


class TestNames:
    def test_unknown_key_is_refused_with_its_path(self):
        """
        An unknown key is named by its path, with the key that was probably meant.
        """
        assert complaint(max_byte="5 MB") == "handlers.s.max_byte: no such setting; did you mean 'max_bytes'?"

    @pytest.mark.parametrize(
        ("word", "key"), [("path", "directory"), ("max_size", "max_bytes"), ("max-bytes", "max_bytes")]
    )
    def test_other_words_lead_to_the_key(self, word, key):
        """
        Words that other libraries use for a setting lead to ours.
        """
        assert f"did you mean '{key}'?" in complaint(**{word: 1})

    def test_far_word_leads_to_the_list(self):
        """
        Where no key is close, the page that has them all is named.
        """
        assert complaint(zzz=1).endswith("docs/configuration.md lists all settings")

    def test_key_that_is_no_text(self):
        """
        YAML makes a flag of an unquoted on; as a key it is refused.
        """
        problems = Settings.examine({True: 1}, environ={}).problems
        assert "put it in quotes" in str(problems[0])

    @pytest.mark.parametrize(
        ("written", "same"),
        [
            ({"session_log_level": "full"}, {"session_level": "full"}),
            ({"default_session_log_level": "full"}, {"session_level": "full"}),
            ({"maxBytes": "1 MB", "backupCount": 2}, {"max_bytes": "1 MB", "backup_count": 2}),
            ({"log_rotation": {"max_size": "1 MB"}}, {"max_bytes": "1 MB"}),
            ({"rotation": "time", "time_when": "H"}, {"rotation": "time", "when": "H"}),
        ],
    )
    def test_names_of_the_documents_work(self, written, same):
        """
        The names of the requirement documents and of the standard library mean the same as ours.
        """
        assert read(**written) == read(**same)

    def test_retention_days_of_the_document(self):
        """
        log_rotation's retention_days is the age of retention.
        """
        assert read(log_rotation={"retention_days": 7}).retention == Retention(days=7.0)

    @pytest.mark.parametrize(
        ("options", "path"),
        [
            ({"max_bytes": 2048, "maxBytes": 2048}, "maxBytes"),
            ({"max_bytes": 2048, "log_rotation": {"max_size": 2048}}, "log_rotation.max_size"),
            ({"session_log_level": "full", "session_level": "full"}, "session_level"),
            ({"retention": "7d", "log_rotation": {"retention_days": 7}}, "log_rotation.retention_days"),
        ],
    )
    def test_key_beside_its_alias_is_refused(self, options, path):
        """
        Two names of one setting are refused, even with equal values, since nobody can tell which one will be changed.
        """
        text = complaint(**options)
        assert text.startswith(f"handlers.s.{path}: given twice, the other time as ")

    def test_log_rotation_takes_its_two_keys_only(self):
        """
        A wrong key or value inside log_rotation has its own path.
        """
        assert complaint(log_rotation={"max_sizes": 1}).startswith("handlers.s.log_rotation.max_sizes: no such setting")
        assert complaint(log_rotation={"max_size": "x"}).startswith(
            "handlers.s.log_rotation.max_size: 'x' is not a size"
        )
        assert complaint(log_rotation={"retention_days": "x"}).startswith(
            "handlers.s.log_rotation.retention_days: 'x' is"
        )
        assert complaint(log_rotation=5).startswith("handlers.s.log_rotation: 5 is not a mapping")

    def test_all_problems_are_found_at_once(self):
        """
        Whoever checks a file sees each wrong key, not only the first.
        """
        problems = Settings.examine({"max_byte": 1, "linger": "x", "utc": 3}, environ={}).problems
        assert [problem.key for problem in problems] == ["max_byte", "linger", "utc"]


class TestValues:
    def test_everything_as_people_write_it(self, home):
        """
        Sizes, durations, modes, choices and paths of one configuration become plain values in bytes and seconds.
        """
        settings = read(
            directory="~/logs",
            session_level="FULL",
            severity="info",
            rotation="time",
            when="w0",
            max_bytes="5 MB",
            compress=True,
            linger="20 ms",
            idle_close="1h30m",
            file_mode=640,
            directory_mode="0750",
            queue_bytes="1.5 GB",
            logger_prefixes="app.session",
            overflow="wait",
        )
        assert settings == Settings(
            directory=home / "logs",
            session_level=FULL,
            severity=logging.INFO,
            rotation="time",
            when="W0",
            max_bytes=5_242_880,
            compress="gzip",
            linger=0.02,
            idle_close=5400.0,
            file_mode=0o640,
            directory_mode=0o750,
            queue_bytes=1_610_612_736,
            logger_prefixes=("app.session.",),
            overflow="wait",
        )

    @pytest.mark.parametrize("key", [key for key in KEYS if key not in ("directory",)])
    def test_wrong_type_is_refused_with_the_path(self, key):
        """
        Each key refuses a value of a type that it can't have, with its path and one sentence.
        """
        text = complaint(**{key: object()})
        assert text.startswith(f"handlers.s.{key}: ")
        assert "\n" not in text

    @pytest.mark.parametrize(
        "key", [key.name for key in KEYS.values() if key.type in ("size", "duration", "whole number")]
    )
    def test_negative_and_empty_are_refused(self, key):
        """
        No size, time span or number is negative, and an empty value in YAML is a mistake.
        """
        for value in (-1, None):
            assert complaint(**{key: value}).startswith(f"handlers.s.{key}: ")

    def test_unquoted_off_is_off(self):
        """
        YAML reads off as false; where off is a choice that is what it means.
        """
        settings = read(rotation=False, severity=False, compress=False)
        assert (settings.rotation, settings.severity, settings.compress) == ("off", 0, None)

    def test_no_directory_is_the_default(self, home):
        """
        A handler without a directory writes below the home directory.
        """
        assert read(directory=None).directory == home / ".sessionlog" / "logs"

    @pytest.mark.parametrize("size", [1, 1023, "0.5 KB"])
    def test_tiny_rotation_is_refused(self, size):
        """
        A limit that each line would pass is a forgotten unit.
        """
        assert "too small" in complaint(max_bytes=size)

    def test_logger_prefix_ends_with_a_mark(self):
        """
        The children of a logger are meant, not loggers whose names merely begin the same; any other end is kept.
        """
        prefixes = read(logger_prefixes=["app.session", "app.session.", "app-"]).logger_prefixes
        assert prefixes == ("app.session.", "app.session.", "app-")

    def test_limits_have_a_least_and_a_most(self):
        """
        Values that could not work are refused with the limit.
        """
        assert "from 16 to" in complaint(queue_size=3)
        assert "the least is 64 KB" in complaint(queue_bytes=100)
        assert "the most is 1m" in complaint(linger="2h")
        assert "the least is 1ms" in complaint(sync_interval=0)
        assert "the least is 8" in complaint(max_open_files=3)
        assert read(max_open_files=0).max_open_files == 0

    def test_session_level_that_is_a_severity(self):
        """
        Whoever gives a severity as session level is told the key for it.
        """
        assert "the threshold on severity is the key severity" in complaint(session_level="debug")

    def test_unknown_session_level(self):
        """
        An unknown level is refused with the four, and the one that was probably meant.
        """
        text = complaint(session_level="signal")
        assert "choose one of spawns, signals, prompts, full" in text
        assert "did you mean 'signals'" in text


class TestSentences:
    @pytest.mark.parametrize("key", [*KEYS, "x" * 5000, "a\nb", "log_rotation", "time_when"])
    @pytest.mark.parametrize("value", ["x" * 5000, ["x" * 5000], {"x" * 5000: "y" * 5000}, 10**5000], ids=range(4))
    def test_long_values_are_cut(self, key, value):
        """
        Whatever a key was given, its error is a line that can be read.
        """
        for problem in Settings.examine({key: value}, key_prefix="handlers.s", environ={}).problems:
            assert len(str(problem)) < 500
            assert "\n" not in str(problem)

    def test_directory_that_counts_from_nowhere(self, tmp_path, monkeypatch):
        """
        A relative directory in a working directory that was deleted is an error of that key.
        """
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        assert complaint(directory="logs").startswith("handlers.s.directory: 'logs' is relative")

    def test_key_that_is_missing(self):
        """
        YAML's null as a key is most often a name that was forgotten.
        """
        (problem,) = Settings.examine({None: 5}, environ={}).problems
        assert str(problem) == "there is no key before a ':'; if it is called null or ~, put it in quotes"


class TestTables:
    def test_session_levels_keep_their_order(self):
        """
        Patterns are tried in the order in which they are written.
        """
        settings = read(session_levels={"debug-1*": "spawns", "debug-*": "full"}, session_level="prompts")
        assert settings.session_levels == (("debug-1*", SPAWNS), ("debug-*", FULL))
        assert [settings.level_for(name) for name in ("debug-12", "debug-2", "x")] == [SPAWNS, FULL, PROMPTS]

    def test_session_levels_name_the_pattern_at_fault(self):
        """
        A wrong level in the table has the path of its pattern.
        """
        assert complaint(session_levels={"a*": "loud"}).startswith(
            "handlers.s.session_levels.a*: 'loud' is not a session"
        )

    def test_event_of_the_app(self):
        """
        An app's event has the level, severity, audit side and durability that it is given.
        """
        (event,) = read(
            events={"build_done": {"class": "prompts", "severity": "error", "audit": "user", "durable": True}}
        ).events
        assert (event.name, event.session_level, event.severity) == ("build_done", PROMPTS, logging.ERROR)
        assert (event.audit, event.durable) == ("user", True)

    def test_event_by_level_alone(self):
        """
        An event's level may stand for the whole mapping; the rest is as for an unknown event.
        """
        (event,) = read(events={"build_done": "full"}).events
        assert (event.session_level, event.severity, event.audit, event.durable) == (FULL, FULL.number, None, False)

    def test_built_in_event_keeps_what_is_not_said(self):
        """
        Changing one property of a built-in event leaves the others, and a severity of its own, as they are.
        """
        error, output = read(events={"error": {"audit": "none"}, "output": {"session_level": "prompts"}}).events
        assert (error.session_level, error.severity, error.audit, error.durable) == (SIGNALS, logging.ERROR, None, True)
        assert (output.session_level, output.severity) == (PROMPTS, PROMPTS.number)

    @pytest.mark.parametrize(
        ("events", "path"),
        [
            ({"x": {"levl": "full"}}, "events.x.levl"),
            ({"x": {"session_level": "loud"}}, "events.x.session_level"),
            ({"x": {"session_level": "full", "class": "full"}}, "events.x"),
            ({"x": {"audit": "everybody"}}, "events.x.audit"),
            ({"x": {"severity": "off"}}, "events.x.severity"),
            ({"x": 5}, "events.x.session_level"),
            ({"two words": "full"}, "events.two words"),
            ({"a|b": "full"}, "events.a|b"),
            ({"log": "full"}, "events.log"),
            (["x"], "events"),
        ],
    )
    def test_wrong_event_has_its_path(self, events, path):
        """
        What is wrong in the table of events is named by event and property.
        """
        assert complaint(events=events).startswith(f"handlers.s.{path}: ")

    def test_sampling_of_full_events(self):
        """
        Events at full may be sampled, the app's own too.
        """
        assert read(sampling={"output": "10%"}).sampling == {"output": 0.1}
        assert read(sampling={"frame": 0.5}, events={"frame": "full"}).sampling == {"frame": 0.5}

    @pytest.mark.parametrize(
        ("sampling", "reason"),
        [
            (
                {"error": 0.1},
                "sampling.error: only events of session level full are sampled, and this one is at signals",
            ),
            ({"outptu": 0.1}, "sampling.outptu: no such event; did you mean 'output'?"),
            ({"output": 2}, "sampling.output: 2 is not a share"),
        ],
    )
    def test_sampling_of_anything_else_is_refused(self, sampling, reason):
        """
        What is rare is never sampled, and an unknown event is a slip of the pen.
        """
        assert complaint(sampling=sampling).startswith(f"handlers.s.{reason}")


class TestLayout:
    @pytest.mark.parametrize("name", list(LAYOUTS))
    def test_by_name(self, name):
        """
        Each layout has a name.
        """
        assert read(layout=name).layout == LAYOUTS[name]

    def test_as_an_object(self):
        """
        Code may give a layout itself.
        """
        layout = dataclasses.replace(LAYOUTS["fugue"], name="own")
        assert read(layout=layout).layout is layout

    def test_without_audit(self):
        """
        audit: false leaves the layout's other files.
        """
        assert read(audit=False).layout.files == LAYOUTS["multiplexer"].files[:1]

    def test_format_of_the_log(self):
        """
        format changes the session's log and leaves its audit files.
        """
        files = read(format="text").layout.files
        assert [spec.format for spec in files] == ["text", "jsonl", "jsonl"]

    def test_spelled_out(self):
        """
        Files may be spelled out by name, by what they take, or both; they are below the session's directory.
        """
        layout = read(files={"session.log": {"format": "text"}, "a/audit.log": "user"}).layout
        assert layout.files == (
            FileSpec("{id}/session.log", "text", "level"),
            FileSpec("{id}/a/audit.log", "jsonl", "user"),
        )
        assert layout.metadata == "{id}/metadata.json"

    def test_flat_files_keep_metadata_apart(self):
        """
        Where no session has a directory, its metadata is with what is the package's own.
        """
        layout = read(files={"{id}.jsonl": "level"}).layout
        assert layout.files == (FileSpec("{id}.jsonl", "jsonl", "level"),)
        assert layout.metadata == ".sessions/{id}/metadata.json"

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("/etc/passwd", "relative to the root"),
            ("~/x.log", "relative to the root"),
            ("C:/x.log", "relative to the root"),
            ("a\\b.log", "relative to the root"),
            ("../x.log", "above the root"),
            ("{id}/../../x.log", "above the root"),
            ("a//b.log", "empty"),
            ("./b.log", "empty"),
            ("logs/", "empty"),
            ("{name}.log", "only placeholder"),
            ("{id}{.log", "only placeholder"),
            ("{id}", "name the file"),
            ("logs/{id}", "name the file"),
            (".locks/{id}.log", "package's own"),
            ("metadata.json", "metadata.json"),
            ("Metadata.JSON", "metadata.json"),
            ("a\0b", "NUL character"),
        ],
    )
    def test_path_that_leaves_its_place_is_refused(self, name, reason):
        """
        A file's path can't leave the root, take a place that is the package's own, or name no file.
        """
        text = complaint(files={name: "level"})
        assert text.startswith("handlers.s.files")
        assert reason in text

    @pytest.mark.parametrize(
        ("first", "second", "reason"),
        [
            ("a.log", "{id}/a.log", "twice"),
            ("a.log", "A.LOG", "twice"),
            ("a.log", "a.log.1", "rotated file"),
            ("a.log", "a.log.12.gz", "rotated file"),
            ("a", "a/b.log", "file and a directory"),
        ],
    )
    def test_files_that_clash_are_refused(self, first, second, reason):
        """
        Two files of a session can't have one place, nor one the place of the other's old files.
        """
        assert reason in complaint(files={first: "level", second: "user"})

    @pytest.mark.parametrize(
        ("files", "path"),
        [
            ({}, "files"),
            (["session.log"], "files"),
            ({"a.log": "everything"}, "files.a.log.takes"),
            ({"a.log": {"format": "xml"}}, "files.a.log.format"),
            ({"a.log": {"fromat": "text"}}, "files.a.log.fromat"),
            ({"a.log": 3}, "files.a.log"),
        ],
    )
    def test_wrong_file_has_its_path(self, files, path):
        """
        What is wrong with a file is named by file and property.
        """
        assert complaint(files=files).startswith(f"handlers.s.{path}: ")


class TestContradictions:
    @pytest.mark.parametrize(
        ("options", "key", "reason"),
        [
            ({"backup_count": 0}, "backup_count", "would throw the log away"),
            ({"backupCount": 0}, "backupCount", "would throw the log away"),
            ({"rotation": "time", "backup_count": 0}, "backup_count", "would throw the log away"),
            ({"compress": "gzip", "rotation": "off"}, "compress", "with 'rotation: off' there are no old files"),
            ({"compress": "gzip", "max_bytes": 0}, "compress", "with 'max_bytes: 0' there are no old files"),
            ({"rotation": "time", "when": "W0", "interval": 2}, "interval", "once a week"),
            ({"rotation": "time", "when": "fortnight"}, "when", "is none of S, M, H, D, midnight"),
            ({"layout": "fugue", "files": {"a.log": "level"}}, "files", "takes the place of 'layout'"),
            ({"single_file": "/x.log", "layout": "fugue"}, "layout", "one file for all sessions"),
            ({"single_file": "/x.log", "files": {"a": "level"}}, "files", "one file for all sessions"),
            ({"audit": False, "files": {"a": "user"}}, "audit", "none is left"),
            ({"audit_on_error": "raise"}, "audit_on_error", "needs 'audit_durability: sync'"),
            ({"audit_durability": "sync", "audit": False}, "audit_durability", "there are none"),
            ({"audit_durability": "sync", "layout": "recorder"}, "audit_durability", "there are none"),
            ({"max_record_bytes": "64 MB"}, "max_record_bytes", "never fit into 'queue_bytes', which is 32 MB"),
            ({"on_mark": "mail root"}, "on_mark", "there are no 'marks'"),
            ({"trash": "/t", "archive": "tar"}, "archive", "give one of them"),
        ],
    )
    def test_is_refused_with_the_reason(self, options, key, reason):
        """
        Settings that can't both be meant are refused, with the key and the reason.
        """
        text = complaint(**options)
        assert text.startswith(f"handlers.s.{key}: ")
        assert reason in text

    @pytest.mark.parametrize(
        "options",
        [
            {"max_bytes": 0, "backup_count": 0},
            {"rotation": "off", "backup_count": 0},
            {"audit_on_error": "raise", "audit_durability": "sync"},
            {"rotation": "time", "max_bytes": 0, "compress": "gzip"},
            {"on_end": "compress", "rotation": "off"},
            {"single_file": "/x.log", "format": "text"},
        ],
    )
    def test_neighbours_of_contradictions_work(self, options):
        """
        Combinations that make sense are not refused with those that don't.
        """
        assert isinstance(read(**options), Settings)

    def test_size_counts_beside_time_only_when_given(self):
        """
        Rotation by time is by time alone, unless a size is given as well.
        """
        assert read(rotation="time").max_bytes == 0
        assert read(rotation="time", max_bytes="1 MB").max_bytes == 1_048_576

    def test_time_unit_without_time_rotation_is_a_warning(self):
        """
        A time unit that changes nothing is answered with the key that would make it count.
        """
        with pytest.warns(SessionLogWarning, match="when has no effect without 'rotation: time'"):
            read(when="H")

    @pytest.mark.parametrize(
        ("options", "keys"),
        [
            ({"audit_on_error": "raise", "backup_count": 0, "utc": 5}, ["utc", "audit_on_error", "backup_count"]),
            ({"rotation": "tme", "max_bytes": 0, "compress": "gzip"}, ["rotation"]),
            ({"rotatoin": "off", "backup_count": 0}, ["rotatoin"]),
            ({"audit_durabilty": "sync", "audit_on_error": "raise"}, ["audit_durabilty"]),
            ({"log_rotation": {"size": "1 MB"}, "backup_count": 0}, ["log_rotation.size"]),
            ({"files": {"a.log": "audit", "..": "level"}, "audit_durability": "sync"}, ["files"]),
            ({"layout": 5, "files": {"a.log": "level"}, "linger": "x"}, ["layout", "linger"]),
            ({5: 5, "compress": "gzip", "max_bytes": 0}, ["5", "compress"]),
        ],
    )
    def test_checked_beside_other_mistakes(self, options, keys):
        """
        Keys that were read are compared although others could not be; what depends on one of those is not.
        """
        problems = Settings.examine(options, environ={}).problems
        assert sorted(problem.key.partition(".")[0] for problem in problems) == sorted(
            key.partition(".")[0] for key in keys
        )


class TestRetentionAndDisk:
    @pytest.mark.parametrize(
        ("options", "value"),
        [
            ({"retention": "7d"}, Retention(days=7.0)),
            ({"retention": "12h"}, Retention(days=0.5)),
            ({"retention": {"days": 1.5}}, Retention(days=1.5)),
            ({"retention": {"days": 7, "total": "1 GB", "count": 100}}, Retention(7.0, 100, 1024**3)),
            ({"retention": {"keep_free": "5%", "session_bytes": "1 MB"}}, Retention(None, None, None, 0.05, 1024**2)),
            ({"retention": None}, None),
            ({"pinned": "prod-*"}, ("prod-*",)),
            ({"trash": "/var/trash"}, Path("/var/trash")),
            ({"archive": "tar -czf 'a b.tgz'"}, ("tar", "-czf", "a b.tgz")),
            ({"archive": ["tar", "-c"]}, ("tar", "-c")),
            ({"marks": {"warn": "1 GB", "shed": "500 MB"}}, {"warn": 1024**3, "shed": 500 * 1024**2}),
            ({"marks": {"warn": "10%", "suspend": "100 MB"}}, {"warn": 0.1, "suspend": 100 * 1024**2}),
            ({"flood": {"rate": 1000}}, Flood(1000, 1.0)),
            ({"flood": {"rate": 10, "per": "1m"}}, Flood(10, 60.0)),
            ({"capture_errors": True}, True),
        ],
    )
    def test_is_read(self, options, value):
        """
        What is kept, what happens as the disk fills, and how much of one event is too much come out as they were meant.
        """
        (key,) = options
        assert getattr(read(**options), key) == value

    def test_only_bounds_remove(self):
        """
        A bound on one session's size removes no session.
        """
        assert not Retention(session_bytes=1).removes
        assert Retention(keep_free=0.05).removes

    def test_callable_may_be_called(self):
        """
        What is called may be a function, as ext:// gives it.
        """
        assert read(marks={"warn": "1 GB"}, on_mark=print).on_mark is print

    def test_retention_shows_both_ways(self):
        """
        What is no age and no mapping is told with both ways to write one.
        """
        assert complaint(retention=[7]).endswith("[7] does not say what to keep; write 7d or {days: 7, total: 1 GB}")

    @pytest.mark.parametrize("number", [7, 7.0, "7", "7.0", " 7.00 "])
    def test_a_bare_age_is_days(self, number):
        """
        A number without a unit counts days, however it is written and with or without decimals.
        """
        assert read(retention=number).retention == read(retention={"days": number}).retention == Retention(days=7.0)
        assert read(retention="1.5").retention == read(retention={"days": "1.5"}).retention == Retention(days=1.5)

    @pytest.mark.parametrize("age", ["1M", "6 M", "1h 30M"])
    def test_months_or_minutes(self, age):
        """
        An age in M is refused: elsewhere it is minutes, and here months are as likely to be meant.
        """
        assert complaint(retention=age).endswith("may mean months or minutes; write days, such as 30d, or 30min")

    @pytest.mark.parametrize("age", [0, -3, "0", "0s", "soon", True, 36_501, "6000w", float("nan")])
    def test_no_age(self, age):
        """
        What can't be an age is told with all that can.
        """
        sentence = complaint(retention={"days": age})
        assert sentence.endswith(
            "is not an age to keep sessions for; write days, or a number with a unit, such as 7, '12h' or '7d', "
            "above 0 and up to 36500 days; leave it out to keep all"
        )

    @pytest.mark.parametrize(
        ("given", "bound"),
        [
            ("5%", 0.05),
            (0.05, 0.05),
            ("0.05", 0.05),
            (1.0, 1.0),
            ("100%", 1.0),
            (0.0, 0.0),
            (1, 1),
            ("1", 1),
            ("1.5 GB", 3 * 1024**3 // 2),
            (5e9, 5_000_000_000),
        ],
    )
    def test_sizes_and_shares(self, given, bound):
        """
        Up to 1, a number with a decimal point is a share of the disk; whole numbers and units are sizes.
        """
        read_bounds = (
            read(retention={"keep_free": given}).retention.keep_free,
            read(marks={"warn": given}).marks["warn"],
        )
        assert read_bounds == (bound, bound)
        assert {type(one) for one in read_bounds} == {type(bound)}

    @pytest.mark.parametrize("given", ["105%", 1.5, "1.5", "-5%", -0.5, "much", None])
    def test_neither_size_nor_share(self, given):
        """
        A bound on the free space that is neither is told with both.
        """
        for sentence in (complaint(retention={"keep_free": given}), complaint(marks={"warn": given})):
            assert sentence.endswith(
                "is neither a size nor a share of the disk; write bytes or a number with a unit, such as '5 MB', "
                "or a share up to 1 such as '5%' or 0.05"
            )

    @pytest.mark.parametrize("key", ["retention", "pinned", "trash", "archive", "marks", "on_mark", "flood"])
    def test_nothing_is_the_default(self, key):
        """
        Null says the same as leaving the key out.
        """
        assert getattr(read(**{key: None}), key) == getattr(Settings(), key)

    @pytest.mark.parametrize("below", ["", "/old", "/.trash", "/../logs/old"])
    def test_trash_within_the_directory(self, tmp_path, below):
        """
        A trash among the sessions is refused; one beside them is not.
        """
        root = tmp_path / "logs"
        assert "is within 'directory', where sessions are" in complaint(directory=root, trash=f"{root}{below}")
        assert read(directory=root, trash=f"{root}-old").trash == tmp_path / "logs-old"

    def test_one_file_is_no_root(self, tmp_path):
        """
        Retention beside one file for all sessions removes nothing, which deserves a word.
        """
        with pytest.warns(SessionLogWarning, match="retention has no effect with 'single_file'"):
            read(single_file=tmp_path / "all.log", retention="7d")

    def test_a_quote_that_is_not_closed(self):
        """
        A command that can't be split into words is told with the reason.
        """
        assert complaint(archive="tar 'x").endswith("can't be split into words: No closing quotation")

    @pytest.mark.parametrize(
        ("options", "path"),
        [
            ({"retention": {"total": 0}}, "retention.total"),
            ({"retention": {"days": True}}, "retention.days"),
            ({"retention": "soon"}, "retention"),
            ({"retention": {"dayz": 7}}, "retention.dayz"),
            ({"retention": {"days": 0}}, "retention.days"),
            ({"retention": {"count": 0}}, "retention.count"),
            ({"marks": {"warn": "100 MB", "shed": "1 GB"}}, "marks"),
            ({"marks": {"wrn": 1}}, "marks.wrn"),
            ({"flood": {}}, "flood"),
            ({"flood": {"rate": 0}}, "flood.rate"),
            ({"flood": {"rate": 1, "per": 0}}, "flood.per"),
            ({"archive": "tar 'x"}, "archive"),
        ],
    )
    def test_mistakes_are_found(self, options, path):
        """
        A mistake in one of these tables is told of by its path.
        """
        assert complaint(**options).startswith(f"handlers.s.{path}: ")


class TestLater:
    @pytest.mark.parametrize(
        ("options", "value"),
        [
            ({"redact": True}, True),
            ({"redact": ["sk-[a-z0-9]+"]}, ("sk-[a-z0-9]+",)),
            ({"redact_device": "hash"}, "hash"),
            ({"stderr": "all"}, "all"),
        ],
    )
    def test_is_kept_with_a_warning(self, options, value):
        """
        A key of a later version is checked, kept, and said to be without effect.
        """
        (key,) = options
        with pytest.warns(SessionLogWarning, match=f"^{key} is accepted but not enforced by this version$"):
            settings = read(**options)
        assert settings.later == {key: value}

    @pytest.mark.parametrize(
        ("options", "path"), [({"redact": ["("]}, "redact"), ({"redact_device": "hide"}, "redact_device")]
    )
    def test_is_checked_now(self, options, path):
        """
        A mistake in a key of a later version is found today, by its path.
        """
        assert complaint(**options).startswith(f"handlers.s.{path}: ")


class TestEnvironment:
    def test_variable_is_above_the_configuration(self):
        """
        The environment's level counts for each session that asks for none itself, whatever the configuration says.
        """
        settings = read({"SESSIONLOG_LEVEL": "Full"}, session_level="spawns", session_levels={"*": "prompts"})
        assert settings.level_for("x") is FULL

    @pytest.mark.parametrize(
        ("environ", "level"),
        [
            ({"SESSIONLOG_LEVEL": "spawns", "FUGUE_SESSION_LOG": "full", "CCMUX_SESSION_LOG": "prompts"}, SPAWNS),
            ({"FUGUE_SESSION_LOG": "full", "CCMUX_SESSION_LOG": "prompts"}, FULL),
            ({"CCMUX_SESSION_LOG": "prompts"}, PROMPTS),
            ({"SESSIONLOG_LEVEL": " ", "CCMUX_SESSION_LOG": "prompts"}, PROMPTS),
            ({}, None),
        ],
    )
    def test_first_variable_counts(self, environ, level):
        """
        Our own variable is above fugue's, and fugue's above ccmux's; an empty one is none.
        """
        assert read(environ).level_override is level

    def test_bad_value_is_told_and_ignored(self):
        """
        A value that is no level is a visible warning with variable, value and choices; the next variable counts.
        """
        with pytest.warns(SessionLogWarning) as caught:
            settings = read({"SESSIONLOG_LEVEL": "loud", "FUGUE_SESSION_LOG": "full"})
        assert [str(warning.message) for warning in caught] == [
            "the environment variable SESSIONLOG_LEVEL is ignored: 'loud' is not a session level; "
            "choose one of spawns, signals, prompts, full"
        ]
        assert settings.level_override is FULL

    def test_own_environment_is_read_by_default(self, monkeypatch):
        """
        Without an environment of its own, the process's counts.
        """
        monkeypatch.setenv("SESSIONLOG_LEVEL", "prompts")
        assert Settings.from_options({}).level_override is PROMPTS

    def test_variable_never_lowers_a_recording(self):
        """
        A terminal's recording keeps at least what its configuration says; the variable may only add to it.
        """
        lower = read({"SESSIONLOG_LEVEL": "spawns"}, layout="terminal", session_level="full")
        assert lower.level_for("x") is FULL
        mixed = read(
            {"SESSIONLOG_LEVEL": "prompts"}, layout="terminal", session_level="signals", session_levels={"a": "full"}
        )
        assert (mixed.level_for("x"), mixed.level_for("a")) == (PROMPTS, FULL)

    def test_warnings_point_at_the_caller(self):
        """
        A warning names the line that made the handler, not one of this package.
        """

        class Handler:
            def __init__(self, **options):
                self.settings = Settings.from_options(options, environ={})

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            Handler(when="H")
        assert [warning.filename for warning in caught] == [__file__]


class TestUse:
    def test_mappings_of_dictconfig_are_filled_in(self):
        """
        Values that refer to others (cfg://) are filled in inside nested tables too.
        """
        document = logging.config.DictConfigurator(
            {"level": "full", "h": {"session_levels": {"a": "cfg://level"}}}
        ).config
        assert read(**{key: document["h"][key] for key in document["h"]}).session_levels == (("a", FULL),)
