"""Which layout a file or folder has: told from files that only one layout has, and else class folders."""

from __future__ import annotations

from pathlib import Path

from imgret.datasets import DATASETS, gldv2, inshop, sfm, sop, table
from imgret.errors import InputError
from imgret.ids import escape

_MARKS = {
    "gldv2": ((gldv2.LIST,),),
    "sop": tuple((name,) for name in sop.LISTS.values()),
    "cub": (("images.txt", "image_class_labels.txt"),),
    "inshop": tuple((name,) for name in inshop.LISTS),
    "table": ((table.IN_A_FOLDER,),),
}


def detect(path: Path) -> str:
    """The row of DATASETS that a path is; InputError when it could be several, or none.

    A folder with none of the files that mark a layout is class folders.
    """
    if not path.is_dir():
        return _of_file(path)
    found = [name for name, marks in _MARKS.items() if any(_all_there(path, files) for files in marks)]
    if any(path.glob("retrieval-SfM*.json")) or any(path.glob("retrieval-SfM*.pkl")):
        found.append("sfm")
    if len(found) > 1:
        raise InputError(f"{escape(str(path))} could be {' or '.join(found)}; say which with the format")
    return found[0] if found else "folders"


def _all_there(folder: Path, names: tuple[str, ...]) -> bool:
    return all((folder / name).is_file() for name in names)


def _of_file(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix == ".json" or suffix in sfm.PICKLES:
        return "sfm"
    if suffix == ".csv":
        return "gldv2" if _first_line(path) == gldv2.HEADER else "table"
    raise InputError(
        f"cannot tell what training set {escape(str(path))} is: neither a folder nor a CSV file; name its format: "
        f"{', '.join(DATASETS)}"
    )


def _first_line(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return file.readline(4096).removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").strip().lower()
    except OSError as error:
        raise InputError(f"{escape(str(path))} cannot be read: {error.strerror or error}") from error
