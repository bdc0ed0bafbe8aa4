"""
Apply a configuration as a whole or not at all.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

from sessionlog_handlers.config.applying import Ledger, apply
from sessionlog_handlers.config.document import Findings, examine_document
from sessionlog_handlers.config.loading import load_file, load_text
from sessionlog_handlers.exceptions import ConfigurationError, SessionLogWarning
from sessionlog_handlers.settings.values import show


def configure(config: str | os.PathLike[str] | Mapping[str, Any], *, environ: Mapping[str, str] | None = None) -> None:
    """
    Check a logging configuration as a whole, then apply it as :func:`logging.config.dictConfig` would.

    Other threads may log meanwhile: no record is left out that the old configuration and the new one both take.

    Args:
        config: Path of a YAML file, or the mapping that would be in it.

        environ: The environment that the check reads the session level's variables from. (default: the process's own)

    Raises:
        ConfigurationError: If anything in it is wrong; the text has the key and what is allowed. Logging is then as it
            was before.

    .. versionadded:: 0.1.0
    """
    apply_checked(config if isinstance(config, Mapping) else load_file(path_of(config)), environ=environ)


def apply_checked(
    document: Mapping[str, Any], ledger: Ledger | None = None, *, environ: Mapping[str, str] | None = None
) -> None:
    """
    Apply a document as a whole, if all of it is right.

    Args:
        document: The mapping.

        ledger: What its last version did, see `apply`.

        environ: As for `configure`.
    """
    findings = examine_document(document, environ)
    if findings.problems:
        raise _one_of(findings)
    apply(document, ledger)


def validate(config: Mapping[str, Any], *, environ: Mapping[str, str] | None = None) -> list[str]:
    """
    Every problem of a configuration, each as one sentence with its key; empty if there is none.

    What is no problem, but may be meant otherwise, is shown as `SessionLogWarning`.

    Args:
        config: The mapping that `configure` would get.

        environ: The environment. (default: the process's own)
    """
    findings = examine_document(config, environ)
    for sentence in findings.warnings:
        warnings.warn(sentence, SessionLogWarning, stacklevel=2)
    return [str(problem) for problem in findings.problems]


def check_file(path: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None) -> list[str]:
    """
    Every problem of a configuration file, as `validate` gives them; a file that can't be read is one problem.
    """
    try:
        document = load_file(path_of(path))
    except ConfigurationError as error:
        return [str(error)]
    return validate(document, environ=environ)


def check_text(text: str, name: str, *, environ: Mapping[str, str] | None = None) -> list[str]:
    """
    Every problem of a configuration's text; *name* says where it came from.
    """
    try:
        document = load_text(text, name)
    except ConfigurationError as error:
        return [str(error)]
    return validate(document, environ=environ)


def path_of(config: object) -> str:
    """
    The path that somebody gave as text or as a path object.

    Raises:
        ConfigurationError: If it is neither.
    """
    if isinstance(config, str | os.PathLike):
        return os.fsdecode(config)
    raise ConfigurationError(f"{show(config)} is no configuration; give the path of a YAML file, or a mapping")


def _one_of(findings: Findings) -> ConfigurationError:
    first, *others = findings.problems
    if not others:
        return first
    more = "; ".join(str(problem) for problem in others)
    return ConfigurationError(f"{first.message} ({len(others)} more: {more})", first.key)
