"""Import every package in a child process of its own, so that a crash or a hang is one line of a table."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from imgret.doctor import child
from imgret.doctor.child import Outcome
from imgret.doctor.finding import OK, WARNING, WRONG, Finding

_CPUINFO = Path("/proc/cpuinfo")
_SHOW = "import json; print(json.dumps({}))"
_TORCH = """
import json, torch
gpu = torch.cuda.is_available()
print(json.dumps({
    "threads": torch.get_num_threads(),
    "cpu": torch.backends.cpu.get_cpu_capability(),
    "capabilities": [name for name, there in getattr(torch.cpu, "get_capabilities", dict)().items() if there is True],
    "built_for_cuda": torch.version.cuda,
    "gpus": [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())] if gpu else [],
    "gpu_bf16": gpu and torch.cuda.is_bf16_supported(including_emulation=False),
}))
"""
_PILLOW = """
import json
from PIL import features
names = ("jpg", "libjpeg_turbo", "zlib", "webp", "avif", "jpg_2000", "libtiff")
print(json.dumps({name: features.version(name) if features.check(name) else None for name in names}))
"""


@dataclass(frozen=True)
class Package:
    """What to import and ask (`question`, code that prints JSON), and under which names it is installed.

    The first of `distributions` is the one to install; `needs` are packages whose failure explains this one's.
    """

    distributions: tuple[str, ...]
    needs: tuple[str, ...] = ()
    question: str = _SHOW


PACKAGES: dict[str, Package] = {
    "numpy": Package(("numpy",)),
    "PIL": Package(("pillow", "pillow-simd"), question=_PILLOW),
    "safetensors": Package(("safetensors",)),
    "h5py": Package(("h5py",), ("numpy",)),
    "faiss": Package(("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12", "faiss"), ("numpy",)),
    "torch": Package(("torch",), question=_TORCH),
    "torchvision": Package(("torchvision",), ("torch", "numpy", "PIL")),
    "timm": Package(("timm",), ("torch", "torchvision", "safetensors")),
}


def installed(module: str) -> tuple[str, str] | None:
    """(distribution, version) of a module of PACKAGES, without importing it; None when nothing says so."""
    for name in PACKAGES[module].distributions:
        try:
            return name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def required() -> dict[str, str]:
    """The least version of each distribution that imgret asks for: {'torch': '2.11', ...}."""
    try:
        asked = metadata.requires("imgret") or []
    except metadata.PackageNotFoundError:  # run from a folder, not installed
        return {}
    found = (re.match(r"([\w.-]+)\s*\(?>=\s*([\d.]+)\)?\s*$", line) for line in asked)
    return {match[1].lower(): match[2] for match in found if match}


def try_imports(timeout: float = child.TIMEOUT) -> Iterator[tuple[str, Finding | None, Any]]:
    """For every package (module, None, None) before it is tried, then (module, finding, the child's answer)."""
    failed: dict[str, str] = {}
    least = required()
    for module, package in PACKAGES.items():
        yield module, None, None
        cause = next((name for name in package.needs if name in failed), None)
        if cause is not None:
            words = f"not tried: it needs {cause}"
            outcome, finding = None, Finding(f"import {module}", WRONG, words, failed[cause])
        else:
            outcome = child.run(f"import {module}\n{package.question}", timeout)
            finding = _judge(module, outcome, least)
        if finding.verdict == WRONG:
            failed[module] = finding.next_step
        yield module, finding, outcome.answer if outcome and finding.verdict != WRONG else None


def _judge(module: str, outcome: Outcome, least: dict[str, str]) -> Finding:
    what = f"import {module}"
    there = installed(module)
    name, version = there or (PACKAGES[module].distributions[0], "")
    label = f"{name} {version}".strip()
    wanted = least.get(name)
    if outcome.ended != "well":
        words, step = _explain(module, label, f"'{name}>={wanted}'" if wanted else name, outcome)
        return Finding(what, WRONG, words, step, detail=outcome.detail)
    if wanted and _numbers(version) < _numbers(wanted):
        words = f"{label} is older than {wanted}, the oldest that imgret is made for"
        return Finding(what, WARNING, words, f"python -m pip install --upgrade '{name}>={wanted}'")
    if module == "torchvision" and not _fits(version):
        words = f"{label} is made for another torch than {' '.join(installed('torch') or ())}"
        return Finding(what, WARNING, words, reinstall_pair())
    return Finding(what, OK, label or "imported; nothing says which version")


def _explain(module: str, label: str, wanted: str, outcome: Outcome) -> tuple[str, str]:
    """What happened in words, and what to type."""
    again = f"python -m pip install --force-reinstall {wanted}"
    reason, text = outcome.reason, outcome.detail
    if outcome.ended == "hang":
        return (
            f"importing {label} hangs: {reason}",
            f"run imgret doctor again, for a slow disk is quicker the second time; if it hangs again: {again}",
        )
    if outcome.ended == "signal":
        return crash(label, reason), "free memory, then run imgret doctor again" if reason == "SIGKILL" else again
    missing = re.search(r"No module named '([\w.]+)'", reason)
    if missing:
        other = missing[1].split(".")[0]
        if other == module:
            return "not installed", f"python -m pip install {wanted}"
        return f"{label} needs {other}, which is not installed", f"python -m pip install {other}"
    if "torchvision::nms" in text:
        pair = " and ".join(" ".join(installed(name) or (name,)) for name in ("torch", "torchvision"))
        return f"{pair} do not fit together (operator torchvision::nms does not exist)", reinstall_pair()
    if re.search(r"compiled (using|against) .*numpy|numpy\.core\.multiarray|_ARRAY_API", text, re.IGNORECASE):
        return f"{label} was built for another NumPy: {reason}", f"{again} 'numpy>=2.0'"
    library = re.search(r"([\w.+-]+\.so[\d.]*): cannot open shared object", reason)
    if library:
        return f"{label} needs the system library {library[1]}, which is not here", again
    return f"{label} cannot be imported: {reason}", again


def crash(label: str, name: str) -> str:
    """A signal in words."""
    if name == "SIGILL":
        return (
            f"this processor lacks instructions that {label} was built with (SIGILL){_without_avx2()}; "
            "it would end every command that uses it"
        )
    if name == "SIGKILL":
        return f"the system killed the import of {label} (SIGKILL), most often for lack of memory"
    if name in ("SIGSEGV", "SIGBUS"):
        return f"importing {label} crashes ({name}): it is damaged, or does not fit what it is linked with"
    return f"importing {label} ends with {name}"


def _without_avx2() -> str:
    """': it has no AVX2' where Linux on x86 says so."""
    try:
        known = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return ": it has no AVX2" if x86 and not re.search(r"\bavx2\b", known) else ""


def reinstall_pair() -> str:
    """The line that installs torch and torchvision from one place: the one that torch came from."""
    _, _, build = (installed("torch") or ("", ""))[1].partition("+")
    known = re.fullmatch(r"cpu|cu\d+|rocm[\d.]+|xpu", build)
    index = f" --index-url https://download.pytorch.org/whl/{build}" if known else ""
    return f"python -m pip install --force-reinstall torch torchvision{index}"


def _fits(torchvision: str) -> bool:
    """torch 2.N goes with torchvision 0.(N + 15); other majors are not judged."""
    torch = _numbers((installed("torch") or ("", ""))[1])
    vision = _numbers(torchvision)
    if len(torch) < 2 or len(vision) < 2 or torch[0] != 2 or vision[0] != 0:
        return True
    return vision[1] == torch[1] + 15


def _numbers(version: str) -> tuple[int, ...]:
    """'2.14.1+cpu' -> (2, 14, 1)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
