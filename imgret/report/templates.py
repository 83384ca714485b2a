"""Pages from templates: one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imgret import atomic
from imgret.errors import InputError


def check_writable(path: str | Path) -> None:
    """InputError when the folder of a page does not exist, or the page is a folder."""
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        problem = "is a folder" if path.is_dir() else "cannot be written: its folder does not exist"
        raise InputError(f"the page {path} {problem}; name a file such as results.html")


def write_template(path: Path, template: str, **values: Any) -> None:
    """Fill a template of this folder and write it, whole or not at all; every value is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("imgret.report", "."),
        autoescape=True,  # whatever the name: the template ends in .jinja
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = templates.get_template(template).render(values)
    # a title or note may hold a file name that is no valid UTF-8
    atomic.write_bytes(path, text.encode("utf-8", "backslashreplace"))
