from __future__ import annotations

import io
import logging
import logging.config
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sessionlog_handlers
from sessionlog_handlers.context import set_default_session, use_session
from sessionlog_handlers.exceptions import ConfigurationError
from sessionlog_handlers.filters import FloodGuard, Sampler, SamplingFilter, SessionFilter
from sessionlog_handlers.formats.records import record_content
from sessionlog_handlers.levels import FULL, PROMPTS, SIGNALS, SPAWNS


def _record(level: int = logging.INFO, name: str = "app", **attributes: object) -> logging.LogRecord:
    made = logging.LogRecord(name, level, __file__, 1, "hello", (), None)
    made.__dict__.update(attributes)
    return made


class TestSessionFilter:
    def test_stamps(self):
        """
        A record gets its session, session level and audit side as attributes that a format can show.
        """
        made = _record(event="initial_prompt")
        with use_session("mine"):
            assert SessionFilter().filter(made)
        text = logging.Formatter("%(session_id)s %(session_level)s %(audit)s %(message)s").format(made)
        assert text == "mine prompts user hello"

    @pytest.mark.parametrize(
        ("made", "stamped"),
        [
            (_record(), ("-", "prompts", "-")),
            (_record(logging.ERROR), ("-", "signals", "-")),
            (_record(logging.DEBUG), ("-", "full", "-")),
            (_record(logging.DEBUG, event="session_start"), ("-", "spawns", "system")),
            (_record(logging.DEBUG, event="no such event"), ("-", "full", "-")),
            (_record(logging.DEBUG, event=["unhashable"]), ("-", "full", "-")),
            (_record(session_id="own"), ("own", "prompts", "-")),
        ],
    )
    def test_stamps_by_event_or_severity(self, made, stamped):
        """
        The session level is the event's class, or follows from the severity where there is no known event.
        """
        assert SessionFilter().filter(made)
        assert (made.session_id, made.session_level, made.audit) == stamped

    @pytest.mark.parametrize(
        ("level", "passing"),
        [
            ("spawns", [SPAWNS]),
            ("signals", [SPAWNS, SIGNALS, logging.ERROR, logging.WARNING]),
            ("prompts", [SPAWNS, SIGNALS, PROMPTS, logging.ERROR, logging.WARNING, logging.INFO]),
            ("FULL", [SPAWNS, SIGNALS, PROMPTS, FULL, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG]),
        ],
    )
    def test_passes_up_to_its_level(self, level, passing):
        """
        Only what a session at that level takes is passed.
        """
        numbers = (SPAWNS, SIGNALS, PROMPTS, FULL, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)
        judge = SessionFilter(session_level=level)
        assert [number for number in numbers if judge.filter(_record(number))] == passing

    def test_name(self):
        """
        With a name it passes that logger and its children only, as the standard library's filter does.
        """
        judge = SessionFilter("app")
        assert [name for name in ("app", "app.child", "apple", "other") if judge.filter(_record(name=name))] == [
            "app",
            "app.child",
        ]

    def test_require_session(self):
        """
        On request, only records that belong to a session pass.
        """
        judge = SessionFilter(require_session=True, logger_prefixes=["sessions."])
        assert not judge.filter(_record())
        assert judge.filter(_record(name="sessions.abc"))
        assert judge.filter(_record(session_id="own"))
        set_default_session("default")
        assert judge.filter(_record())

    def test_default(self):
        """
        The stand-in for no session can be chosen, and stamping a record twice changes nothing.
        """
        made = _record()
        for _ in range(2):
            assert SessionFilter(default="none").filter(made)
            assert made.session_id == "none"
        assert not SessionFilter(require_session=True).filter(made)

    def test_wrong_level(self):
        """
        A level that is none of the four is an error at once.
        """
        with pytest.raises(ConfigurationError, match="spawns, signals, prompts, full"):
            SessionFilter(session_level="loud")

    def test_stamp_starts_no_session(self, tmp_path):
        """
        A record without a session that passed this filter on one handler is without a session for a `SessionHandler`.
        """
        console = logging.StreamHandler(io.StringIO())
        console.addFilter(SessionFilter())
        console.setFormatter(logging.Formatter("%(session_id)s"))
        handler = sessionlog_handlers.SessionHandler(tmp_path / "logs")
        logger = logging.getLogger("test_stamp_starts_no_session")
        logger.addHandler(console)
        logger.addHandler(handler)
        logger.warning("nobody's")
        handler.flush()
        assert console.stream.getvalue() == "-\n"
        assert handler.stats()["sessions"] == 0
        assert handler.stats()["unrouted"] == 1

    def test_stamps_are_no_extra(self):
        """
        Whether a handler with the filter comes first or last, the line of a record is the same.
        """
        made = _record(colour="red")
        assert SessionFilter().filter(made)
        assert record_content(made).data == {"colour": "red"}

    def test_extra_of_the_same_name_stays(self):
        """
        What the app itself calls so is not overwritten, however many filters see the record.
        """
        made = _record(audit="mine")
        for _ in range(2):
            assert SessionFilter().filter(made)
        assert (made.audit, made.session_level) == ("mine", "prompts")
        assert record_content(made).data == {"audit": "mine"}

    def test_in_a_configuration(self):
        """
        `dictConfig` builds both filters.
        """
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "filters": {
                    "session": {"()": "sessionlog_handlers.filters.SessionFilter", "session_level": "prompts"},
                    "half": {"()": "sessionlog_handlers.filters.SamplingFilter", "share": 0.5},
                },
                "handlers": {"null": {"class": "logging.NullHandler", "filters": ["session", "half"]}},
                "loggers": {"test_in_a_configuration": {"handlers": ["null"]}},
            }
        )
        session, half = logging.getLogger("test_in_a_configuration").handlers[0].filters
        assert isinstance(session, SessionFilter)
        assert isinstance(half, SamplingFilter)


class TestSampling:
    @pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.25, 0.3, 0.5, 0.7, 0.9, 0.999, 1.0])
    def test_exact_share(self, share):
        """
        Of a thousand, exactly the share is kept, and the rest is counted.
        """
        sampler = Sampler(share)
        kept = sum(sampler.admit() for _ in range(1000))
        assert kept == round(1000 * share)
        assert sampler.take_left_out() == 1000 - kept
        assert sampler.take_left_out() == 0

    def test_evenly_spread(self):
        """
        What is kept does not come in bursts.
        """
        sampler = Sampler(0.25)
        assert [sampler.admit() for _ in range(8)] == [False, False, False, True] * 2

    def test_threads(self):
        """
        The share is exact with several threads, too.
        """
        sampler = Sampler(0.3)
        kept = []
        threads = [
            threading.Thread(target=lambda: kept.append(sum(sampler.admit() for _ in range(1000)))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(kept) == 2400
        assert sampler.take_left_out() == 5600

    def test_filter_spares_what_is_severe(self):
        """
        Records of the named severity and above always pass and take no part in the share.
        """
        thin = SamplingFilter(0.1, below="error")
        passed = [thin.filter(_record(level)) for level in [logging.DEBUG, logging.WARNING, logging.ERROR] * 100]
        assert sum(passed) == 100 + 20
        assert thin.left_out == 180
        assert thin.left_out == 0

    def test_filter_takes_a_number(self):
        """
        The severity may be given as a number.
        """
        assert SamplingFilter(0.0, below=20).filter(_record(logging.INFO))
        assert not SamplingFilter(0.0, below=20).filter(_record(19))

    @pytest.mark.parametrize("share", [-0.1, 1.1, True, "half", None, float("nan")])
    def test_wrong_share(self, share):
        """
        A share that is no number from 0 to 1 is an error that shows it.
        """
        with pytest.raises(ConfigurationError, match="share"):
            SamplingFilter(share)

    def test_wrong_severity(self):
        """
        A severity that the standard library does not know is an error that names the key.
        """
        with pytest.raises(ConfigurationError) as caught:
            SamplingFilter(0.5, below="loud")
        assert caught.value.key == "below"


class TestFloodGuard:
    def test_a_time_begins_with_its_first_event(self):
        """
        So many events are admitted in a time that begins with the first of them; then the next one begins another.
        """
        guard = FloodGuard()
        times = [10.0, 10.2, 10.4, 10.6, 10.999, 11.0, 11.1, 11.2, 20.0]
        assert [guard.excess(now, 2, 1.0) for now in times] == [0, 0, 1, 2, 3, 0, 0, 1, 0]

    @given(
        gaps=st.lists(st.floats(0, 3) | st.just(0.0), max_size=100),
        rate=st.integers(1, 5),
        per=st.floats(0.01, 5),
    )
    def test_any_times(self, gaps, rate, per):
        """
        Whenever events come: no time has more than the rate, what is beyond is numbered from one, and none is held
        back before the rate is reached.
        """
        guard = FloodGuard()
        now, began, count = 1000.0, None, 0
        for gap in gaps:
            now += gap
            if began is None or now - began >= per:
                began, count = now, 0
            count += 1
            excess = guard.excess(now, rate, per)
            assert excess == max(count - rate, 0)

    def test_threads(self):
        """
        Whatever threads ask, exactly the rate is admitted.
        """
        guard, admitted = FloodGuard(), []

        def ask() -> None:
            admitted.append(sum(not guard.excess(1.0, 1000, 1.0) for _ in range(2000)))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(admitted) == 1000
        assert guard.excess(1.0, 1000, 1.0) == 7001
