"""Images a second of every model on a device, and how busy the device is. Run by hand on a machine with a GPU:

    PYTHONPATH=. python tests/benchmarks/bench_gpu.py

Random weights and random pixels of one size, decoded already, through `describe_stream`: batches go over the bus as
bytes while the batch before is described. Busy is the time between two events around the model's work of each batch,
which CUDA takes when it comes to them, summed, over the wall time; gaps between the kernels of a batch count as busy.
The first batches warm up and are not counted. `--device cpu --batches 2 --size 64` shows that the script works.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

MODELS: dict[str, dict[str, Any]] = {
    "gem": {"backbone": "resnet50"},
    "glam": {},
    "dalg": {},
    "dtop": {},
    "gala": {},
    "gsa": {},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, default=512, help="longer side in pixels, 4:3")
    parser.add_argument("--batches", type=int, default=30)
    parser.add_argument("--warm-up", type=int, default=None, help="batches before those [10 on a GPU, else 1]")
    parser.add_argument("--batch-size", type=int, default=None)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--backbone", help="in place of every model's own")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "fp16", "bf16"])
    parser.add_argument("--compile", choices=["no", "yes", "both"], default="both")
    arguments = parser.parse_args()

    import torch

    from imgret.errors import ImgretError
    from imgret.extraction.describe import resolve_device

    device = resolve_device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "processor"
    print(f"{name}, torch {torch.__version__}, {arguments.size} px, {time.strftime('%Y-%m-%d')}\n")
    print("| model | precision | compiled | images/s | busy |")
    print("|---|---|---|---|---|")
    for model in arguments.models:
        for precision in arguments.precisions:
            for compile in {"no": (False,), "yes": (True,), "both": (False, True)}[arguments.compile]:
                said = f"| {model} | {precision} | {'yes' if compile else 'no'} |"
                try:
                    rate, busy = measure(model, precision, compile, device, arguments)
                    print(f"{said} {rate:.1f} | {busy:.0%} |", flush=True)
                except (ImgretError, RuntimeError) as error:  # out of memory, or a size that a model does not take
                    print(f"{said} {str(error).splitlines()[0][:80]} | |", flush=True)


def measure(
    model: str, precision: str, compile: bool, device: Any, arguments: argparse.Namespace
) -> tuple[float, float]:
    """Images a second, and the share of the time that the device works for the model."""
    from unittest import mock

    import numpy as np
    import torch

    from imgret.extraction import stream
    from imgret.extraction.describe import Describer
    from imgret.images.decode import Decoded, DecodeRule
    from imgret.images.files import ImageFile
    from imgret.models import load_model

    options = {**MODELS[model], **({"backbone": arguments.backbone} if arguments.backbone else {})}
    loaded = load_model(model, weights="none", **options).model
    describer = Describer(loaded, device, precision, compile=compile, say=print)
    size = arguments.batch_size or describer.batch_size(arguments.size)
    warm_up = arguments.warm_up if arguments.warm_up is not None else 10 if device.type == "cuda" else 1
    shape = (size, arguments.size * 3 // 4, arguments.size, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    timed = Timed(describer)

    def decoded(images: Any, rule: Any, **_: Any) -> Iterator[Any]:
        for number in range((warm_up + arguments.batches) * size):
            one = pixels[number % size]
            image = ImageFile(f"{number}.jpg", "", "", 0, 0)
            yield image, Decoded(one, one.shape[1], one.shape[0], 0, b"")

    stamps = [0.0]
    with mock.patch.object(stream, "decode_stream", decoded), torch.no_grad():
        found = stream.describe_stream((), DecodeRule(arguments.size), timed, workers=0, batch_size=size)
        for number, _ in enumerate(found, 1):
            if number % size == 0:
                stamps.append(time.perf_counter())
    seconds = stamps[-1] - stamps[warm_up]
    return arguments.batches * size / seconds, sum(timed.seconds()[warm_up:]) / seconds


class Timed:
    """A Describer whose batches lie between two events each."""

    def __init__(self, describer: Any) -> None:
        self._describer = describer
        self.device = describer.device
        self.ahead = describer.ahead
        self.settled = True
        self._pairs: list[tuple[Any, Any]] = []
        inner = describer._describe
        describer._describe = lambda images: self._between(inner, images)

    def begin(self, pixels: Any) -> Callable[[], Any]:
        return self._describer.begin(pixels)

    def _between(self, describe: Callable[[Any], Any], images: Any) -> Any:
        begun = self._now()
        rows = describe(images)
        self._pairs.append((begun, self._now()))
        return rows

    def _now(self) -> Any:
        if self.device.type == "cpu":
            return time.perf_counter()
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def seconds(self) -> list[float]:
        """Of each batch; everything was waited for when this is called."""
        if self.device.type == "cpu":
            return [after - before for before, after in self._pairs]
        return [before.elapsed_time(after) / 1000 for before, after in self._pairs]


if __name__ == "__main__":
    main()
