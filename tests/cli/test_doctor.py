"""`imgret doctor` as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imgret.cli.app import app
from imgret.doctor import examine
from imgret.doctor.finding import OK, WARNING, WRONG, Finding

ROOT = Path(__file__).parent.parent.parent
FINE = Finding("Python", OK, "3.11")
OLD = Finding("import faiss", WARNING, "it is [old]", "type this")
BROKEN = Finding("import torch", WRONG, "it hangs", "type that", detail="the last line")


@pytest.fixture
def doctor(monkeypatch):
    """Run the command on findings that are given."""

    def run(findings, *arguments, code):
        monkeypatch.setattr(examine, "examine", lambda place, say, timeout: findings)
        result = CliRunner().invoke(app, ["doctor", *arguments])
        assert result.exit_code == code, result.output
        return result

    return run


def test_nothing_wrong_is_exit_0_and_a_warning_brings_its_line(doctor):
    result = doctor([FINE, OLD], code=0)
    assert "it is [old]" in result.stdout
    assert result.stderr.splitlines() == [
        "imgret: import faiss: warning: it is [old]. Next: type this",
        "Nothing is wrong.",
    ]


def test_something_wrong_is_exit_1_and_says_what_to_type(doctor):
    result = doctor([FINE, BROKEN], code=1)
    assert result.stderr == "imgret: import torch: wrong: it hangs. Next: type that\n"
    assert "the last line" in doctor([FINE, BROKEN], "-v", code=1).stderr


def test_quiet_says_only_what_is_wrong(doctor):
    result = doctor([FINE, OLD, BROKEN], "-q", code=1)
    assert result.stdout == ""
    assert result.stderr == "imgret: import torch: wrong: it hangs. Next: type that\n"


def test_json_is_all_of_stdout(doctor):
    document = json.loads(doctor([FINE, BROKEN], "--json", code=1).stdout)
    assert (document["schema"], document["ok"]) == ("imgret.doctor/1", False)
    assert document["checks"][1] == {
        "what": "import torch",
        "verdict": "wrong",
        "words": "it hangs",
        "next_step": "type that",
        "figures": {},
    }
    assert json.loads(doctor([FINE, OLD], "--json", code=0).stdout)["ok"]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_torch_that_dies_on_this_processor_is_told_by_the_command_itself(tmp_path):
    place = tmp_path / "stand-ins"
    place.mkdir()
    for name in ("numpy", "safetensors", "h5py", "faiss"):
        (place / f"{name}.py").touch()
    (place / "torch.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    done = subprocess.run(
        [sys.executable, "-m", "imgret", "doctor", "--json"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(place), str(ROOT)])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    checks = {one["what"]: one for one in json.loads(done.stdout)["checks"]}
    assert "(SIGILL)" in checks["import torch"]["words"]
    assert checks["import timm"]["words"] == "not tried: it needs torch"
    assert checks["golden vectors"]["words"] == "not tried: not every import works"
    assert checks["import faiss"]["verdict"] == checks["picture formats"]["verdict"] == "ok"
    assert "Traceback" not in done.stderr


def test_a_model_that_ends_the_process_or_hangs_is_told(monkeypatch):
    monkeypatch.setattr(examine, "_GOLDEN", "import os; os.abort()")
    (found,) = examine.golden()
    assert (found.verdict, found.words) == ("wrong", "describing pictures ends with SIGABRT")
    monkeypatch.setattr(examine, "_GOLDEN", "import time; time.sleep(60)")
    (found,) = examine.golden(timeout=1)
    assert found.words == "describing pictures hangs: it did not end within 1 s"


@pytest.mark.slow
def test_this_machine_is_sound(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []
    findings = examine.examine(tmp_path, say=said.append, timeout=600)
    assert [one for one in findings if one.verdict == "wrong"] == []
    assert "golden vectors" in said
    assert {"torch beside faiss", "golden pixels", "golden, cpu fp32"} <= {one.what for one in findings}
