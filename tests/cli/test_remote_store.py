from __future__ import annotations

import builtins
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from imgret import workflows
from imgret.cli.app import app
from imgret.indexes.files import Index
from tests.store.test_remote_store import Bucket, bucket, content, remote  # noqa: F401

fsspec = pytest.importorskip("fsspec")


def imgret(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def extract(job, *more):
    return imgret(
        "extract", *job.images, "-o", job.output, "--model", job.model, "--weights", "none", "-j", "0",
        "--precision", "fp32", "--image-size", "64", "--device", "cpu", *more,
    )  # fmt: skip


def one_line(result):
    assert result.exit_code == 1, result.output
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1, lines
    return lines[0]


def test_a_store_in_a_bucket_is_extracted_indexed_searched_and_looked_at(job, bucket, photos, tmp_path):  # noqa: F811
    workflows.extract(replace(job, shard_size=2))
    there = replace(job, output="bucket://b/store")
    assert extract(there, "--shard-size", "2").exit_code == 0
    again = extract(there)
    assert again.exit_code == 0
    assert content("bucket://b/store") == content(job.output)

    index, query = tmp_path / "index", photos / "a/2.png"
    assert imgret("index", "bucket://b/store", "-o", index).exit_code == 0
    assert Index.open(index).about["stores"][0]["absolute"] == "bucket://b/store"
    for searched in (index, "bucket://b/store"):
        local = index if searched == index else job.output
        found = imgret("search", searched, query, "-k", "3")
        assert found.exit_code == 0, found.output
        assert found.stdout == imgret("search", local, query, "-k", "3").stdout
        assert "a/2.png" in found.stdout
    looked = imgret("info", "bucket://b/store")
    assert looked.exit_code == 0, looked.output
    assert "bucket://b/store is sound" in looked.stderr

    (photos / "a/2.png").unlink()
    assert extract(there, "--prune").exit_code == 0
    updated = imgret("index", "bucket://b/store", "-o", index)
    assert updated.exit_code == 0, updated.output
    assert Index.open(index).count == 5


def test_stores_in_buckets_are_merged_and_whitened(job, bucket, tmp_path):  # noqa: F811
    for part in (1, 2):
        assert extract(replace(job, output=f"bucket://b/{part}"), "--part", f"{part}/2").exit_code == 0
    workflows.extract(job)
    for output in ("bucket://b/whole", tmp_path / "whole"):
        merged = imgret("merge", "bucket://b/1", "bucket://b/2", "-o", output)
        assert merged.exit_code == 0, merged.output
        assert content(output) == content(job.output)
    white = imgret("whiten", "bucket://b/whole", "-o", tmp_path / "w.safetensors", "--dim", "2")
    assert white.exit_code == 0, white.output


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError("Access Denied"), "bucket://b/store/store.lock cannot be written: Access Denied"),
        (FileNotFoundError("The specified bucket does not exist"), "no such bucket or folder; make it first"),
        (type("NoCredentialsError", (Exception,), {})("Unable to locate credentials"), "Unable to locate credentials"),
    ],
)
def test_a_place_that_cannot_be_written_is_told_before_any_image_is_decoded(
    job, bucket, monkeypatch, error, words  # noqa: F811
):  # fmt: skip
    Bucket.fails.append(("store.lock", error))
    monkeypatch.setattr("imgret.extraction.stream.describe_stream", None)
    monkeypatch.setattr("imgret.extraction.engine.describe_stream", None)
    assert words in one_line(extract(replace(job, output="bucket://b/store"), "-q"))


def test_offline_refuses_urls_but_those_of_memory(job):
    line = one_line(extract(replace(job, output="s3://b/store"), "--offline", "-q"))
    assert "s3://b/store is not reached with --offline" in line
    assert "is not reached with --offline" in one_line(imgret("search", "s3://b/store", "q.png", "--offline", "-q"))
    try:
        assert extract(replace(job, output="memory://url/store"), "--dry-run", "--offline").exit_code == 0
    finally:
        fsspec.filesystem("memory").store.clear()


def test_without_fsspec_a_url_says_what_to_install(job, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **ways):
        if name == "fsspec":
            raise ImportError(name)
        return real(name, *args, **ways)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert "pip install 'imgret[remote]'" in one_line(extract(replace(job, output="memory://url/store"), "-q"))
    assert "pip install 'imgret[remote]'" in one_line(imgret("info", "memory://url/store"))


def test_a_url_that_holds_no_store_is_one_line(bucket):  # noqa: F811
    for command in (("info",), ("index", "-o", "x"), ("search", "q.png"), ("merge", "-o", "x")):
        line = one_line(imgret(command[0], "bucket://b/none", *command[1:], *(["-q"] if command[0] != "info" else [])))
        assert "bucket://b/none is not a store: it has no store.json" in line
