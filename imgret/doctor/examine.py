"""`examine`: every check in turn. Nothing heavy is imported here; what is, is imported by a child."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from imgret.doctor import child, imports, machine, runtimes
from imgret.doctor.finding import WRONG, Finding

SCHEMA = "imgret.doctor/1"

_GOLDEN = """
import json
from dataclasses import asdict
from imgret.doctor.golden import check
print(json.dumps([asdict(finding) for finding in check()]))
"""


def examine(place: Path, *, say: Callable[[str], object], timeout: float = child.TIMEOUT) -> list[Finding]:
    """All findings, for stores that are to be written in the folder `place`.

    `say` is told what is being tried. A child process that takes longer than `timeout` seconds is ended.
    """
    findings = [machine.python()]
    answers: dict[str, Any] = {}
    for module, finding, answer in imports.try_imports(timeout):
        if finding is None:
            say(f"importing {module}")
            continue
        findings.append(finding)
        if finding.verdict != WRONG:
            answers[module] = answer
    whole = answers.keys() == imports.PACKAGES.keys()
    if whole:
        say("torch beside faiss")
        findings.append(runtimes.side_by_side(timeout))
    if "torch" in answers:
        findings.append(machine.accelerator(answers["torch"]))
    if "PIL" in answers:
        findings.append(machine.codecs(answers["PIL"]))
    say("the folder")
    findings += [machine.memory(), *machine.folder(place)]
    say("golden vectors")
    findings += golden(timeout) if whole else [_not_described()]
    return findings


def golden(timeout: float = child.TIMEOUT) -> list[Finding]:
    """The golden vectors, in a child process."""
    outcome = child.run(_GOLDEN, timeout)
    if outcome.ended == "well":
        return [Finding(**one) for one in outcome.answer]
    words = {"hang": f"describing pictures hangs: {outcome.reason}", "error": f"it failed: {outcome.reason}"}
    return [
        Finding(
            "golden vectors",
            WRONG,
            words.get(outcome.ended, f"describing pictures ends with {outcome.reason}"),
            "python -m pip install --upgrade --force-reinstall imgret",
            detail=outcome.detail,
        )
    ]


def _not_described() -> Finding:
    return Finding("golden vectors", WRONG, "not tried: not every import works", "mend the imports first")


def as_document(findings: list[Finding]) -> dict[str, Any]:
    """The findings as JSON values; `ok` is whether nothing is wrong."""
    return {
        "schema": SCHEMA,
        "ok": all(finding.verdict != WRONG for finding in findings),
        "checks": [
            {
                "what": finding.what,
                "verdict": finding.verdict,
                "words": finding.words,
                "next_step": finding.next_step or None,
                "figures": dict(finding.figures),
            }
            for finding in findings
        ],
    }
