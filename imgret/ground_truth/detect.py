"""Which format a ground truth has: told from the names in a folder, or from the first lines of a file."""

from __future__ import annotations

import re
from pathlib import Path

from imgret.errors import GroundTruthError
from imgret.ground_truth import FORMATS
from imgret.ids import escape
from imgret.lines import BYTE_ORDER_MARK, cells, lines

_HEADERS = {
    "labels": {"path", "label"},
    "gldv2": {"id", "images"},
    "gldv2-recognition": {"id", "landmarks"},
    "disc21": {"query_id", "reference_id"},
}

# What the first two lines match from their beginning, in the order tried: later ones match more.
_LINES = {
    "sop": r"image_id\s+class_id\s+super_class_id\s+path\n",
    "inshop": r"\d+\nimage_name\s+item_id\s+evaluation_status\n",
    "disc21": r"Q\d+\s*,\s*(R\d+)?\n",
    "holidays": r"(\S*/)?\d{6}\.\w+\n",
    "ukbench": r"(\S*/)?ukbench\d{5}(\.\w+)?\n",
    "trec": r"\S+[ \t]+\S+[ \t]+\S+[ \t]+-?\d+\n",
    "hloc": r"[^\s,]+[ \t]+[^\s,]+\n",
}

# Files that are a part of a folder's ground truth, and mean that folder.
_PARTS = {"cub": r"(images|image_class_labels)\.txt", "oxford5k": r".+_(query|good|ok|junk)\.txt"}

_IN_FOLDER = {
    "oxford5k": ("*_query.txt",),
    "copydays": ("original",),
    "cub": ("images.txt", "image_class_labels.txt"),
    "inshop": ("list_eval_partition.txt",),
    "sop": ("Ebay_test.txt",),
    "labels": ("labels.csv",),
}


def look(path: Path, content: bytes | None) -> str:
    """What a path looks like, in the words of `Format.looks`."""
    if content is None:
        return "folder"
    start = _start(content)
    # 0x80 opens a pickle of protocol 2 or later; "(" one of protocol 0 or 1.
    if start[:1] in (b"\x80", b"{") or start[:2] in (b"(d", b"}q"):
        return "pickle or JSON"
    if path.suffix.lower() == ".csv" or b"," in start.partition(b"\n")[0]:
        return "CSV"
    return "pickle or JSON" if path.suffix.lower() in (".pkl", ".pickle", ".json") else "text"


def detect(path: Path, content: bytes | None) -> str:
    """The format of a folder (`content` None) or file; GroundTruthError if it could be several, or none."""
    found = _of_folder(path) if content is None else _of_file(path, content)
    if len(found) == 1:
        return found[0]
    what = f"could be {' or '.join(found)}" if found else "looks like no ground truth"
    if content is not None and not content.strip():
        what = "is empty"
    raise GroundTruthError(
        f"cannot tell the format of {escape(str(path))}: it {what}. Name it with --format {'|'.join(found or FORMATS)}"
    )


def _of_folder(path: Path) -> list[str]:
    found = [name for name, patterns in _IN_FOLDER.items() if all(any(path.glob(one)) for one in patterns)]
    if not found and (path / "Eval/list_eval_partition.txt").is_file():
        found = ["inshop"]
    if not found:
        from imgret.ground_truth.sources import image_names

        names, _ = image_names(path, None)
        found = [name for name in ("holidays", "ukbench") if names and re.match(_LINES[name], names[0] + "\n")]
    return found


def _of_file(path: Path, content: bytes) -> list[str]:
    kind = look(path, content)
    if kind == "pickle or JSON":
        return ["revisitop"]
    first = [text for _, text in lines(_start(content))][:2]
    for name, part in _PARTS.items():
        if re.fullmatch(part, path.name):
            return [name]
    header = {cell.lower() for cell in cells(first[0])} if first else set()
    for name, columns in _HEADERS.items():
        if columns <= header:
            return [name]
    for name, pattern in _LINES.items():
        if re.match(pattern, "".join(f"{text}\n" for text in first)):
            return [name]
    return ["labels"] if path.suffix.lower() == ".csv" else []


def _start(content: bytes) -> bytes:
    return content[:65536].removeprefix(BYTE_ORDER_MARK).lstrip()
