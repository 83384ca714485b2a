"""Every model through the whole chain on the landmark photographs, by the commands. Run by hand:

    IMGRET_DATA=path/to/data python tests/benchmarks/bench_chain.py --image-size 320

For each row of MODELS: `imgret extract`, `index`, `search` and `eval` with `--weights none`; prints a Markdown table of
scores and of the seconds that extraction took, model loading included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def imgret(*arguments: object) -> str:
    """Standard output of a command; what it says goes where ours goes."""
    command = [sys.executable, "-m", "imgret", *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def main() -> None:
    from imgret.models import MODELS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--image-size", type=int, default=320)
    parser.add_argument("--backbone", help="one trunk for all; each model's own otherwise")
    arguments = parser.parse_args()
    photos = Path(os.environ["IMGRET_DATA"]) / "landmarks"
    print("| model (untrained) | trunk | easy mAP | medium mAP | hard mAP | images/s |")
    print("|---|---|---|---|---|---|")
    for name in arguments.models:
        trunk = arguments.backbone or MODELS[name].backbone
        with tempfile.TemporaryDirectory() as place:
            store, index = Path(place) / "store", Path(place) / "index"
            chosen = ["--model", name, "--backbone", trunk, "--weights", "none", "--image-size", arguments.image_size]
            start = time.perf_counter()
            imgret("extract", photos, "-o", store, *chosen, "-q")
            seconds = time.perf_counter() - start
            imgret("index", store, "-o", index, "-q")
            answers = [json.loads(line) for line in imgret("search", index, store, "-k", 1, "-q").splitlines()]
            assert all(answer["query"] == answer["results"][0]["id"] for answer in answers)
            truth = photos / "gnd_leave_one_out.json"
            scores = json.loads(imgret("eval", truth, "--index", index, "--images", photos, "--json", "-q"))
        found = [f"{100 * scores['subsets'][level]['map']:.2f}" for level in ("easy", "medium", "hard")]
        print(f"| {name} | {trunk} | {' | '.join(found)} | {len(answers) / seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
