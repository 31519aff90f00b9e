"""How much memory Wan's autoencoder takes whole and in tiles, and how long, with random weights.

    python benchmarks/tiles.py --size 832x480
    python benchmarks/tiles.py --size 1280x720 --width 24
    python benchmarks/tiles.py --encode --size 832x480

Every way is a process of its own that decodes a few latent frames in one piece, or encodes a video of as
many. Prints a Markdown table: the most that the process held of its own beyond weights and what it was given,
the result included, and computing time against that of the whole. How far tiles are from the whole is not
said: of random weights that means nothing.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from functools import partial

import torch
from memory import Watch, seconds_of_work

from unstatic.core.files import human_size
from unstatic.core.shapes import Size
from unstatic.models.wan_autoencoder import WAN_2_1, WanAutoencoder
from unstatic.models.wan_tiles import TiledDecoder, TiledEncoder

WAYS = ("whole", "in tiles", "in tiles, streaming")
CPU = torch.device("cpu")


def main() -> None:
    """Start a process for every way."""
    options = parsed()
    if options.way is not None:
        print(json.dumps(measured(options)))
        return
    what = "encoding" if options.encode else "decoding"
    print(f"| {what} {options.size}, width {options.width}, {options.dtype} | most | time |")
    print("|---|---|---|")
    first = None
    for way in WAYS[:2] if options.encode else WAYS:
        again = [f"--{name}={getattr(options, name)}" for name in ("size", "width", "frames", "dtype")]
        asked = [sys.executable, __file__, *again, f"--way={way}", *["--encode"] * options.encode]
        ran = subprocess.run(asked, capture_output=True, text=True, check=True)
        facts = json.loads(ran.stdout.splitlines()[-1])
        first = first or facts["work_s"]
        print(f"| {way} | {human_size(facts['most'])} | {facts['work_s'] / first:.2f} |", flush=True)


@torch.inference_mode()
def measured(options: argparse.Namespace) -> dict[str, float]:
    """Encode or decode in one way, and return how that went."""
    size = Size.parse(options.size)
    widths = (options.width, 8) if options.encode else (8, options.width)
    config = replace(WAN_2_1, encoder_width=widths[0], decoder_width=widths[1])
    model = WanAutoencoder(config).to(getattr(torch, options.dtype)).eval()
    width, height = config.compression.latent_size(size.width, size.height)
    if options.encode:
        video = torch.randn(1, 3, config.compression.frames(options.frames), size.height, size.width)
        encoder = model if options.way == "whole" else TiledEncoder(model)
        work = partial(encoder.encode, video)
    else:
        latent = torch.randn(1, config.latent_channels, options.frames, height, width)
        tiled = TiledDecoder(model, streams=options.way != "in tiles")
        is_whole = options.way == "whole"
        work = partial(model.decode, latent) if is_whole else partial(tiled.decode_stream, latent, None)
    with Watch(CPU) as watch:
        started = seconds_of_work(CPU)
        work()
    return {"most": watch.most, "work_s": seconds_of_work(CPU) - started}


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure what tiles save.")
    parser.add_argument("--encode", action="store_true", help="encode instead of decoding")
    parser.add_argument("--size", default="832x480")
    parser.add_argument("--width", type=int, default=WAN_2_1.decoder_width)
    parser.add_argument("--frames", type=int, default=2, help="latent frames")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
