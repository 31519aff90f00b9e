"""How fast the native engine runs Wan beside diffusers: the same random weights, prompts and static.

    python benchmarks/wan.py
    python benchmarks/wan.py --width 1536 --depth 30 --decoder-width 96 --size 832x480 --frames 81 --steps 4 \
        --device cuda --dtype bfloat16

Prints a Markdown table: seconds of each stage for both, taken in turn in one process, the median of
`--repeats`; the ratio; and the largest difference of what they return. diffusers runs as it does by default
(`--compile` compiles its blocks), and nothing is left out: both read the prompts, sample and decode.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers as library
import torch
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import Unigram
from torch import Tensor
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from unstatic.core.shapes import Size
from unstatic.diffusion.condition import LatentState
from unstatic.generate.native import NativeEngine, load_native
from unstatic.generate.request import Request, plan
from unstatic.generate.stream import Chunk
from unstatic.models.manifest import open_model

diffusers: Any = library  # its types say less than they mean
PROMPT, NEGATIVE = "a red ball bounces on a wooden floor, the camera follows it", "grey and still"


def main() -> None:
    """Build both, check that they agree, time them in turn."""
    options = parsed()
    torch.manual_seed(0)
    dtype = getattr(torch, options.dtype)
    with tempfile.TemporaryDirectory() as folder:
        theirs = built(options)
        theirs.save_pretrained(folder)
        theirs.to(options.device, dtype)
        theirs.set_progress_bar_config(disable=True)
        if options.compile:
            theirs.transformer.compile_repeated_blocks()
        ours = load_native(open_model(Path(folder)), device=options.device, dtype=dtype)

        size, compression = Size.parse(options.size), ours.manifest.compression
        width, height = compression.latent_size(size.width, size.height)
        static = torch.randn(1, 16, compression.latent_frames(options.frames), height, width)
        where = f"{options.device}, {options.dtype}, {torch.get_num_threads()} threads"
        print(f"| {where} | diffusers | unstatic | ratio | difference |")
        print("|---|---|---|---|---|")
        with torch.inference_mode():
            stages(ours, theirs, options, static)


def stages(ours: NativeEngine, theirs: Any, options: argparse.Namespace, static: Tensor) -> None:
    """Time a step of the transformer, decoding, and the whole way from words to frames."""
    static = static.to(ours.device)
    kinds = {"dtype": theirs.transformer.dtype, "device": ours.device}
    embeds = theirs.encode_prompt(PROMPT, NEGATIVE, max_sequence_length=512)
    states = ours.text_encoder.encode([PROMPT, NEGATIVE]).states.to(**kinds)
    text = ours.transformer.encode_text(states)
    level = torch.full((2, static.shape[2]), 0.5, device=ours.device)

    def their_step() -> Tensor:
        latent, time_ = static.to(kinds["dtype"]), torch.full((1,), 500, device=ours.device)
        return torch.cat([theirs.transformer(latent, time_, each.to(**kinds)).sample for each in embeds])

    def our_step() -> Tensor:
        return ours.transformer(torch.cat([static, static]), level, text).prediction

    row("a guided step of the transformer", their_step, our_step, options)
    mean, std = (
        torch.tensor(each).view(1, -1, 1, 1, 1).to(**kinds)
        for each in (theirs.vae.config.latents_mean, theirs.vae.config.latents_std)
    )
    row(
        "decoding",
        lambda: theirs.vae.decode(static.to(**kinds) * std + mean).sample,
        lambda: ours.autoencoder.decode(static),
        options,
    )

    size = Size.parse(options.size)
    request = Request(
        prompt=PROMPT,
        negative=NEGATIVE,
        seconds=options.frames / ours.manifest.fps,
        steps=options.steps,
        guidance=5.0,
        size=size,
    )
    made = plan(request, replace(ours.manifest, sizes=(size,)))
    ours.static = lambda plan: LatentState.static(static, float(ours.schedule(plan)[0]))  # type: ignore[method-assign]

    def their_film() -> Tensor:
        film = theirs(
            PROMPT,
            NEGATIVE,
            height=size.height,
            width=size.width,
            num_frames=options.frames,
            num_inference_steps=options.steps,
            guidance_scale=5.0,
            latents=static.float(),
            output_type="pt",
        )
        return film.frames.movedim(2, 1) * 2 - 1

    def our_film() -> Tensor:
        forget(ours)
        (latent,) = [event.latent for event in ours.denoise(made) if isinstance(event, Chunk)]
        return ours.autoencoder.decode(latent)

    row(f"words to {options.frames} frames, {options.steps} steps", their_film, our_film, options)


def forget(engine: NativeEngine) -> None:
    """Let the text encoder read the prompts again: diffusers does, too."""
    engine.text_encoder._kept.clear()  # type: ignore[attr-defined]


Stage = Callable[[], Tensor]


def row(
    name: str, theirs: Callable[[], Tensor], ours: Callable[[], Tensor], options: argparse.Namespace
) -> None:
    """Time both in turn and print a row of the table; the first time does not count."""
    difference = float((theirs().float() - ours().float()).abs().max())
    durations: dict[Stage, list[float]] = {theirs: [], ours: []}
    for _ in range(options.repeats):
        for each, found in durations.items():
            synchronise(options.device)
            started = time.perf_counter()
            each()
            synchronise(options.device)
            found.append(time.perf_counter() - started)
    one, other = (statistics.median(found) for found in durations.values())
    print(f"| {name} | {one:.3g} s | {other:.3g} s | {one / other:.2f} | {difference:.1e} |", flush=True)


def synchronise(device: str) -> None:
    """Wait until the device has done what it was asked."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def built(options: argparse.Namespace) -> Any:
    """Build diffusers' pipeline with random weights; the text encoder is smaller than the published one."""
    letters = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((chr(97 + each), -3.0) for each in range(26))]
    tokenizer = Tokenizer(Unigram(letters, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    text = UMT5Config(
        vocab_size=len(letters), d_model=512, d_kv=64, d_ff=1024, num_layers=4, num_heads=8, dropout_rate=0.0
    )
    return diffusers.WanPipeline(
        tokenizer=PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
        ),
        text_encoder=UMT5EncoderModel(text).eval(),
        vae=diffusers.AutoencoderKLWan(base_dim=options.decoder_width).eval(),
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
        transformer=diffusers.WanTransformer3DModel(
            num_attention_heads=options.width // 128,
            attention_head_dim=128,
            text_dim=512,
            ffn_dim=options.width * 35 // 6,
            num_layers=options.depth,
        ).eval(),
    )


def parsed() -> argparse.Namespace:
    """Read the command line; the defaults are small enough for two cores."""
    parser = argparse.ArgumentParser(description="Time Wan in the native engine beside diffusers.")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--decoder-width", type=int, default=32)
    parser.add_argument("--size", default="128x128")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--compile", action="store_true", help="compile diffusers' blocks")
    return parser.parse_args()


if __name__ == "__main__":
    main()
