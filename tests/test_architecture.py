"""
The imports of the package against the layers that `docs/architecture.md` lists.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import PACKAGE_DIRECTORY

PACKAGE = "sessionlog_handlers"
PAGE = Path(__file__).parent.parent / "docs" / "architecture.md"


def read_layers(text: str) -> dict[str, tuple[int, str]]:
    """
    Module → number and name of its layer, from the page's table. A nameless row belongs to the layer above it.
    """
    table = re.search(r"^\| layer \| modules \|.*\n\|[ -|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table, "the page has no table of layers"
    result: dict[str, tuple[int, str]] = {}
    number, layer = -1, ""
    for row in table[1].splitlines():
        name, modules, _reason = (cell.strip() for cell in row.strip("|").split("|", 2))
        if name:
            number, layer = number + 1, name
        for module in re.findall(r"`([a-z_.]+)`", modules):
            assert module not in result, f"{module} stands in the table twice"
            result[module] = (number, layer)
    return result


def layer_of(module: str, layers: dict[str, tuple[int, str]]) -> tuple[int, str] | None:
    """
    The layer of a module: its own row, else that of its package; ``cli.main`` stands for each command beside it.
    """
    if module.startswith("cli."):
        module = "cli.main"
    while module and module not in layers:
        module = module.rpartition(".")[0]
    return layers.get(module)


def find_modules(directory: Path) -> dict[str, Path]:
    """
    Dotted name within the package → file, without empty ``__init__`` files and the package's own.
    """
    result = {}
    for path in sorted(directory.rglob("*.py")):
        parts = path.relative_to(directory).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
            if not parts or is_empty(path):
                continue
        result[".".join(parts)] = path
    return result


def is_empty(path: Path) -> bool:
    """
    Whether a file holds nothing but, perhaps, a docstring.
    """
    body = ast.parse(path.read_bytes()).body
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """
    Every node that may run, those in functions too; not what stands under ``if TYPE_CHECKING``.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in {
            getattr(node.test, "id", None),
            getattr(node.test, "attr", None),
        }:
            for alternative in node.orelse:
                yield alternative
                yield from runtime_nodes(alternative)
            continue
        yield node
        yield from runtime_nodes(node)


def imported_names(source: str | bytes, module: str, is_package: bool = False) -> Iterator[str]:
    """
    Full dotted names that the source imports; for ``from a import b`` that is ``a.b``, whatever ``b`` is.
    """
    package = [PACKAGE, *module.split(".")] if is_package else [PACKAGE, *module.split(".")[:-1]]
    for node in runtime_nodes(ast.parse(source)):
        match node:
            case ast.Import(names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(name, names, level):
                base = ".".join([*package[: len(package) - (level or 0) + 1], name or ""]).strip(".") if level else name
                yield from (f"{base}.{alias.name}" for alias in names)
            case ast.Call(ast.Name("import_module") | ast.Attribute(_, "import_module"), [ast.Constant(str(name)), *_]):
                yield name


def find_imports(modules: dict[str, Path]) -> dict[str, set[str]]:
    """
    Module → modules of the package that it imports. The package itself is called ``""``.
    """
    result: dict[str, set[str]] = {}
    for module, path in modules.items():
        result[module] = set()
        for name in imported_names(path.read_bytes(), module, path.name == "__init__.py"):
            head, _, inner = name.partition(".")
            if head != PACKAGE:
                continue
            while inner and inner not in modules:
                inner = inner.rpartition(".")[0]
            result[module].add(inner)
    return result


def find_cycle(imports: dict[str, set[str]]) -> list[str]:
    """
    One cycle as a list that begins and ends with the same module, or nothing.
    """
    done: set[str] = set()

    def visit(module: str, way: list[str]) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module not in done:
            for target in sorted(imports.get(module, ())):
                if cycle := visit(target, [*way, module]):
                    return cycle
            done.add(module)
        return []

    for module in sorted(imports):
        if cycle := visit(module, []):
            return cycle
    return []


@pytest.fixture(scope="module")
def layers() -> dict[str, tuple[int, str]]:
    """
    The table of the page.
    """
    return read_layers(PAGE.read_text("utf-8"))


@pytest.fixture(scope="module")
def modules() -> dict[str, Path]:
    """
    The modules of the package as it is.
    """
    return find_modules(PACKAGE_DIRECTORY)


class TestPackage:
    def test_every_module_is_in_the_table(self, modules, layers):
        """
        Each module has its layer in docs/architecture.md.
        """
        assert [module for module in modules if layer_of(module, layers) is None] == []

    def test_table_lists_only_modules_that_exist(self, modules, layers):
        """
        The page names nothing that was renamed or never written.
        """
        packages = {module.rpartition(".")[0] for module in modules}
        assert [module for module in layers if module not in modules and module not in packages] == []

    def test_imports_point_down_the_table_only(self, modules, layers):
        """
        A module imports from its own layer and those above it in the table, in functions too.
        """
        against = []
        for module, targets in find_imports(modules).items():
            own = layer_of(module, layers)
            for target in sorted(targets):
                other = layer_of(target, layers)
                if own and other and other[0] > own[0]:
                    against.append(f"{module} ({own[1]}) imports {target} ({other[1]})")
        assert against == []

    def test_there_is_no_import_cycle(self, modules):
        """
        No module imports itself, directly or by way of others.
        """
        assert find_cycle(find_imports(modules)) == []

    def test_modules_import_from_modules(self, modules):
        """
        The public names at the top of the package are for its users: importing from there inside would be a cycle.
        """
        assert [module for module, targets in find_imports(modules).items() if "" in targets] == []

    def test_writing_side_knows_nothing_of_reading(self, modules, layers):
        """
        An app that only writes never loads a line of the reading side or of the commands.
        """
        imports = find_imports(modules)
        reached = {module for module in modules if (layer := layer_of(module, layers)) and layer[1] == "faces"}
        waiting = list(reached)
        while waiting:
            new = imports.get(waiting.pop(), set()) - reached
            reached |= new
            waiting += new
        assert [module for module in sorted(reached) if module.split(".")[0] in {"reading", "care", "cli"}] == []


class TestReadLayers:
    def test_nameless_rows_continue_a_layer(self):
        """
        Rows of one layer may have a reason each.
        """
        text = (
            "| layer | modules | why |\n| --- | --- | --- |\n| a | `x`, `y.z` | - |\n| | `w` | - |\n| b | `v` | - |\n"
        )
        assert read_layers(text) == {"x": (0, "a"), "y.z": (0, "a"), "w": (0, "a"), "v": (1, "b")}

    def test_commands_need_no_row_each(self):
        """
        The row of ``cli.main`` stands for its commands.
        """
        assert layer_of("cli.show", {"cli.main": (7, "cli")}) == (7, "cli")

    def test_row_of_a_package_holds_for_its_modules(self):
        """
        A package that the page names as a whole needs no row for each module in it.
        """
        assert layer_of("config.loading", {"config": (5, "faces")}) == (5, "faces")
        assert layer_of("configuration", {"config": (5, "faces")}) is None


class TestImportedNames:
    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("import sessionlog_handlers.a.b", ["sessionlog_handlers.a.b"]),
            ("from sessionlog_handlers.a import b, c", ["sessionlog_handlers.a.b", "sessionlog_handlers.a.c"]),
            ("def f():\n    from sessionlog_handlers import a", ["sessionlog_handlers.a"]),
            ("from . import b", ["sessionlog_handlers.x.b"]),
            ("from .b import c", ["sessionlog_handlers.x.b.c"]),
            ("from ..b import c", ["sessionlog_handlers.b.c"]),
            ("importlib.import_module('sessionlog_handlers.a')", ["sessionlog_handlers.a"]),
            ("if TYPE_CHECKING:\n    import a\nelse:\n    import b", ["b"]),
            ("if typing.TYPE_CHECKING:\n    import a", []),
            ("try:\n    import a\nexcept ImportError:\n    a = None", ["a"]),
        ],
    )
    def test_sees_imports_that_run(self, source, expected):
        """
        Absolute, relative, late and dynamic imports count; those for type checkers do not.
        """
        assert list(imported_names(source, "x.y")) == expected


class TestFindCycle:
    def test_names_the_way_round(self):
        """
        The cycle is given from a module back to itself.
        """
        assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]

    def test_diamond_is_none(self):
        """
        Two ways to one module are no cycle.
        """
        assert find_cycle({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}) == []
