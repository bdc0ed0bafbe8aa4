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
                if hasattr(spec.loader, "exec_module"):  # else it is a namespace, or the loader is of an older kind
                    spec.loader = _Loader(spec.loader)  # type: ignore[assignment]  # as good as one
                return spec
        return None


class _Loader:
    """
    Stands in a module's specification for the loader until the module is loaded.

    The loader itself stays as it is: all modules of an archive have one, and all frozen ones a class.
    """

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        """Load the module, with everything as it would be without us, and tell."""
        module.__loader__ = self._loader
        name = module.__name__
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
            name = module.__spec__.name
        self._loader.exec_module(module)
        call = _waiting.get(name)
        never_mind(name)
        if call is not None:
            with suppress(Exception):  # loading the module must not fail for our sake
                call(module)


_finder: Any = _Finder()
