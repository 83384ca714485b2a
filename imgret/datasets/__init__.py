"""Training sets: where their images, labels and splits are. One file per layout, one row per layout below."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from imgret.errors import InputError, UnknownNameError
from imgret.tables import did_you_mean, look_up, resolve

if TYPE_CHECKING:
    from imgret.datasets.labelled import LabelledImages
    from imgret.datasets.pairs import Pairs

AUTO = "auto"


class DatasetCard(NamedTuple):
    """A row of `DATASETS`.

    `reader` is "module:function", called with (path, root=, check=) and the options named in `options`.
    `where` is where a person gets the set, `layout` what must lie where.
    """

    reader: str
    summary: str
    where: str
    layout: str
    options: tuple[str, ...] = ()


DATASETS = {
    "folders": DatasetCard(
        "imgret.datasets.folders:read",
        "class folders: the first folder below the root names the class",
        where="your own images",
        layout="FOLDER/CLASS/**/IMAGE; images directly in FOLDER have no label",
    ),
    "table": DatasetCard(
        "imgret.datasets.table:read",
        "CSV with path,label and optionally split and x1,y1,x2,y2",
        where="your own images",
        layout="a CSV file whose first line is path,label, paths relative to its folder; in a folder it is labels.csv",
    ),
    "gldv2": DatasetCard(
        "imgret.datasets.gldv2:read",
        "Google Landmarks v2 clean: 1,580,470 images of 81,313 landmarks",
        where="https://github.com/cvdfoundation/google-landmark",
        layout="FOLDER/train_clean.csv, and the images as FOLDER/train/a/b/c/abc....jpg or FOLDER/a/b/c/abc....jpg",
        options=("exclude",),
    ),
    "sfm": DatasetCard(
        "imgret.datasets.sfm:read",
        "retrieval-SfM-30k and -120k: images of 3D models, with matching pairs",
        where="https://github.com/filipradenovic/cnnimageretrieval-pytorch",
        layout="FOLDER/retrieval-SfM-120k.json (the published pickle as JSON), and the images in FOLDER/ims",
    ),
    "sop": DatasetCard(
        "imgret.datasets.sop:read",
        "Stanford Online Products: 120,053 images of 22,634 products",
        where="https://cvgl.stanford.edu/projects/lifted_struct/",
        layout="FOLDER/Ebay_train.txt, FOLDER/Ebay_test.txt, and the images as FOLDER/bicycle_final/...",
    ),
    "cub": DatasetCard(
        "imgret.datasets.cub:read",
        "CUB-200-2011: 11,788 images of 200 birds",
        where="https://www.vision.caltech.edu/datasets/cub_200_2011/",
        layout="FOLDER/images.txt, FOLDER/image_class_labels.txt, FOLDER/classes.txt, and the images in FOLDER/images",
    ),
    "inshop": DatasetCard(
        "imgret.datasets.inshop:read",
        "DeepFashion In-shop: 52,712 images of 7,982 pieces of clothing",
        where="https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html",
        layout="FOLDER/list_eval_partition.txt or FOLDER/Eval/list_eval_partition.txt, "
        "and the images in FOLDER/img or FOLDER/Img/img",
    ),
}


def load_dataset(
    path: str | Path, format: str = AUTO, *, root: str | Path | None = None, check: bool = False, **options: Any
) -> LabelledImages:
    """The images, labels and splits of a training set.

    `format` is a row of DATASETS, or "auto" to tell from the file or folder. `root` is what the listed paths
    are relative to, where that is not the usual place. No file is opened, and of listed images only a few are
    looked for, so that a wrong root is found at once; `check` looks for every one (some 15 seconds for a
    million files on a local disk, many minutes on a network). `options` are the row's own.

    InputError when something is missing or malformed; UnknownNameError for a format or an option in no row.
    """
    path = Path(path)
    name = _format(path, format)
    card = DATASETS[name]
    for option in options:
        if option not in card.options:
            known = ("root", "check", *card.options)
            raise UnknownNameError(
                f"{name} has no option {option!r}{did_you_mean(option, known)}; known: {', '.join(known)}"
            )
    images: LabelledImages = resolve(card.reader)(
        path, root=None if root is None else Path(root), check=check, **options
    )
    return images


def load_pairs(path: str | Path, split: str = "train", *, root: str | Path | None = None, check: bool = False) -> Pairs:
    """The matching pairs and clusters of one split of a retrieval-SfM set; see `load_dataset` for the rest."""
    from imgret.datasets.sfm import read_pairs

    path = Path(path)
    _format(path, "sfm")
    return read_pairs(path, split, root=None if root is None else Path(root), check=check)


def has_pairs(path: str | Path, format: str = AUTO) -> bool:
    """Whether a set is published with matching pairs, for `load_pairs`; raises as `load_dataset` does."""
    return _format(Path(path), format) == "sfm"


def _format(path: Path, format: str) -> str:
    """The row of DATASETS for a path that is there."""
    from imgret.datasets.detect import detect
    from imgret.ids import escape

    if format != AUTO:
        look_up(DATASETS, "dataset format", format)
    if not path.exists():
        hint = f"A training set is a folder or a CSV file, of one of the formats {', '.join(DATASETS)}"
        if format != AUTO:
            hint = f"A {format} set needs {DATASETS[format].layout}. Get it from {DATASETS[format].where}"
        raise InputError(f"{escape(str(path))}: no such file or folder. {hint}")
    return detect(path) if format == AUTO else format
