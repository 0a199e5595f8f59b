"""The commands of the README run as they stand, on what the demo made of a tiny sky."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from db.settings import CHECKOUT
from tests.conftest import Populated

README = (CHECKOUT / "README.md").read_text()
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", README, re.DOTALL)
STAGES = next(body for _, body in BLOCKS if "stronglens db upgrade" in body)
QUERIES = next(body for _, body in BLOCKS if "db psql" in body)
PYTHON = next(body for kind, body in BLOCKS if kind == "python")


def prepared(script: str, pipeline: Path) -> str:
    """The README's text with the tiny sky, recipe and model in place of the demo's."""
    script = script.replace(".stronglens/mock", str(pipeline / "mock"))
    script = script.replace("training/configs/demo.yaml", str(pipeline / "recipe.yaml"))
    script = re.sub(r"(--out \S+)", rf"\1 --config {pipeline / 'sky.yaml'}", script)
    return (
        script.replace("score demo", "score tiny").replace("evaluate demo", "evaluate tiny").replace("'demo'", "'tiny'")
    )


def sh(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-euc", script], cwd=CHECKOUT, capture_output=True, text=True)


def test_every_stage_of_the_readme_runs_and_changes_nothing_that_is_there(populated: Populated, pipeline: Path) -> None:
    commands = [line for line in prepared(STAGES, pipeline).splitlines() if "stronglens dashboard" not in line]
    commands[0] = f'export PATH="{Path(sys.executable).parent}:$PATH"'
    done = sh("\n".join(commands))
    assert done.returncode == 0, done.stdout + done.stderr
    for said in ("already loaded: 32,838 rows", "already rendered", "0 loaded", "already drawn", "split_leakage: 0",
                 "made now: 0 ok", "GO", "already trained", "0 scored"):  # fmt: skip
        assert said in done.stdout + done.stderr, said


def test_the_queries_of_the_readme_answer(populated: Populated, pipeline: Path) -> None:
    done = sh(f'export PATH="{Path(sys.executable).parent}:$PATH"\n' + prepared(QUERIES, pipeline))
    assert done.returncode == 0, done.stderr
    assert re.search(r"tier_a +\| +\d+ +\| +\d+", done.stdout)
    assert re.search(r"count *\n-+\n +0\n", done.stdout)


def test_the_notebook_lines_of_the_readme_print_candidates(populated: Populated, pipeline: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", prepared(PYTHON, pipeline)], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^0 +1 +0\.\d+", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make ([a-z]+)", README))))
def test_every_make_target_of_the_readme_exists(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_link_of_the_docs_leads_somewhere() -> None:
    pages = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
    for page in pages:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_command_of_the_readme_is_known() -> None:
    import stronglens

    stronglens._assemble()
    root = get_command(stronglens.app)
    words = set(re.findall(r"^stronglens ([a-z]+)", STAGES + QUERIES, re.MULTILINE))
    assert words <= set(root.commands)  # type: ignore[attr-defined]
    assert len(words) > 8
