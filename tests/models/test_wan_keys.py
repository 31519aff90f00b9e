from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

from unstatic.core.errors import InputError
from unstatic.models.transformer import TransformerConfig, VideoTransformer
from unstatic.models.wan_keys import WAN_CONFIGS, from_wan, to_diffusers, to_original

CONFIG = TransformerConfig(
    in_channels=5, out_channels=4, width=48, depth=3, heads=2, ffn_width=80, text_width=24, frequency_width=32
)


def wan(config: TransformerConfig) -> WanTransformer3DModel:
    """Build the outside implementation with the same shape."""
    return WanTransformer3DModel(
        patch_size=config.patch,
        num_attention_heads=config.heads,
        attention_head_dim=config.width // config.heads,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        text_dim=config.text_width,
        freq_dim=config.frequency_width,
        ffn_dim=config.ffn_width,
        num_layers=config.depth,
        cross_attn_norm=True,
        image_dim=config.picture_width,
        added_kv_proj_dim=None if config.picture_width is None else config.width,
        pos_embed_seq_len=config.picture_positions,
    )


@torch.no_grad()
def randomise(module: torch.nn.Module, seed: int) -> None:
    """Give every weight a value that matters, the norms and zero-initialised ones too."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.copy_(noise / parameter[0].numel() ** 0.5)
        else:
            parameter.copy_(0.2 * noise + (0 if name.endswith("bias") else 1))


def random_input(config: TransformerConfig, frames: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    latent = torch.randn(2, config.in_channels, frames, 6, 8, generator=generator)
    text = torch.randn(2, 9, config.text_width, generator=generator)
    text[:, 5:] = 0  # padding
    return latent, text, torch.randint(0, 65, (2, frames), generator=generator) / 64


def both(
    ours: VideoTransformer, theirs: WanTransformer3DModel, per_frame: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run both on one input: one timestep per sample (Wan 2.1) or one per token (Wan 2.2 5B)."""
    latent, text, sigma = random_input(ours.config, frames=5)
    if not per_frame:
        sigma = sigma[:, :1].expand(-1, 5)
    steps = 1000 * sigma.repeat_interleave(6 * 8 // 4, dim=1)
    with torch.no_grad():
        prediction = ours(latent, sigma, ours.encode_text(text)).prediction
        expected = theirs(latent, steps if per_frame else steps[:, 0], text).sample
    return prediction, expected


@pytest.mark.parametrize("per_frame", [False, True], ids=["2.1: one sigma", "2.2-5b: sigma per frame"])
@pytest.mark.parametrize("seed", [0, 1])
def test_diffusers_weights_give_our_model_the_same_numbers(per_frame: bool, seed: int) -> None:
    theirs, ours = wan(CONFIG), VideoTransformer(CONFIG)
    randomise(theirs, seed)
    ours.load_state_dict(from_wan(theirs.state_dict()))

    prediction, expected = both(ours, theirs, per_frame)

    assert expected.abs().mean() > 0.1
    assert (prediction - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("per_frame", [False, True], ids=["2.1: one sigma", "2.2-5b: sigma per frame"])
def test_our_weights_give_diffusers_the_same_numbers(per_frame: bool) -> None:
    theirs, ours = wan(CONFIG), VideoTransformer(CONFIG)
    randomise(ours, seed=2)
    theirs.load_state_dict(to_diffusers(ours.state_dict()))

    prediction, expected = both(ours, theirs, per_frame)

    assert expected.abs().mean() > 0.1
    assert (prediction - expected).abs().max() <= 1e-5


SEEING = replace(CONFIG, picture_width=20)
BOTH = replace(CONFIG, picture_width=20, picture_positions=14)


@pytest.mark.parametrize(("config", "pictures"), [(SEEING, 1), (BOTH, 2)], ids=["2.1 i2v", "2.1 flf2v"])
def test_what_is_seen_beside_the_text_counts_as_in_diffusers(
    config: TransformerConfig, pictures: int
) -> None:
    theirs, ours = wan(config), VideoTransformer(config)
    randomise(theirs, seed=3)
    ours.load_state_dict(from_wan(theirs.state_dict()))
    latent, text, sigma = random_input(config, frames=5)
    text, sigma = torch.nn.functional.pad(text, (0, 0, 0, 512 - 9)), sigma[:, :1].expand(-1, 5)
    seen = torch.randn(pictures, 7, 20, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        read = ours.encode_text(text, seen.flatten(0, 1)[None])
        prediction = ours(latent, sigma, read).prediction
        expected = theirs(latent, 1000 * sigma[:, 0], text, seen.repeat(2, 1, 1)).sample
        other = ours(latent, sigma, ours.encode_text(text, torch.zeros(1, 7 * pictures, 20))).prediction
    assert (prediction - expected).abs().max() <= 1e-5
    assert (other - expected).abs().mean() > 0.01
    assert all(one is not None and len(one.key) == 2 * config.heads for one in read.pictures)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("wan2.1-1.3b", 1_418_996_800), ("wan2.1-14b", 14_288_491_584), ("wan2.2-5b", 4_999_787_712)],
)
def test_the_published_sizes_have_the_published_shapes(name: str, parameters: int) -> None:
    with torch.device("meta"):
        ours, theirs = VideoTransformer(WAN_CONFIGS[name]), wan(WAN_CONFIGS[name])

    shapes = {key: tensor.shape for key, tensor in to_diffusers(ours.state_dict()).items()}
    assert shapes == {key: tensor.shape for key, tensor in theirs.state_dict().items()}
    assert sum(parameter.numel() for parameter in ours.parameters()) == parameters


@pytest.mark.parametrize("config", [CONFIG, SEEING])  # it cannot convert the places of two pictures
def test_the_original_layout_is_the_one_diffusers_converts(config: TransformerConfig) -> None:
    state = VideoTransformer(config).state_dict()
    converted = convert_wan_transformer_to_diffusers(to_original(state))
    expected = to_diffusers(state)
    assert converted.keys() == expected.keys()
    assert all(converted[name] is tensor for name, tensor in expected.items())


@pytest.mark.parametrize("convert", [to_diffusers, to_original])
def test_names_translate_back(convert: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    state = VideoTransformer(BOTH).state_dict()
    back = from_wan(convert(state))
    assert back.keys() == state.keys()
    assert all(back[name] is state[name] for name in state)


def test_parts_without_a_counterpart_are_named() -> None:
    with pytest.raises(InputError, match="img_emb"):
        from_wan({"img_emb.proj.2.weight": torch.zeros(1)})
    with pytest.raises(InputError, match="anchor_embedding"):
        to_diffusers({"anchor_embedding": torch.zeros(1)})
