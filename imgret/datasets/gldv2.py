"""Google Landmarks v2 clean: `train_clean.csv`, one landmark a line with the ids of its images.

Weyand, Araujo, Cao, Sim, "Google Landmarks Dataset v2" (arXiv:2004.01804); the clean list is by Yokoo, Ozaki,
Simo-Serra, Iizuka (arXiv:2003.11211).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imgret.datasets.gather import Listed, gather
from imgret.datasets.labelled import LabelledImages
from imgret.datasets.lists import need
from imgret.errors import InputError
from imgret.ids import escape
from imgret.lines import lines, read_bytes

LIST = "train_clean.csv"
HEADER = "landmark_id,images"


def read(path: Path, *, root: Path | None, check: bool, exclude: str | Path | None = None) -> LabelledImages:
    """The images of a folder's train_clean.csv, or of another list of that form given as a file.

    The image `abc...` is `a/b/c/abc....jpg` below `root`: by default the folder `train` beside the list where
    there is one, else the list's own folder. `exclude` names a file of landmark or image ids, one a line, that
    are left out, as RGLDv2-clean leaves out what the revisited Oxford and Paris show. InputError for a
    malformed list, an image of two landmarks, or an exclusion list of which nothing is in the set.
    """
    if not path.is_file():
        need(path, "gldv2", LIST)
    source = path if path.is_file() else path / LIST
    beside = source.parent / "train"
    base = root or (beside if beside.is_dir() else source.parent)
    excluded = frozenset[str]()
    if exclude is not None:
        excluded = frozenset(text.strip() for _, text in lines(read_bytes(Path(exclude), InputError)))
    return gather(_rows(source, excluded, exclude), base, source, check=check)


def _rows(source: Path, excluded: frozenset[str], exclude: str | Path | None) -> Iterator[Listed]:
    left_out = 0
    # Not the csv module: it refuses fields beyond 131,072 characters, and the largest landmark has more.
    for number, text in lines(read_bytes(source, InputError)):
        landmark, comma, images = text.partition(",")
        if number == 1:
            if text.strip().lower() != HEADER:
                raise InputError(f"{escape(str(source))} must begin with {HEADER}, got {escape(text)[:80]!r}")
            continue
        names = images.split()
        if not comma or not landmark.strip() or not names or min(map(len, names)) < 3:
            raise InputError(
                f"{escape(str(source))}, line {number}: expected a landmark id, a comma and image ids with "
                f"spaces between them, got {escape(text)[:80]!r}"
            )
        if landmark.strip() in excluded:
            left_out += len(names)
            continue
        for name in names:
            if name in excluded:
                left_out += 1
            else:
                yield Listed(f"{name[0]}/{name[1]}/{name[2]}/{name}.jpg", landmark, line=number)
    if exclude is not None and not left_out:
        raise InputError(
            f"nothing that {escape(str(exclude))} excludes is in {escape(str(source))}; it must name landmark ids "
            "or image ids, one a line"
        )
