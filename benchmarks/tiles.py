"""How much memory decoding takes whole and in tiles, and how long, with Wan's autoencoder of random weights.

    python benchmarks/tiles.py --size 832x480
    python benchmarks/tiles.py --size 1280x720 --width 24

Every way is a process of its own that decodes a few latent frames in one piece. Prints a Markdown table: the
most that the process held of its own beyond weights and latent, the film included, and computing time against
that of the whole. How far tiles are from the whole is not said: of random weights that means nothing.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import replace

import torch
from memory import Watch, seconds_of_work

from unstatic.core.files import human_size
from unstatic.core.shapes import Size
from unstatic.models.wan_autoencoder import WAN_2_1, WanAutoencoder
from unstatic.models.wan_tiles import TiledDecoder

WAYS = ("whole", "in tiles", "in tiles, streaming")
CPU = torch.device("cpu")


def main() -> None:
    """Start a process for every way."""
    options = parsed()
    if options.way is not None:
        print(json.dumps(measured(options)))
        return
    print(f"| {options.size}, width {options.width}, {options.dtype} | most | time |")
    print("|---|---|---|")
    first = None
    for way in WAYS:
        again = [f"--{name}={getattr(options, name)}" for name in ("size", "width", "frames", "dtype")]
        asked = [sys.executable, __file__, *again, f"--way={way}"]
        ran = subprocess.run(asked, capture_output=True, text=True, check=True)
        facts = json.loads(ran.stdout.splitlines()[-1])
        first = first or facts["work_s"]
        print(f"| {way} | {human_size(facts['most'])} | {facts['work_s'] / first:.2f} |", flush=True)


@torch.inference_mode()
def measured(options: argparse.Namespace) -> dict[str, float]:
    """Decode in one way, and return how that went."""
    size = Size.parse(options.size)
    model = WanAutoencoder(replace(WAN_2_1, decoder_width=options.width, encoder_width=8))
    model = model.to(getattr(torch, options.dtype)).eval()
    width, height = model.config.compression.latent_size(size.width, size.height)
    latent = torch.randn(1, model.config.latent_channels, options.frames, height, width)
    with Watch(CPU) as watch:
        started = seconds_of_work(CPU)
        if options.way == "whole":
            model.decode(latent)
        else:
            TiledDecoder(model, streams=options.way != "in tiles").decode_stream(latent, None)
    return {"most": watch.most, "work_s": seconds_of_work(CPU) - started}


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure what decoding in tiles saves.")
    parser.add_argument("--size", default="832x480")
    parser.add_argument("--width", type=int, default=WAN_2_1.decoder_width)
    parser.add_argument("--frames", type=int, default=2, help="latent frames")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
