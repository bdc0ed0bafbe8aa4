"""
The reference in `docs/configuration.md` against the table of keys.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sessionlog_handlers.settings.environment import LEVEL_VARIABLES
from sessionlog_handlers.settings.keys import GROUPS, LOG_ROTATION, Key

PAGE = Path(__file__).parent.parent.parent / "docs" / "configuration.md"
HEADER = "| key | type | default | unit | meaning |\n| --- | --- | --- | --- | --- |\n"


def write_default(key: Key) -> str:
    """
    A key's default as YAML has it.
    """
    if key.default is None or key.default in ({}, []):
        return "none"
    return f"`{str(key.default).lower() if isinstance(key.default, bool) else key.default}`"


def write_row(key: Key) -> str:
    """
    A key's row of the reference.
    """
    aliases = f" Also `{'`, `'.join(key.aliases)}`." if key.aliases else ""
    kind = key.type.replace("|", "\\|")
    return f"| `{key.name}` | {kind} | {write_default(key)} | {key.unit or '-'} | {key.doc}{aliases} |\n"


def write_group(title: str, keys: tuple[Key, ...]) -> str:
    """
    One section of the reference.
    """
    return f"### {title}\n\n{HEADER}{''.join(write_row(key) for key in keys)}"


@pytest.fixture(scope="module")
def page() -> str:
    """
    The text of the page.
    """
    return PAGE.read_text("utf-8")


class TestReference:
    @pytest.mark.parametrize("title", list(GROUPS))
    def test_section_is_that_of_the_table(self, page, title):
        """
        Each key is documented with the type, default, unit and meaning that it has in the code.
        """
        expected = write_group(title, GROUPS[title])
        assert expected in page, f"put this into docs/configuration.md:\n\n{expected}"

    def test_page_documents_nothing_else(self, page):
        """
        A key that was renamed or removed is not documented any more.
        """
        documented = re.findall(r"^\| `([A-Za-z_]+)` \|", page.split("## Reference", 1)[1], re.MULTILINE)
        assert documented == [key.name for keys in GROUPS.values() for key in keys]

    @pytest.mark.parametrize("word", [*LEVEL_VARIABLES, "SESSIONLOG_HOME", "SESSIONLOG_DIR", LOG_ROTATION])
    def test_other_words_are_explained(self, page, word):
        """
        Each variable and the documents' own key are explained.
        """
        assert f"`{word}" in page

    def test_each_meaning_is_one_sentence(self):
        """
        A row is one sentence that ends with a full stop.
        """
        for keys in GROUPS.values():
            for key in keys:
                assert re.fullmatch(r"[A-Z][^\n|]*\.", key.doc), key.name
