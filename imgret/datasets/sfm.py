"""retrieval-SfM-30k and -120k: photographs of 3D models, and pairs of them that show the same surface.

    {"train": {"cids": [names], "cluster": [numbers], "qidxs": [rows of cids], "pidxs": [rows of cids]},
     "val": {...}}

or, as for whitening, one split at the top: {"cids": ..., "qidxs": ..., "pidxs": ...}, here the split "whiten".
The sets are published as pickles, which can run code when they are opened: they are read as JSON here.

Radenović, Tolias, Chum, "Fine-tuning CNN image retrieval with no human annotation" (arXiv:1711.02512).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from imgret.datasets import DATASETS
from imgret.datasets.gather import Listed, gather, listed_image, look_for, refuse_repeats
from imgret.datasets.labelled import LabelledImages
from imgret.datasets.pairs import Pairs
from imgret.errors import InputError
from imgret.ids import escape
from imgret.tables import did_you_mean

PICKLES = (".pkl", ".pickle")
WHITEN = "whiten"


def read(path: Path, *, root: Path | None, check: bool) -> LabelledImages:
    """Every image of every split; a class is a cluster of one split (`train/12`), none where it is not known.

    InputError as for `read_pairs`.
    """
    source = source_of(path)
    splits = _splits(source)
    base = _root(source, root)
    name_of = _layout(base, next(iter(splits.values()))["cids"])
    return gather(_rows(splits, name_of), base, source, check=check)


def read_pairs(path: Path, split: str, *, root: Path | None, check: bool) -> Pairs:
    """The pairs of one split, as published: `path` is the JSON file or the folder that it lies in.

    The image `...abcdef` is `ef/cd/ab/...abcdef` below `root`, without an extension, as the official archive
    has it, or else `...abcdef.jpg` right in it; `root` is by default the folder `ims` beside the file, where
    there is one. InputError for a pickle (with the line that converts it), a malformed file, a split it has not,
    or missing images.
    """
    source = source_of(path)
    splits = _splits(source)
    if split not in splits:
        raise InputError(
            f"{escape(str(source))} has no split {escape(split)!r}{did_you_mean(split, splits)}; "
            f"there are: {', '.join(map(escape, splits))}"
        )
    held = splits[split]
    base = _root(source, root)
    name_of = _layout(base, held["cids"])
    images = [listed_image(name_of(cid), str(base)) for cid in held["cids"]]
    refuse_repeats(images, source, [0] * len(images))
    return Pairs(look_for(images, source, check=check), held["cluster"], held["qidxs"], held["pidxs"])


def named_pairs(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(names as published, [P] queries, [P] positives) of the split "whiten", else "train"; no image is looked for."""
    source = source_of(path)
    splits = _splits(source)
    held = splits.get(WHITEN) or splits.get("train")
    if held is None:
        raise InputError(f"{escape(str(source))} has no split {WHITEN!r} or 'train'; there are: {', '.join(splits)}")
    return held["cids"], held["qidxs"], held["pidxs"]


def source_of(path: Path) -> Path:
    """The JSON file that `path` is or holds; InputError that says how to make it from the published pickle."""
    if path.is_file():
        found = [path]
    else:
        found = sorted(path.glob("retrieval-SfM*.json"))
    pickles = [path] if path.suffix in PICKLES else sorted(path.glob("retrieval-SfM*.pkl"))
    if len(found) == 1 and found[0].suffix not in PICKLES:
        return found[0]
    if len(found) > 1:
        raise InputError(
            f"{escape(str(path))} holds {' and '.join(escape(one.name) for one in found)}; give the path of one"
        )
    if pickles:
        raise InputError(
            f"{escape(str(pickles[0]))} is a pickle, which may run code when it is opened, so it is not read. If it is "
            f'the one from {DATASETS["sfm"].where}, convert it once with: python -c "import json, pickle; '
            f"json.dump(pickle.load(open('{pickles[0].name}', 'rb')), open('{pickles[0].stem}.json', 'w'), "
            'default=lambda a: a.tolist())"'
        )
    raise InputError(
        f"{escape(str(path))} has no retrieval-SfM*.json. It needs {DATASETS['sfm'].layout}. "
        f"Get it from {DATASETS['sfm'].where}"
    )


def _rows(splits: dict[str, Any], name_of: Callable[[str], str]) -> Iterator[Listed]:
    for split, held in splits.items():
        for cid, cluster in zip(held["cids"], held["cluster"].tolist(), strict=True):
            yield Listed(name_of(cid), f"{split}/{cluster}" if cluster >= 0 else "", split)


def _root(source: Path, root: Path | None) -> Path:
    beside = source.parent / "ims"
    return (root or (beside if beside.is_dir() else source.parent)).absolute()


def _layout(base: Path, cids: list[str]) -> Callable[[str], str]:
    """How images are named below `base`: as the first of a split is found there, else as officially."""
    first = cids[0]
    if not (base / _official(first)).is_file():
        for flat in (_flat, _with_extension):
            if (base / flat(first)).is_file():
                return flat
    return _official


def _official(cid: str) -> str:
    # two letters a folder, from the end; cirtorch/datasets/datahelpers.py
    return f"{cid[-2:]}/{cid[-4:-2]}/{cid[-6:-4]}/{cid}"


def _flat(cid: str) -> str:
    return cid


def _with_extension(cid: str) -> str:
    return f"{cid}.jpg"


def _splits(source: Path) -> dict[str, dict[str, Any]]:
    """split -> {"cids": list of text, "cluster", "qidxs", "pidxs": int64 arrays}, checked."""
    try:
        data = json.loads(source.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise InputError(f"{escape(str(source))} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{escape(str(source))} is not valid JSON: {error}") from error
    if isinstance(data, dict) and "cids" in data:
        data = {WHITEN: data}
    if not isinstance(data, dict) or not data:
        raise InputError(f"{escape(str(source))} must hold splits, each with cids, cluster, qidxs and pidxs")
    return {split: _checked(f"{escape(str(source))}: {escape(split)}", held) for split, held in data.items()}


def _checked(where: str, held: Any) -> dict[str, Any]:
    cids = held.get("cids") if isinstance(held, dict) else None
    if not isinstance(cids, list) or not cids or not all(isinstance(cid, str) and cid for cid in cids):
        raise InputError(f"{where} must have cids, a list of image names")
    cluster = _numbers(where, "cluster", held["cluster"]) if "cluster" in held else np.full(len(cids), -1, np.int64)
    queries, positives = (_numbers(where, key, held.get(key)) for key in ("qidxs", "pidxs"))
    if len(cluster) != len(cids):
        raise InputError(f"{where} has {len(cids)} cids and {len(cluster)} numbers in cluster; there must be as many")
    if len(queries) != len(positives):
        raise InputError(f"{where} has {len(queries)} qidxs and {len(positives)} pidxs; there must be as many")
    for key, rows in (("qidxs", queries), ("pidxs", positives)):
        outside = rows[(rows < 0) | (rows >= len(cids))]
        if len(outside):
            raise InputError(f"{where}: {key} names image {outside[0]}, but cids has {len(cids)} (from 0)")
    return {"cids": cids, "cluster": cluster, "qidxs": queries, "pidxs": positives}


def _numbers(where: str, key: str, value: Any) -> np.ndarray:
    if not isinstance(value, list) or not all(type(number) is int for number in value):
        raise InputError(f"{where} must have {key}, a list of whole numbers")
    try:
        return np.array(value, np.int64)
    except OverflowError:
        raise InputError(f"{where}: {key} holds a number that is no row") from None
