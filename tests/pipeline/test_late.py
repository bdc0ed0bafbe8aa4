from __future__ import annotations

import importlib.util
import sys
import zipfile
from importlib.machinery import FrozenImporter, SourceFileLoader

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
        assert type(loaded.__loader__) is type(loaded.__spec__.loader) is SourceFileLoader

    def test_loader_of_several_modules(self, tmp_path, monkeypatch):
        """
        The call comes for its own module, also if another one of the same archive is loaded in between.
        """
        with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
            archive.writestr("zipped_one.py", "value = 1\n")
            archive.writestr("zipped_two.py", "value = 2\n")
        monkeypatch.syspath_prepend(tmp_path / "some.zip")
        seen = []
        when_loaded("zipped_one", lambda loaded: seen.append(loaded.value))
        assert importlib.util.find_spec("zipped_one").loader.get_source("zipped_one") == "value = 1\n"
        for name in ("zipped_two", "zipped_one"):
            monkeypatch.delitem(sys.modules, name, raising=False)
            importlib.import_module(name)
            monkeypatch.delitem(sys.modules, name)
        assert seen == [1]

    def test_loader_that_is_a_class(self, monkeypatch):
        """
        A frozen module is told of, and the class that loads all of them stays as it was.
        """
        before = dict(vars(FrozenImporter))
        seen = []
        monkeypatch.delitem(sys.modules, "__hello__", raising=False)
        when_loaded("__hello__", seen.append)
        loaded = importlib.import_module("__hello__")
        monkeypatch.delitem(sys.modules, "__hello__")
        assert seen == [loaded]
        assert loaded.__spec__.loader is FrozenImporter
        assert dict(vars(FrozenImporter)) == before

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
