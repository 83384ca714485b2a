"""What a weights file says about itself, read from its header alone: no torch, no tensors.

A safetensors file is eight bytes of header length, a JSON header (names, dtypes, shapes, offsets and
a `__metadata__` of strings), then the tensors' bytes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from imgret.errors import WeightsError

SCHEMA = "imgret.weights/1"
MAX_HEADER = 100_000_000  # bytes; safetensors' own limit


def read_card(path: str | Path) -> dict[str, Any]:
    """The description inside a weights file.

    Keys: schema, model, arguments, dim, trained, provenance, sha256 (of the tensors), parameters (how
    many values), bytes (of the file), image_size (None: the model's usual one). Checks that the file is whole by its
    size, not its digest. WeightsError when it is missing, not safetensors, cut short, or not written by imgret.
    """
    path = Path(path)
    header, size = _read_header(path)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or metadata.get("schema") != SCHEMA:
        found = metadata.get("schema", "no description") if isinstance(metadata, dict) else "no description"
        raise WeightsError(
            f"{path} is not a weights file of this imgret: it holds {found!r}, expected {SCHEMA!r}; "
            "write one with imgret.models.save_weights"
        )
    try:
        return {
            "schema": SCHEMA,
            "model": metadata["model"],
            "arguments": json.loads(metadata["arguments"]),
            "dim": int(metadata["dim"]),
            "trained": json.loads(metadata["trained"]),
            "provenance": json.loads(metadata["provenance"]),
            "sha256": metadata["sha256"],
            "image_size": int(metadata["image_size"]) if "image_size" in metadata else None,
            "parameters": sum(math.prod(tensor["shape"]) for tensor in header.values()),
            "bytes": size,
        }
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its description is malformed ({type(error).__name__}: {error})") from error


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """(header, size of the file in bytes); WeightsError unless the header accounts for every byte."""
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            text = file.read(length) if length <= MAX_HEADER else b""
            size = file.seek(0, 2)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        header = json.loads(text)
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise WeightsError(f"{path} is not a safetensors file") from error
    if size != expected:
        raise WeightsError(f"{path} is damaged: {size} bytes, its header promises {expected}; copy it again")
    return header, size
