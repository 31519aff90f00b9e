"""Small random pipelines of the published forms of Wan, made by diffusers: parity is held to them."""

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
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from unstatic.models.wan_autoencoder import WAN_2_2

KINDS = ("2.1", "2.2-14b", "2.2-5b")
PICTURES = "2.2-14b-i2v"


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


def transformer(channels: int, beside: int = 0) -> WanTransformer3DModel:
    return WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=channels + beside,
        out_channels=channels,
        text_dim=16,
        freq_dim=32,
        ffn_dim=32,
        num_layers=2,
        rope_max_seq_len=32,
    )


def autoencoder(kind: str) -> AutoencoderKLWan:
    if kind != "2.2-5b":
        return AutoencoderKLWan(base_dim=8, num_res_blocks=1)
    return AutoencoderKLWan(
        base_dim=8,
        decoder_base_dim=16,
        z_dim=48,
        num_res_blocks=1,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
        latents_mean=list(WAN_2_2.latent_mean),
        latents_std=list(WAN_2_2.latent_std),
    )


@cache
def pipeline(kind: str) -> Any:
    """Return the pipeline of one of `KINDS`, or `PICTURES`.

    Its weights are far from where training begins: all matter.
    """
    torch.manual_seed(0)
    channels, beside = 48 if kind == "2.2-5b" else 16, 20 if kind == PICTURES else 0
    text = UMT5Config(vocab_size=29, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, dropout_rate=0.0)
    made: Any = (WanImageToVideoPipeline if beside else WanPipeline)(
        tokenizer=tokenizer(),
        text_encoder=UMT5EncoderModel(text).eval(),
        vae=autoencoder(kind).eval(),
        scheduler=UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
        transformer=transformer(channels, beside),
        transformer_2=transformer(channels, beside) if "14b" in kind else None,
        boundary_ratio=0.875 if "14b" in kind else None,
        expand_timesteps=kind == "2.2-5b",
    )
    with torch.no_grad():
        for part in (made.transformer, made.transformer_2, made.text_encoder):
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
