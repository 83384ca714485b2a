"""Use torch and faiss in one process, as `imgret` does: two OpenMP runtimes may crash or hang each other."""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path

from imgret.doctor import child
from imgret.doctor.finding import OK, WARNING, WRONG, Finding

_WHAT = "torch beside faiss"
_RUNTIME = re.compile(r"(libgomp|libiomp5|libomp|vcomp)[^/]*$")
_FEWER_THREADS = "export OMP_NUM_THREADS=1, then run imgret doctor again"

# Large enough for both to use their threads; in the order in which imgret meets them.
_CODE = """
import json
import torch, torchvision, timm, h5py, faiss
import numpy as np
rows = torch.nn.functional.normalize(torch.randn(4096, 64)) @ torch.eye(64)
index = faiss.IndexFlatIP(64)
index.add(rows.numpy())
_, found = index.search(rows[:256].numpy(), 1)
rows @ rows.T
from imgret.doctor.runtimes import loaded
print(json.dumps({"found": bool((found[:, 0] == np.arange(256)).all()), "runtimes": loaded()}))
"""


def loaded() -> list[str]:
    """Paths of the OpenMP runtimes in this process; none where the system does not tell."""
    return sorted({path for path in _libraries() if _RUNTIME.search(path)})


def _libraries() -> list[str]:
    if sys.platform == "darwin":
        dyld = ctypes.CDLL(None)
        dyld._dyld_get_image_name.restype = ctypes.c_char_p
        return [dyld._dyld_get_image_name(number).decode() for number in range(dyld._dyld_image_count())]
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [line.split(maxsplit=5)[5] for line in maps.splitlines() if "/" in line]


def side_by_side(timeout: float = child.TIMEOUT) -> Finding:
    """Import all, let torch multiply and faiss search, and see which OpenMP runtimes were met."""
    return judge(child.run(_CODE, timeout))


def judge(outcome: child.Outcome) -> Finding:
    """What the child's end means."""
    if "OMP: Error #15" in outcome.detail:
        words = "two OpenMP runtimes are in one process, and one refuses to go on (OMP: Error #15)"
        step = "python -m pip install --force-reinstall torch faiss-cpu, both from pip or both from conda"
        return Finding(_WHAT, WRONG, words, step, detail=outcome.detail)
    if outcome.ended == "hang":
        words = f"each imports alone, together they hang: {outcome.reason}"
        return Finding(_WHAT, WRONG, words, _FEWER_THREADS, detail=outcome.detail)
    if outcome.ended != "well":
        words = f"each imports alone, together they end with {outcome.reason}"
        return Finding(_WHAT, WRONG, words, "python -m pip install --upgrade torch faiss-cpu", detail=outcome.detail)
    if not outcome.answer["found"]:
        words = "they run together, but faiss does not find vectors by themselves"
        return Finding(_WHAT, WRONG, words, "python -m pip install --force-reinstall faiss-cpu")
    paths = outcome.answer["runtimes"]
    kinds = sorted({match[1] for path in paths if (match := _RUNTIME.search(path))})
    figures = {"openmp": paths}
    if len(kinds) > 1:
        words = f"they run together, on two OpenMP runtimes ({' and '.join(kinds)}), which may crash or hang"
        return Finding(_WHAT, WARNING, words, f"if a command hangs: {_FEWER_THREADS}", figures)
    if len(paths) > 1:
        return Finding(_WHAT, OK, f"they run together, on {len(paths)} copies of {kinds[0]}", "", figures)
    return Finding(_WHAT, OK, f"they run together{', on ' + kinds[0] if kinds else ''}", "", figures)
