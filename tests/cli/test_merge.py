from __future__ import annotations

from tests.cli.test_cli import FAST, run
from tests.pictures import save


def test_parts_are_merged_and_searched_as_one(tmp_path, monkeypatch, mean_colour):
    monkeypatch.chdir(tmp_path)
    for number in range(8):
        save(tmp_path / "photos", f"{number}.png", number)
    for part in ("1", "2"):
        run("extract", "photos", "-o", f"part-{part}", "--part", f"{part}/2", "--model", mean_colour, *FAST)
    said = run("merge", "part-1", "part-2", "-o", "store", "-v").stderr
    assert "8 added, 0 replaced, 0 kept, 0 failed; 8 descriptors in all" in said
    assert "2 shards copied, 0 written anew" in said
    run("info", "store")
    assert "0 added, 0 replaced, 8 kept" in run("merge", "part-1", "part-2", "-o", "store").stderr
    assert run("merge", "part-1", "-o", "store", "-q").stderr == ""
    assert "one of the stores to merge" in run("merge", "part-1", "-o", "part-1", code=1).stderr
    run("merge", "store", "-o", "packed", "--repack")
    assert [path.name for path in (tmp_path / "packed").glob("*.h5")] == ["shard-00000.h5"]
