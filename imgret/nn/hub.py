"""The hub that timm's weights come from: addresses, the local cache, one download. No torch here."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from imgret.errors import WeightsError

WEIGHTS_FILE = "model.safetensors"  # what timm's repositories call it; pickled files are never taken


def address(repository: str, revision: str | None = None) -> str:
    """Where a repository is to be read in a browser; HF_ENDPOINT names another hub."""
    where = f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co').rstrip('/')}/{repository}"
    return where + (f"/tree/{revision}" if revision else "")


def cache_folder() -> Path:
    """The folder that holds what was downloaded, HF_HOME or the hub's default."""
    from huggingface_hub.constants import HF_HOME

    return Path(HF_HOME)


def cached(repository: str, revision: str | None = None) -> Path | None:
    """The weights of a repository in the local cache, or None."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, WEIGHTS_FILE, revision=revision)
    return Path(found) if isinstance(found, str) else None


def is_off() -> bool:
    """Whether the environment forbids downloads."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def ways_on() -> str:
    """What a user without network can do, one sentence."""
    return (
        "Without network: run the same command once on a machine that has it and copy its ~/.cache/huggingface "
        f"to {cache_folder()} here (HF_HOME), or --weights FILE, or --weights none --seed 0 for a test"
    )


def download(repository: str, revision: str | None, what: str) -> Path:
    """The weights of a repository, downloaded into the cache; WeightsError about `what` when they cannot be had.

    The hub is first asked once whether it is there: its client would try a dead network for half a minute.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    client_log = logging.getLogger("huggingface_hub")
    level = client_log.level
    client_log.setLevel(logging.ERROR)  # five retries are five warnings; our one line says it all
    try:
        get_hf_file_metadata(hf_hub_url(repository, WEIGHTS_FILE, revision=revision))
        return Path(hf_hub_download(repository, WEIGHTS_FILE, revision=revision))
    except Exception as error:  # the hub's own errors, its transport's and the disk's share no base class
        cause = error.__cause__ or error
        first = next(iter(str(cause).splitlines()), "").strip(" .")
        reason = re.sub(r"^\[Errno -?\d+\] ", "", first) or type(cause).__name__
        raise WeightsError(f"{what} could not be downloaded: {reason}. {ways_on()}") from error
    finally:
        client_log.setLevel(level)
