"""
The configurations that come with the package, each a complete file to copy and change.
"""

from __future__ import annotations

from importlib import resources

from sessionlog_handlers.exceptions import ConfigurationError
from sessionlog_handlers.settings.values import did_you_mean, show

_DIRECTORY = "profiles"
_SUFFIX = ".yaml"


def profile_names() -> list[str]:
    """
    The names of all profiles, sorted.
    """
    directory = resources.files(__package__) / _DIRECTORY
    return sorted(entry.name.removesuffix(_SUFFIX) for entry in directory.iterdir() if entry.name.endswith(_SUFFIX))


def profile_text(name: str) -> str:
    """
    A profile's YAML, comments included.

    Raises:
        ConfigurationError: If there is no profile of that name; the text lists them.
    """
    names = profile_names()
    if name not in names:
        raise ConfigurationError(
            f"there is no profile {show(name)}; choose one of {', '.join(names)}{did_you_mean(name, names)}"
        )
    return (resources.files(__package__) / _DIRECTORY / (name + _SUFFIX)).read_text("utf-8")
