from __future__ import annotations

import importlib
import sys

import pytest

from sessionlog_handlers.pipeline.late import never_mind, when_loaded


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module that nobody has loaded."""
    (tmp_path / "loaded_later.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "loaded_later"
    sys.modules.pop("loaded_later", None)


class TestWhenLoaded:
    def test_loaded_later(self, module):
        """
        The call comes when the module is whole, once, and leaves no finder behind.
        """
        before = [*sys.meta_path]
        seen = []
        when_loaded(module, lambda loaded: seen.append(loaded.value))
        assert module not in sys.modules
        loaded = importlib.import_module(module)
        importlib.reload(loaded)
        assert seen == [1]
        assert sys.meta_path == before
        assert "exec_module" not in vars(loaded.__spec__.loader)

    def test_loaded_already(self):
        """
        For a module that is there the call comes at once.
        """
        seen = []
        when_loaded("json", seen.append)
        assert seen == [sys.modules["json"]]

    def test_failure_is_not_the_modules(self, module):
        """
        What the call raises does not reach whoever loads the module.
        """
        when_loaded("json", lambda loaded: 1 / 0)
        when_loaded(module, lambda loaded: 1 / 0)
        assert importlib.import_module(module).value == 1

    def test_missing_module(self):
        """
        A module that is not there is missing as ever.
        """
        when_loaded("no_such_module_at_all", print)
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("no_such_module_at_all")
        never_mind("no_such_module_at_all")

    def test_never_mind(self, module):
        """
        A call that was taken back does not come.
        """
        seen = []
        when_loaded(module, seen.append)
        never_mind(module)
        importlib.import_module(module)
        assert seen == []
