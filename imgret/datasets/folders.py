"""Class folders: the first folder below the root names the class, whatever lies deeper."""

from __future__ import annotations

import os
from pathlib import Path

from imgret.datasets.gather import Listed, gather
from imgret.datasets.labelled import LabelledImages
from imgret.errors import InputError
from imgret.ids import escape
from imgret.images import files


def read(path: Path, *, root: Path | None, check: bool) -> LabelledImages:
    """The images below `path` in byte order of their ids. Those directly in it have no label.

    Hidden files and folders are passed over; `root`, a folder above, changes what ids are relative to.
    InputError when there is no such folder or no image in it.
    """
    if not path.is_dir():
        raise InputError(f"{escape(str(path))}: no such folder; class folders are FOLDER/CLASS/IMAGE")
    folder = os.path.abspath(path)
    base = root or path
    rows = []
    for image in files.find([str(path)], root=base).images:
        below = image.path[len(folder.rstrip("/")) + 1 :]
        rows.append(Listed(image.id, below.partition("/")[0] if "/" in below else ""))
    return gather(rows, base, path, check=check)
