"""The docs say what is true now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from imgret.cli.reference import reference

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_command_reference_is_what_the_commands_say():
    written = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    assert written == reference(), "run: python -m imgret.cli.reference > docs/cli.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_named_in_the_docs_exists(page):
    known = set(re.findall(r"--[a-z][a-z-]+", reference())) | {"--help", "--version"}
    for line in re.findall(r"(?:^|`)(imgret [a-z].*?)(?:`|$)", page.read_text(encoding="utf-8"), re.MULTILINE):
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]+", line):
            assert option in known, f"{page.name}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_are_python(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        compile(block, str(page), "exec")


def test_every_command_is_in_the_readme_or_the_tutorial():
    text = (ROOT / "README.md").read_text(encoding="utf-8") + (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    for command in re.findall(r"^## (imgret \w+)$", reference(), re.MULTILINE):
        assert command in text


def test_ci_installs_and_tests_as_the_readme_says():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert "pip install -e '.[dev]' && pytest" in readme
    assert "pip install --quiet --disable-pip-version-check -e '.[dev]'" in script
    assert script.splitlines()[-1] == "pytest"
