"""How much memory a film takes with what saves some, and how long, on weights that are random.

    python benchmarks/memory.py
    python benchmarks/memory.py --width 1536 --depth 30 --size 832x480 --frames 81 --dtype bfloat16
    python benchmarks/memory.py --model wan2.1-1.3b --size 832x480 --frames 33

Every way is a process of its own that loads and makes the film. Prints a Markdown table: what the weights
need by `unstatic models show`, the most that the process held of its own (pages of mapped files, which the
system takes back when it wants, do not count), and seconds of loading and sampling: computing time of all
threads on a CPU, so that others on the machine matter less. On CUDA the accelerator's memory is printed
instead, and time on the clock. Films must be the same to the last bit where nothing is quantised.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from unstatic.core.device import compute_dtype, pick_device
from unstatic.core.files import human_size
from unstatic.core.shapes import Size
from unstatic.generate.engine import Frames
from unstatic.generate.native import load_native
from unstatic.generate.request import Request, plan
from unstatic.models.fitting import Fit
from unstatic.models.manifest import open_model
from unstatic.models.quantise import KINDS
from unstatic.models.room import needed_bytes

WAYS = (Fit(), *(Fit(quantise=kind) for kind in KINDS), Fit(offload=True))


def main() -> None:
    """Make the weights, then start a process for every way."""
    options = parsed()
    if options.way is not None:
        print(json.dumps(measured(options, WAYS[options.way])))
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.model is None:
            options.model = folder
            build(options)
        device = pick_device(options.device)
        kind = options.dtype or str(compute_dtype(device)).removeprefix("torch.")
        print(f"| {kind} on {device} | counted | most | loading | film | the same |")
        print("|---|---|---|---|---|---|")
        films: list[str] = []
        for number, way in enumerate(WAYS):
            asked = [sys.executable, __file__, *given(options), "--way", str(number)]
            ran = subprocess.run(asked, capture_output=True, text=True, check=True)
            facts = json.loads(ran.stdout.splitlines()[-1])
            films.append(facts["film"])
            sizes = f"{human_size(facts['counted'])} | {human_size(facts['most'])}"
            times = f"{facts['load_s']:.1f} s | {facts['film_s']:.1f} s"
            same = "yes" if films[0] == films[-1] else "no"
            print(f"| {str(way) or 'as it is'} | {sizes} | {times} | {same} |")


def given(options: argparse.Namespace) -> list[str]:
    """Return the options again, as they are typed."""
    named = {name: value for name, value in vars(options).items() if value is not None and name != "way"}
    return [word for name, value in named.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def measured(options: argparse.Namespace, fit: Fit) -> dict[str, Any]:
    """Make a film, and return how that went."""
    model, device = open_model(Path(options.model)), pick_device(options.device)
    dtype = getattr(torch, options.dtype) if options.dtype else compute_dtype(device)
    with Watch(device) as watch:
        started = seconds_of_work(device)
        engine = load_native(
            model, device=options.device, dtype=dtype, quantise=fit.quantise, offload=fit.offload
        )
        loaded = seconds_of_work(device)
        size = Size.parse(options.size)
        request = Request(
            prompt="a red ball", seconds=options.frames / model.manifest.fps, steps=options.steps, size=size
        )
        made = plan(request, replace(model.manifest, sizes=(size,)))
        film = [event.frames for event in engine.stream(made) if isinstance(event, Frames)]
    return {
        "counted": needed_bytes(model, device, dtype, fit)[device],
        "most": watch.most,
        "load_s": loaded - started,
        "film_s": seconds_of_work(device) - loaded,
        "film": hashlib.sha256(b"".join(each.tobytes() for each in film)).hexdigest(),
    }


def seconds_of_work(device: torch.device) -> float:
    """Return how long this process has worked, or the time."""
    return time.process_time() if device.type == "cpu" else time.perf_counter()


class Watch:
    """Looks every few milliseconds how much this process holds, beyond what it held at the start."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.most, self.over = device, 0, threading.Event()
        self.thread = threading.Thread(target=self.look)

    def __enter__(self) -> "Watch":
        self.before = held()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        if self.device.type == "cuda":
            self.most = torch.cuda.max_memory_allocated(self.device)

    def look(self) -> None:
        """Look until it is over."""
        while not self.over.wait(0.005):
            self.most = max(self.most, held() - self.before)


def held() -> int:
    """Return the bytes that this process holds of its own, as Linux counts them."""
    found = re.search(r"^RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None, "this needs Linux"
    return int(found[1]) * 1024


def build(options: argparse.Namespace) -> None:
    """Save random weights as diffusers lays them out."""
    from wan import built

    torch.manual_seed(0)
    built(options).save_pretrained(options.model)


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure how much memory a film takes.")
    parser.add_argument("--model", help="a folder of open weights; random ones by default")
    parser.add_argument("--device")
    parser.add_argument("--dtype", help="float32 or bfloat16; what is fastest by default")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--depth", type=int, default=24)
    parser.add_argument("--decoder-width", type=int, default=16)
    parser.add_argument("--size", default="128x128")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--way", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
