"""Ground truths: which images answer a query. One file per format, one row per format below."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from imgret.errors import GroundTruthError
from imgret.tables import look_up, resolve

if TYPE_CHECKING:
    from imgret.ground_truth.judgements import GroundTruth

AUTO = "auto"


class Format(NamedTuple):
    """A row of `FORMATS`: `reader` is "module:function", called with (path, content)."""

    reader: str
    summary: str


FORMATS = {
    "revisitop": Format(
        "imgret.ground_truth.revisitop:read",
        "revisited Oxford/Paris: easy, hard and junk lists, as the published pickle or as JSON",
    ),
    "labels": Format(
        "imgret.ground_truth.labels:read",
        "CSV with path,label and optionally split: images of one label answer each other",
    ),
}


def load(path: str | Path, format: str = AUTO) -> GroundTruth:
    """Read a ground truth; `format` is a name of `FORMATS`, or "auto" to tell from the file.

    GroundTruthError when the file cannot be read, is malformed, or "auto" cannot tell;
    UnknownNameError for a format that is in no row.
    """
    path = Path(path)
    if format != AUTO:
        look_up(FORMATS, "ground-truth format", format)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise GroundTruthError(f"cannot read ground truth {path}: {error.strerror or error}") from error
    guessed = format == AUTO
    name = detect(path, content) if guessed else format
    read = resolve(FORMATS[name].reader)
    try:
        return read(path, content)
    except GroundTruthError as error:
        if not guessed:
            raise
        others = " or ".join(f"--format {other}" for other in FORMATS if other != name)
        raise GroundTruthError(f"{error} (read as {name}; if it is something else, say {others})") from error


def detect(path: Path, content: bytes) -> str:
    """The format of a file, from its first bytes and then its suffix; GroundTruthError if neither tells."""
    start = content[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    # 0x80 opens a pickle of protocol 2 or later; "(" one of protocol 0 or 1.
    if start[:1] in (b"\x80", b"{") or start[:2] in (b"(d", b"}q"):
        return "revisitop"
    header = start.splitlines()[0].decode("utf-8", "replace") if start else ""
    columns = {column.strip().strip('"').lower() for column in header.split(",")}
    suffix = path.suffix.lower()
    if {"path", "label"} <= columns or suffix == ".csv":
        return "labels"
    if suffix in (".pkl", ".pickle", ".json"):
        return "revisitop"
    raise GroundTruthError(
        f"cannot tell the format of {path}: neither a pickle or JSON with imlist and gnd, "
        f"nor a CSV with path,label. Name it with --format {'|'.join(FORMATS)}"
    )
