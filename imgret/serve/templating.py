"""Templating: the pages from their templates, with the look of the report pages; every value is escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

import imgret
from imgret.serve.problems import Problem
from imgret.serve.server import Server

FOLDER = Path(__file__).parent
LOOK = {"base.css": "imgret.report", "cards.css": "imgret.report"}
"""Style sheets that the report pages have inside, by their package."""


@cache
def templates() -> Environment:
    """The environment of all pages."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader("imgret.serve", "templates"), PackageLoader("imgret.report", ".")]),
        autoescape=True,  # whatever the name: the templates end in .jinja
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["address"] = quote
    made.globals["search_address"] = search_address
    made.globals["version"] = imgret.__version__
    return made


@cache
def sheet(name: str) -> str:
    """A style sheet of `LOOK`."""
    loader = templates().loader
    assert loader is not None
    return loader.get_source(templates(), name)[0]


def render(server: Server, template: str, **values: Any) -> bytes:
    """A page of a server as UTF-8."""
    common = {"collection": server.collection.name, "count": server.collection.count, "state": server.asker.state}
    text = templates().get_template(template).render({**common, "failure": server.asker.failure, **values})
    return text.encode("utf-8", "backslashreplace")  # a message may hold a name that is no valid UTF-8


def problem_page(server: Server, problem: Problem) -> str:
    """The page in place of one that cannot be shown; the login page where a token is wanted."""
    name = "login.html.jinja" if problem.status == 401 else "problem.html.jinja"
    return render(server, name, problem=problem, here="").decode()


def search_address(page: str = "/search", **what: object) -> str:
    """An address that searches: what is None, empty or False is left out."""
    given = {name: value for name, value in what.items() if value not in (None, "", False)}
    return f"{page}?{urlencode({name: str(value) for name, value in given.items()})}"
