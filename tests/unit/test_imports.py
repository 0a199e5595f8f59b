"""Imports point one way: stronglens -> dashboard | analysis -> training -> etl -> db."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.settings import CHECKOUT

MAY_IMPORT = {
    "db": set(),
    "etl": {"db"},
    "training": {"etl", "db"},
    "analysis": {"training", "etl", "db"},
    "dashboard": {"training", "etl", "db"},
}
OURS = {*MAY_IMPORT, "stronglens"}


def imported(source: str) -> Iterator[tuple[str, str]]:
    """Module and name of each absolute import; the name is empty for `import module`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node.module or "", alias.name) for alias in node.names)


def offences(package: str, source: str) -> list[str]:
    found = []
    for module, name in imported(source):
        top = module.split(".")[0]
        if top not in OURS or top == package:
            continue
        if top not in MAY_IMPORT[package]:
            found.append(f"{package} imports {module}")
        if any(part.startswith("_") and not part.startswith("__") for part in (*module.split("."), name)):
            found.append(f"{package} imports the private {module}.{name}")
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    files = sorted((CHECKOUT / package).rglob("*.py"))
    assert files
    found = [f"{path}: {line}" for path in files for line in offences(package, path.read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("db", "import etl.commands"),
        ("etl", "from training import model"),
        ("analysis", "from dashboard.app import main"),
        ("training", "from etl._fits import rows"),
        ("training", "from etl.fits import _rows"),
        ("etl", "def f():\n    from stronglens import app"),
    ],
)
def test_the_rule_finds_an_import_that_breaks_it(package: str, source: str) -> None:
    assert offences(package, source)


def test_migrations_never_import_our_models() -> None:
    revisions = sorted(Path(CHECKOUT / "migrations" / "versions").glob("*.py"))
    assert revisions
    found = [(path.name, module) for path in revisions for module, _ in imported(path.read_text())]
    assert not [(name, module) for name, module in found if module.startswith("db.models")]
