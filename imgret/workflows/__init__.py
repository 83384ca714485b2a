"""Workflows: stages joined into the verbs a user types. Paths in, a result out; nothing is printed here."""

from __future__ import annotations

from typing import Any

_HOMES = {
    "Attention": "imgret.workflows.attending",
    "Calibrated": "imgret.workflows.calibrating",
    "ComparedRuns": "imgret.workflows.comparing",
    "EvalJob": "imgret.workflows.evaluating",
    "OnnxExport": "imgret.workflows.exporting",
    "QueryOptions": "imgret.workflows.queries",
    "SHOWN_HITS": "imgret.workflows.reporting",
    "attend": "imgret.workflows.attending",
    "build_index": "imgret.workflows.building",
    "calibrate": "imgret.workflows.calibrating",
    "compare": "imgret.workflows.comparing",
    "decide": "imgret.workflows.duplicates",
    "evaluate": "imgret.workflows.evaluating",
    "export_onnx": "imgret.workflows.exporting",
    "extract": "imgret.workflows.extracting",
    "find_duplicates": "imgret.workflows.duplicates",
    "inspect": "imgret.workflows.inspecting",
    "merge": "imgret.workflows.merging",
    "nearest": "imgret.workflows.reconciling",
    "push": "imgret.workflows.pushing",
    "search": "imgret.workflows.searching",
    "train": "imgret.workflows.training",
    "whiten": "imgret.workflows.whitening",
    "write_report": "imgret.workflows.reporting",
}
__all__ = [
    "SHOWN_HITS",
    "Attention",
    "Calibrated",
    "ComparedRuns",
    "EvalJob",
    "OnnxExport",
    "QueryOptions",
    "attend",
    "build_index",
    "calibrate",
    "compare",
    "decide",
    "evaluate",
    "export_onnx",
    "extract",
    "find_duplicates",
    "inspect",
    "merge",
    "nearest",
    "push",
    "search",
    "train",
    "whiten",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'imgret.workflows' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
