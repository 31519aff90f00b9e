"""LoRA files of every style change what they say, by as much as they say."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.models.lora import Use, attach, attached, detach, fuse, parse_use, read_lora
from unstatic.models.transformer import TransformerConfig, VideoTransformer

CONFIG = TransformerConfig(
    in_channels=4, out_channels=4, width=24, depth=2, heads=2, ffn_width=32, text_width=8
)
RANK = 3
# Our layers, as the original layout and diffusers name them
LAYERS = {
    "blocks.0.attention.query": ("blocks.0.self_attn.q", "blocks.0.attn1.to_q"),
    "blocks.1.text_attention.out": ("blocks.1.cross_attn.o", "blocks.1.attn2.to_out.0"),
    "blocks.1.mlp.up": ("blocks.1.ffn.0", "blocks.1.ffn.net.0.proj"),
    "time_projection": ("time_projection.1", "condition_embedder.time_proj"),
}


def transformer() -> VideoTransformer:
    model = VideoTransformer(CONFIG, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return model.eval()


def halves(seed: int = 2) -> dict[str, tuple[Tensor, Tensor]]:
    generator, model = torch.Generator().manual_seed(seed), transformer()
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for layer in LAYERS:
        wide, narrow = model.get_submodule(layer).weight.shape
        down, up = (
            torch.randn(RANK, narrow, generator=generator),
            torch.randn(wide, RANK, generator=generator),
        )
        found[layer] = (down, 0.1 * up)
    return found


def peft(layer: str, down: Tensor, up: Tensor) -> dict[str, Tensor]:
    name = f"transformer.{LAYERS[layer][1]}"
    return {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}


def wrapped(layer: str, down: Tensor, up: Tensor) -> dict[str, Tensor]:
    name = f"base_model.model.{LAYERS[layer][1]}"
    return {f"{name}.lora_A.default.weight": down, f"{name}.lora_B.default.weight": up}


def comfy(layer: str, down: Tensor, up: Tensor) -> dict[str, Tensor]:
    name = f"diffusion_model.{LAYERS[layer][0]}"
    alpha = torch.tensor(1.5)
    return {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": alpha}


def kohya(layer: str, down: Tensor, up: Tensor) -> dict[str, Tensor]:
    name = "lora_unet_" + LAYERS[layer][0].replace(".", "_")
    found = {f"{name}.lora_down.weight": down.half(), f"{name}.lora_up.weight": up.half()}
    return found | {f"{name}.alpha": torch.tensor(1.5)}


Style = Callable[[str, Tensor, Tensor], dict[str, Tensor]]
STYLES: dict[str, tuple[Style, float]] = {
    "peft": (peft, 1.0),
    "wrapped": (wrapped, 1.0),
    "comfy": (comfy, 0.5),
    "kohya": (kohya, 0.5),
}


def saved(style: Style, path: Path, seed: int = 2) -> Path:
    state: dict[str, Tensor] = {}
    for layer, (down, up) in halves(seed).items():
        state |= style(layer, down, up)
    save_file(state, path)
    return path


@torch.no_grad()
def predicted(model: VideoTransformer) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    latent, states = (
        torch.randn(1, 4, 2, 4, 4, generator=generator),
        torch.randn(1, 3, 8, generator=generator),
    )
    return model(latent, torch.full((1, 2), 0.5), model.encode_text(states)).prediction


@torch.no_grad()
def expected(scale: float, seed: int = 2) -> VideoTransformer:
    model = transformer()
    for layer, (down, up) in halves(seed).items():
        model.get_submodule(layer).weight.add_(scale * (up @ down))
    return model


@pytest.mark.parametrize("style", STYLES)
def test_a_file_of_any_style_is_fused_and_attached(style: str, tmp_path: Path) -> None:
    make, scale = STYLES[style]
    lora = read_lora(saved(make, tmp_path / "style.safetensors"))
    assert lora.changes.keys() == LAYERS.keys()
    tolerance = 2e-3 if style == "kohya" else 1e-5  # it is in float16
    wanted = predicted(expected(0.8 * scale))
    assert not torch.allclose(wanted, predicted(transformer()), atol=1e-2)

    fused = transformer()
    fuse(fused, lora, 0.8)
    torch.testing.assert_close(predicted(fused), wanted, atol=tolerance, rtol=tolerance)

    beside = transformer()
    attach(beside, lora, 0.8)
    assert attached(beside) == {"style": 0.8}
    torch.testing.assert_close(predicted(beside), wanted, atol=tolerance, rtol=tolerance)
    detach(beside, "style")
    assert attached(beside) == {}
    assert torch.equal(predicted(beside), predicted(transformer()))
    assert beside.state_dict().keys() == transformer().state_dict().keys()


def test_several_count_together_and_weights_can_be_changed(tmp_path: Path) -> None:
    one = read_lora(saved(peft, tmp_path / "one.safetensors", seed=4))
    two = read_lora(saved(comfy, tmp_path / "two.safetensors", seed=5))
    model, both = transformer(), transformer()
    attach(model, one, 0.5)
    attach(model, two, 2.0)
    fuse(both, one, 0.5)
    fuse(both, two, 2.0)
    torch.testing.assert_close(predicted(model), predicted(both), atol=1e-5, rtol=1e-5)
    attach(model, one, 1.0)
    assert attached(model) == {"two": 2.0, "one": 1.0}
    detach(model, "two")
    torch.testing.assert_close(predicted(model), predicted(expected(1.0, seed=4)), atol=1e-5, rtol=1e-5)
    with pytest.raises(InputError, match="no LoRA 'two' is attached: there is one"):
        detach(model, "two")


def test_differences_and_biases_count_and_norms_that_stay_are_left_out(tmp_path: Path) -> None:
    generator, fused, beside, wanted = torch.Generator().manual_seed(6), *(transformer() for _ in range(3))
    layer = wanted.get_submodule("blocks.0.mlp.down")
    weight, bias = (0.1 * torch.randn(each.shape, generator=generator) for each in (layer.weight, layer.bias))
    state = {
        "diffusion_model.blocks.0.ffn.2.diff": weight,
        "diffusion_model.blocks.0.ffn.2.diff_b": bias,
        "diffusion_model.blocks.0.self_attn.norm_q.diff": torch.zeros(24),
        "diffusion_model.blocks.0.modulation.diff": torch.zeros(1, 6, 24),
        "diffusion_model.blocks.0.norm3.diff_b": torch.zeros(24),
    }
    save_file(state, tmp_path / "whole.safetensors")
    with torch.no_grad():
        layer.weight.add_(weight)
        layer.bias.add_(bias)
    fuse(fused, read_lora(tmp_path / "whole.safetensors"))
    attach(beside, read_lora(tmp_path / "whole.safetensors"))
    for model in (fused, beside):
        torch.testing.assert_close(predicted(model), predicted(wanted), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("layout", [0, 1])
def test_layers_that_see_pictures_are_changed_too(layout: int, tmp_path: Path) -> None:
    layers = {
        "blocks.1.text_attention.pictures.key": ("blocks.1.cross_attn.k_img", "blocks.1.attn2.add_k_proj"),
        "blocks.0.text_attention.pictures.value": ("blocks.0.cross_attn.v_img", "blocks.0.attn2.add_v_proj"),
        "picture_embedding.down": ("img_emb.proj.3", "condition_embedder.image_embedder.ff.net.2"),
    }
    model = VideoTransformer(replace(CONFIG, picture_width=10, picture_positions=4))
    before = {name: model.get_submodule(name).weight.clone() for name in layers}
    generator, state = torch.Generator().manual_seed(7), dict[str, Tensor]()
    for name, theirs in layers.items():
        wide, narrow = before[name].shape
        down, up = (torch.randn(each, generator=generator) for each in ((RANK, narrow), (wide, RANK)))
        state |= {f"{theirs[layout]}.lora_A.weight": down, f"{theirs[layout]}.lora_B.weight": up}
        before[name] += up @ down
    state["diffusion_model.img_emb.emb_pos.diff"] = torch.ones(1, 4, 10)
    save_file(state, tmp_path / "seen.safetensors")
    fuse(model, read_lora(tmp_path / "seen.safetensors"))
    for name, expected in before.items():
        torch.testing.assert_close(model.get_submodule(name).weight, expected)
    assert torch.equal(model.get_parameter("picture_embedding.positions"), torch.ones(1, 4, 10))
    with pytest.raises(InputError, match="it is for another model"):
        fuse(transformer(), read_lora(tmp_path / "seen.safetensors"))


QUERY = "blocks.0.self_attn.q"


def pair(down: Tensor, up: Tensor) -> dict[str, Tensor]:
    return {f"{QUERY}.lora_A.weight": down, f"{QUERY}.lora_B.weight": up}


def test_files_that_are_no_loras_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    wrong: dict[str, dict[str, Tensor]] = {
        "which no Wan model has": {"lora_unet_double_blocks_0_img.lora_up.weight": torch.zeros(2, 2)},
        "which is no part of a LoRA": {"blocks.0.self_attn.q.weight": torch.zeros(2, 2)},
        "has one half of what changes": {"blocks.0.self_attn.q.lora_A.weight": torch.zeros(2, 24)},
        "has no matrices for": pair(torch.zeros(0, 24), torch.zeros(24, 0)),
        "has no matrices for ": pair(torch.zeros(24), torch.zeros(24)),
        "is damaged": pair(torch.zeros(2, 24), torch.zeros(24, 2)) | {f"{QUERY}.alpha": torch.ones(3)},
    }
    for said, state in wrong.items():
        save_file(state, file)
        with pytest.raises(InputError, match=said):
            read_lora(file)
    for about in ("no JSON", "[]", '{"lora_alpha": "much", "r": 2}'):
        save_file(pair(torch.zeros(2, 24), torch.zeros(24, 2)), file, {"lora_adapter_metadata": about})
        with pytest.raises(InputError, match="is damaged"):
            read_lora(file)
    file.write_bytes(b"no")
    with pytest.raises(InputError, match="not a whole safetensors file"):
        read_lora(file)
    with pytest.raises(InputError, match="there is no LoRA"):
        read_lora(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize(
    "state",
    [
        {"blocks.0.self_attn.q.lora_A.weight": (2, 48), "blocks.0.self_attn.q.lora_B.weight": (48, 2)},
        {"blocks.0.self_attn.q.lora_A.weight": (2, 24), "blocks.0.self_attn.q.lora_B.weight": (24, 3)},
        {"blocks.0.self_attn.norm_q.diff": (23,)},
        {"blocks.0.ffn.2.diff_b": (7,)},
        {"blocks.7.ffn.0.diff_b": (32,)},
    ],
)
def test_a_lora_for_another_model_is_refused_and_changes_nothing(
    state: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    save_file({name: torch.ones(shape) for name, shape in state.items()}, tmp_path / "other.safetensors")
    for use in (fuse, attach):
        model = transformer()
        with pytest.raises(InputError, match="otherwise than fits: it is for another model"):
            use(model, read_lora(tmp_path / "other.safetensors"))
        assert torch.equal(predicted(model), predicted(transformer()))


def test_how_a_lora_is_named() -> None:
    assert parse_use("a/b.safetensors") == Use(Path("a/b.safetensors"), 1.0, "")
    assert parse_use("late:a@b.safetensors@0.5") == Use(Path("a@b.safetensors"), 0.5, "late")
    assert parse_use("early:b.safetensors@-1") == Use(Path("b.safetensors"), -1.0, "early")
    for weight in ("much", "nan", "inf"):
        with pytest.raises(InputError, match=f"'{weight}' is no weight of a LoRA"):
            parse_use(f"b.safetensors@{weight}")


def test_norms_and_tables_can_be_fused_and_not_attached(tmp_path: Path) -> None:
    norm, table = 0.1 * torch.randn(24), 0.1 * torch.randn(1, 6, 24)
    file, model = tmp_path / "norms.safetensors", transformer()
    save_file({"blocks.1.self_attn.norm_q.diff": norm, "blocks.1.diff_m": table}, file)
    fuse(model, read_lora(file), 2.0)
    plain = transformer()
    for name, added in (("attention.query_norm.weight", norm), ("scale_shift_table", table)):
        before = plain.get_parameter(f"blocks.1.{name}")
        torch.testing.assert_close(model.get_parameter(f"blocks.1.{name}"), before + 2 * added)
    with pytest.raises(InputError, match="can only be fused"):
        attach(plain, read_lora(file))
    assert torch.equal(predicted(plain), predicted(transformer()))


@pytest.mark.parametrize(("rslora", "scale"), [(False, 2.0), (True, 2.0 * RANK**0.5)])
@pytest.mark.parametrize("beside", [False, True])
def test_alpha_may_stand_in_the_header_or_beside_the_file(
    beside: bool, rslora: bool, scale: float, tmp_path: Path
) -> None:
    state: dict[str, Tensor] = {}
    for layer, (down, up) in halves().items():
        state |= peft(layer, down, up)
    about = {"r": RANK, "lora_alpha": 2 * RANK, "use_rslora": rslora, "alpha_pattern": {}}
    stated = {"lora_adapter_metadata": json.dumps({f"transformer.{key}": about[key] for key in about})}
    if beside:
        (tmp_path / "adapter_config.json").write_text(json.dumps(about))
    save_file(state, tmp_path / "style.safetensors", None if beside else stated)
    model = transformer()
    fuse(model, read_lora(tmp_path / "style.safetensors"), 0.5)
    torch.testing.assert_close(predicted(model), predicted(expected(0.5 * scale)), atol=1e-4, rtol=1e-4)
    (tmp_path / "adapter_config.json").write_text(json.dumps(about | {"alpha_pattern": {"to_q": 1}}))
    if beside:
        with pytest.raises(InputError, match="ranks of its own"):
            read_lora(tmp_path / "style.safetensors")


def test_another_file_of_the_same_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = read_lora(saved(peft, tmp_path / "a" / "pytorch_lora_weights.safetensors", seed=4))
    two = read_lora(saved(peft, tmp_path / "b" / "pytorch_lora_weights.safetensors", seed=5))
    model = transformer()
    attach(model, one)
    with pytest.raises(InputError, match="another LoRA is called 'pytorch_lora_weights'"):
        attach(model, two)
    torch.testing.assert_close(predicted(model), predicted(expected(1.0, seed=4)), atol=1e-5, rtol=1e-5)
