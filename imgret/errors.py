"""What a user can fix: one line that says what, where and what to type next.

    ImgretError             exit 1, no traceback
    ├── UnknownNameError    a name that is in no table ("did you mean")
    ├── InputError          images, lists or queries that cannot be found or told apart
    ├── StoreError          a store or shard that is damaged, foreign or of another schema
    │   ├── StoreBusyError  another process is writing the store
    │   └── RecipeError     a store made by another recipe
    ├── SpaceError          the disk is full, or would be
    ├── WeightsError        weights that are missing, of another model, or not to be had
    ├── WhiteningError      a whitening that is damaged, of another recipe, or not to be had from what was given
    ├── ExportError         a model that cannot be written as asked, or would not be the same
    ├── IndexFileError      an index that is damaged, foreign or impossible to build as asked
    ├── GroundTruthError    a ground truth that is malformed, malicious or of another collection
    ├── RankingError        a ranking with duplicates, NaN or unknown ids
    ├── EngineError         a cluster that does not answer, lacks something, or loses its workers
    ├── ServerError         a vector database that does not answer, refuses, or holds something else
    └── ImagesFailedError   exit 3: --strict, and some images failed

A caller's mistake is a ValueError and keeps its traceback.
"""

from __future__ import annotations


class ImgretError(Exception):
    """A problem the user can fix. The message is one line; the command ends with `exit_code`."""

    exit_code = 1


class UnknownNameError(ImgretError):
    """A name that is in no table."""


class InputError(ImgretError):
    """Images, lists or queries that cannot be found or told apart."""


class StoreError(ImgretError):
    """A store or shard that is damaged, foreign or of another schema."""


class StoreBusyError(StoreError):
    """Another process is writing the store."""


class RecipeError(StoreError):
    """A store made by another recipe."""


class SpaceError(ImgretError):
    """The disk is full, or would be."""


class WeightsError(ImgretError):
    """Weights that are missing, of another model, or not to be had."""


class WhiteningError(ImgretError):
    """A whitening that is damaged, of another recipe, or not to be had from what was given."""


class ExportError(ImgretError):
    """A model that cannot be written as asked, or would not be the same."""


class IndexFileError(ImgretError):
    """An index that is damaged, foreign or impossible to build as asked."""


class GroundTruthError(ImgretError):
    """A ground truth that is malformed, malicious or of another collection."""


class RankingError(ImgretError):
    """A ranking with duplicates, NaN or unknown ids."""


class EngineError(ImgretError):
    """A cluster that does not answer, lacks something, or loses its workers."""


class ServerError(ImgretError):
    """A vector database that does not answer, refuses, or holds something else."""


class ImagesFailedError(ImgretError):
    """`--strict` was given and some images could not be read."""

    exit_code = 3
