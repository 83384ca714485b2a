"""The machine that is measured."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from imgret.extraction.describe import resolve_device
from imgret.extraction.stream import default_workers


@dataclass(frozen=True)
class Hardware:
    """What decodes and what describes; `facts` are for the reader."""

    cores: int
    on_gpu: bool
    facts: Mapping[str, Any] = field(default_factory=dict)

    def ideal(self, decoding: float, describing: float) -> float:
        """Seconds an image, at best: decoding spread over the cores, then the model; on a GPU both at once."""
        spread = decoding / self.cores
        return max(spread, describing) if self.on_gpu else spread + describing


def hardware(device: str) -> Hardware:
    """That of this process, with `device` as in `imgret extract`."""
    place, cores = resolve_device(device), default_workers()
    on_gpu = place.type == "cuda"
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    facts = {
        "processor": capabilities.get("cpu_name") or platform.processor() or platform.machine(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(place) if on_gpu else None,
        **{name: _version(name) for name in ("torch", "pillow", "simplejpeg")},
    }
    return Hardware(cores, on_gpu, facts)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
