"""
Something to do as soon as a module is there: at once if it is loaded, else when the app loads it. Never loads it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_waiting: dict[str, Callable[[ModuleType], None]] = {}


def when_loaded(name: str, call: Callable[[ModuleType], None]) -> None:
    """
    Call something with a module when that is loaded, and once only for each name.

    Args:
        name: The module's full name.

        call: What is called, in the thread that loads the module. What it raises is nobody's concern.
    """
    module = sys.modules.get(name)
    if module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False):
        with suppress(Exception):
            call(module)
        return
    _waiting[name] = call
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def never_mind(name: str) -> None:
    """
    Nothing is to be done any more when that module is loaded.
    """
    _waiting.pop(name, None)
    if not _waiting:
        with suppress(ValueError):
            sys.meta_path.remove(_finder)


class _Finder:
    """
    Stands before the finders of the import system, and leaves all finding to them.
    """

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """What the others find, with a loader that tells when it is done."""
        if name not in _waiting:
            return None
        for finder in [*sys.meta_path]:
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find(name, path, target) if find is not None and finder is not self else None
            if spec is not None:
                with suppress(Exception):  # a loader that can't be changed: then nobody is told
                    _tell_when_done(name, spec)
                return spec
        return None


def _tell_when_done(name: str, spec: ModuleSpec) -> None:
    loader: Any = spec.loader
    load = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        with suppress(AttributeError):
            del loader.exec_module
        load(module)
        call = _waiting.get(name)
        never_mind(name)
        if call is not None:
            with suppress(Exception):  # loading the module must not fail for our sake
                call(module)

    loader.exec_module = exec_module


_finder: Any = _Finder()
