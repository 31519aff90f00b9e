"""Small random pipelines of the published forms of Wan, made by diffusers: parity is held to them."""

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
)
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import Unigram
from torch import Tensor
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerFast,
    UMT5Config,
    UMT5EncoderModel,
)

from unstatic.core.shapes import Size
from unstatic.generate.finish import Finish
from unstatic.models.umt5_keys import IN_A_BLOCK, OUTSIDE_BLOCKS
from unstatic.models.wan_autoencoder import WAN_2_2
from unstatic.models.wan_autoencoder_keys import config_of, rows
from unstatic.models.wan_keys import from_wan, to_original

KINDS = ("2.1", "2.2-14b", "2.2-5b")
PICTURES = "2.2-14b-i2v"
SEEN, BOTH_SEEN = "2.1-i2v", "2.1-flf2v"  # pictures are read beside the latent, and by CLIP
BESIDE = (PICTURES, SEEN, BOTH_SEEN)
CLIP_TOKENS, CLIP_WIDTH, CLIP_SIZE = 5, 24, 28


def tokenizer() -> PreTrainedTokenizerFast:
    """Return one token to a letter; the real one has 256,384 pieces and the same kind of file."""
    pieces = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        *((each, -3.0) for each in "▁abcdefghijklmnopqrstuvwxyz"),
    ]
    letters = Tokenizer(Unigram(pieces, unk_id=2))
    letters.pre_tokenizer = pre_tokenizers.Metaspace()
    letters.decoder = decoders.Metaspace()
    letters.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=letters, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def transformer(channels: int, kind: str) -> WanTransformer3DModel:
    beside, sees = 20 if kind in BESIDE else 0, kind in (SEEN, BOTH_SEEN)
    return WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=128,
        in_channels=channels + beside,
        out_channels=channels,
        text_dim=16,
        freq_dim=32,
        ffn_dim=32,
        num_layers=2,
        rope_max_seq_len=32,
        image_dim=CLIP_WIDTH if sees else None,
        added_kv_proj_dim=256 if sees else None,
        pos_embed_seq_len=2 * CLIP_TOKENS if kind == BOTH_SEEN else None,
    )


def is_small(name: str) -> bool:
    """Tell weights of diffusers' transformer that stay in float32: norms, tables, and how levels are told."""
    parts = name.split(".")
    return any(part.startswith("norm") or part in ("scale_shift_table", "time_embedder") for part in parts)


def image_encoder() -> CLIPVisionModel:
    return CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=CLIP_WIDTH,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=CLIP_SIZE,
            patch_size=14,
            hidden_act="gelu",
        )
    )


def image_processor() -> CLIPImageProcessor:
    square = {"height": CLIP_SIZE, "width": CLIP_SIZE}
    return CLIPImageProcessor(size={"shortest_edge": CLIP_SIZE}, crop_size=square)


def autoencoder(kind: str) -> AutoencoderKLWan:
    if kind != "2.2-5b":
        return AutoencoderKLWan(base_dim=8)
    return AutoencoderKLWan(
        base_dim=8,
        decoder_base_dim=16,
        z_dim=48,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
        latents_mean=list(WAN_2_2.latent_mean),
        latents_std=list(WAN_2_2.latent_std),
    )


def shift_of(kind: str) -> float:
    """Return the shift of the publishers, for films of 480p."""
    if kind in (SEEN, BOTH_SEEN):
        return 3.0 if kind == SEEN else 16.0
    return {"2.1": 8.0, "2.2-14b": 12.0}.get(kind, 5.0)


@cache
def pipeline(kind: str) -> Any:
    """Return the pipeline of one of `KINDS` or `BESIDE`.

    Its weights are far from where training begins: all matter.
    """
    torch.manual_seed(0)
    channels, sees = 48 if kind == "2.2-5b" else 16, kind in (SEEN, BOTH_SEEN)
    pictures = {"image_encoder": image_encoder().eval(), "image_processor": image_processor()} if sees else {}
    text = UMT5Config(vocab_size=29, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, dropout_rate=0.0)
    made: Any = (WanImageToVideoPipeline if kind in BESIDE else WanPipeline)(
        tokenizer=tokenizer(),
        text_encoder=UMT5EncoderModel(text).eval(),
        vae=autoencoder(kind).eval(),
        scheduler=UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift_of(kind)
        ),
        transformer=transformer(channels, kind),
        transformer_2=transformer(channels, kind) if "14b" in kind else None,
        boundary_ratio=0.875 if "14b" in kind else None,
        expand_timesteps=kind == "2.2-5b",
        **pictures,
    )
    with torch.no_grad():
        for part in (made.transformer, made.transformer_2, made.text_encoder, pictures.get("image_encoder")):
            for parameter in part.parameters() if part is not None else ():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    made.set_progress_bar_config(disable=True)
    return made


def saved(kind: str, folder: Path) -> Path:
    """Save the pipeline into a new folder inside `folder`, and return it."""
    pipeline(kind).save_pretrained(folder / f"tiny-wan-{kind}")
    return folder / f"tiny-wan-{kind}"


def with_pictures(kind: str) -> Any:
    """Return the pipeline that begins with a picture, of the parts of one that need not."""
    parts = pipeline(kind).components
    made: Any = WanImageToVideoPipeline(**parts, expand_timesteps=True)
    made.set_progress_bar_config(disable=True)
    return made


# -------------------------------------------------------------------------------- as others publish it


def original_transformer(part: Any) -> dict[str, Tensor]:
    """Give a transformer's weights the names that Wan publishes them under."""
    return {name: tensor.contiguous() for name, tensor in to_original(from_wan(part.state_dict())).items()}


def original_autoencoder(kind: str = "2.1") -> dict[str, Tensor]:
    """Give an autoencoder's weights their original names."""
    theirs = pipeline(kind).vae.state_dict()
    config = config_of({name: tuple(tensor.shape) for name, tensor in theirs.items()})
    return {
        f"{row.original}.{leaf}": theirs[f"{row.diffusers}.{leaf}"]
        for row in rows(config)
        for leaf in ("gamma", "weight", "bias")
        if f"{row.diffusers}.{leaf}" in theirs
    }


def original_text_encoder() -> dict[str, Tensor]:
    """Give the text encoder's weights their original names."""
    inside = {theirs: original for original, theirs in IN_A_BLOCK.items()}
    outside = {theirs: original for original, theirs in OUTSIDE_BLOCKS.items()}
    found: dict[str, Tensor] = {}
    for name, tensor in pipeline("2.1").text_encoder.state_dict().items():
        match = re.fullmatch(r"encoder\.block\.(\d+)\.layer\.(.+)\.weight", name)
        if match:
            found[f"blocks.{match[1]}.{inside[match[2]]}.weight"] = tensor
        elif (part := name.removesuffix(".weight")) in outside:
            found[f"{outside[part]}.weight"] = tensor
    return found


def saved_as_original(kind: str, folder: Path) -> Path:
    """Save transformers as Wan's own folders have them; the other parts are pickles there."""
    both = {"high_noise_model": "transformer", "low_noise_model": "transformer_2"}
    for inner, part in both.items() if "14b" in kind else {"": "transformer"}.items():
        where, model = folder / inner, getattr(pipeline(kind), part)
        where.mkdir(parents=True)
        save_file(original_transformer(model), where / "diffusion_pytorch_model.safetensors")
        fields = {
            "_class_name": "WanModel",
            "dim": 256,
            "num_heads": 2,
            "num_layers": 2,
            "in_dim": model.config.in_channels,
            "out_dim": model.config.out_channels,
        }
        (where / "config.json").write_text(json.dumps(fields))
    return folder


def single_file(kind: str, *, fp8: bool = False) -> dict[str, Tensor]:
    """Return a transformer's weights as a single file for ComfyUI holds them."""
    found: dict[str, Tensor] = {"scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn)} if fp8 else {}
    for name, tensor in original_transformer(pipeline(kind).transformer).items():
        place = f"model.diffusion_model.{name}"
        if fp8 and name.startswith("blocks.") and tensor.ndim == 2:
            scale = tensor.abs().max() / 448
            found[place] = (tensor / scale).to(torch.float8_e4m3fn)
            found[place.removesuffix(".weight") + ".scale_weight"] = scale
        else:
            found[place] = tensor
    return found


def small(finish: Finish) -> Finish:
    """Let a plan make pictures of 64 x 64."""
    return replace(finish, native=Size(64, 64), size=Size(64, 64))
