"""Where a page of results may be written."""

from __future__ import annotations

import os

import pytest
from typer.testing import CliRunner

from imgret.cli.app import app
from tests.pictures import save


def search(*arguments: str):
    """These are refused before the index is opened, so there is none."""
    return CliRunner().invoke(app, ["search", "no-index", *arguments])


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    save(tmp_path, "query.png", 0)


def test_a_page_of_results_is_html_and_never_a_photograph():
    result = search("query.png", "--html", "query.png")
    assert result.exit_code == 2
    assert "name a file such as query.html" in result.stderr
    os.link("query.png", "page.html")
    result = search("query.png", "--html", "page.html")
    assert result.exit_code == 1
    assert "would overwrite an image" in result.stderr


def test_a_page_that_cannot_be_written_is_named_before_the_search():
    assert "its folder does not exist" in search("query.png", "--html", "gone/page.html").stderr
