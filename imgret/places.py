"""Where an image is: a file, a member of an archive, or a URL. Tells them apart by name, opens nothing.

The id of a member is `archive.tar/member`; the root of remote images is a URL, which is no path: `os.path` would
fold its `//`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from imgret.errors import InputError

ARCHIVES = (".tar", ".zip")
"""Endings of the archives whose members are read in place."""

_INSIDE = re.compile(r"\.(?:tar|zip)/", re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)  # two letters at least: C:// is a drive
_FOLDED = re.compile(r"^([a-z][a-z0-9+.-]+):/+(?=[^/])", re.IGNORECASE)
_BOX = re.compile(r"#\d+,\d+,\d+,\d+$")


def is_archive(name: str) -> bool:
    """Whether a file of this name is an archive by its ending."""
    return name.lower().endswith(ARCHIVES)


def archive_ends(image_id: str) -> list[int]:
    """The lengths at which an id, cut there, may name an archive that holds the rest."""
    return [match.end() - 1 for match in _INSIDE.finditer(image_id)]


def member_of(image_id: str) -> str:
    """What an id names inside its (first) archive, '' for a file of its own."""
    ends = archive_ends(image_id)
    return image_id[ends[0] + 1 :] if ends else ""


def is_url(place: str | Path) -> bool:
    """Whether a place is a URL such as s3://bucket/folder."""
    return isinstance(place, str) and _URL.match(place) is not None


def unfolded(place: str | Path) -> str:
    """A place as text; pathlib folds the `//` of a URL, here it is whole again. file: has three, as a path follows."""
    if isinstance(place, str):
        return place
    text = str(place).replace(os.sep, "/")
    return _FOLDED.sub(r"\1:///" if text[:5].lower() == "file:" else r"\1://", text, count=1)


def local(place: str) -> str:
    """The path that a file:// URL names; anything else as it is. InputError for a file of another machine."""
    if place[:7].lower() != "file://":
        return place
    from urllib.parse import unquote, urlsplit

    from imgret.ids import escape

    parts = urlsplit(place.replace("#", "%23").replace("?", "%3F"))
    path = unquote(parts.path, errors="surrogateescape")
    if parts.netloc.lower() not in ("", "localhost"):
        raise InputError(
            f"{escape(place)} is on {escape(parts.netloc)}; a file of this one is file:///path, with three /"
        )
    if "\0" in path:
        raise InputError(f"{escape(place)} names no file: %00 is part of no path")
    return path[1:] if os.name == "nt" else path


def remote_place(root: str, image_id: str) -> str:
    """The URL of an image below a root that is one: of the archive for a member, without the box of a crop."""
    name = _BOX.sub("", image_id)
    return f"{root}/{name[: (*archive_ends(name), len(name))[0]]}"
