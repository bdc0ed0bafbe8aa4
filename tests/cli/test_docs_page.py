from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from sessionlog_handlers.cli.main import NAME, cli

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "scripts" / "make_cli_docs.py"


@pytest.fixture
def script() -> ModuleType:
    """
    The script that makes the page.
    """
    if not SCRIPT.exists():
        pytest.skip("runs from a checkout only")
    spec = importlib.util.spec_from_file_location("make_cli_docs", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestPage:
    def test_is_up_to_date(self, script: ModuleType) -> None:
        """
        docs/cli.md is what the commands say now; if not, `python scripts/make_cli_docs.py` makes it so.
        """
        assert script.PAGE.read_text("utf-8") == script.render()

    def test_every_command_has_an_example(self, script: ModuleType) -> None:
        """
        The help of each command shows how it is used.
        """
        for command, context in script.iter_commands(cli, script.top_context()):
            assert f"Example:\n  {NAME}" in command.get_help(context).replace("\n    ", "\n  ").replace(
                'eval "$(', ""
            ), context.command_path
