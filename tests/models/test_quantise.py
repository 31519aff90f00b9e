"""Weights in 8 bits: which, how near they are, and that they stay what others published."""

import gc
import subprocess
import sys
from pathlib import Path

import deep_wan
import pytest
import tiny_wan
import torch
from peak import peak_bytes
from safetensors.torch import save_file
from torch import Tensor, nn

from unstatic.core.errors import InputError
from unstatic.models.fitting import Fit, Fitting
from unstatic.models.lora import fuse, read_lora
from unstatic.models.open_weights import load_transformer
from unstatic.models.prepare import FusedSelfAttention
from unstatic.models.quantise import FP8, KINDS, as_published, check_kind, is_plain, quantise, quantised_bytes
from unstatic.models.transformer import Block, TransformerConfig, VideoTransformer
from unstatic.models.weights import count_parameters

CPU = torch.device("cpu")
STORED = {"int8": torch.int8, "fp8": FP8}
# Of a prediction, beside its own size: as measured, and some
BOUNDS = {"int8": 0.02, "fp8": 0.08}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deep_wan.saved(tmp_path_factory.mktemp("deep"))


def loaded(folder: Path, kind: str | None, prepare: bool = False, dtype=torch.float32) -> VideoTransformer:
    return load_transformer(folder, dtype, Fitting(fit=Fit(quantise=kind), prepare=prepare))


def stored(layer: nn.Module) -> Tensor:
    """Return the numbers that are in memory."""
    return layer.weight if is_plain(layer) else layer.weight.qdata


@pytest.mark.parametrize("kind", KINDS)
def test_the_matrices_of_blocks_are_in_8_bits_and_nothing_else_is(folder: Path, kind: str) -> None:
    plain, model = loaded(folder, None), loaded(folder, kind)
    matrices = 0
    for name, parameter in plain.named_parameters():
        other = model.get_parameter(name)
        if name.startswith("blocks.") and parameter.ndim == 2:
            matrices += 1
            assert other.qdata.dtype == STORED[kind]
            assert other.qdata.nbytes + other.scale.nbytes == quantised_bytes(tuple(parameter.shape))
        else:
            assert torch.equal(other, parameter)
    assert matrices == 10 * deep_wan.DEPTH


def test_rows_are_rounded_each_by_its_own_scale() -> None:
    layer = nn.Linear(64, 32)
    with torch.no_grad():
        layer.weight.mul_(torch.logspace(-3, 3, 32)[:, None])
    weight, largest = layer.weight.detach().clone(), layer.weight.detach().abs().amax(1, keepdim=True)
    for kind in KINDS:
        block = nn.Sequential(nn.Linear(64, 32))
        block[0].weight = nn.Parameter(weight.clone())
        quantise(block, kind)
        error = (block[0].weight.dequantize() - weight).abs()
        # Half a step: of 127 to the largest, or of 8 to a power of two, down to the smallest that fp8 knows
        step = largest / 127 if kind == "int8" else torch.maximum(weight.abs() / 8, largest / 448 / 512)
        assert bool((error <= 0.501 * step).all())
        assert float(error.max()) > 0


@pytest.mark.parametrize("prepare", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_near(folder: Path, kind: str, prepare: bool) -> None:
    expected = deep_wan.predicted(loaded(folder, None))
    model = loaded(folder, kind, prepare)
    assert all(isinstance(block.attention, FusedSelfAttention) == prepare for block in model.blocks)
    error = (deep_wan.predicted(model) - expected).norm() / expected.norm()
    assert 0 < float(error) < BOUNDS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_never_stands_in_memory_in_full_precision(folder: Path, kind: str) -> None:
    """The files are in float32, and bfloat16 is asked for: what is read is also converted.

    The file itself is mapped, which the profiler counts as memory.
    """
    (file,) = folder.glob("*.safetensors")
    whole = 2 * count_parameters([file])
    kept: list[VideoTransformer] = []

    def beside_the_file(kind: str | None) -> int:
        gc.collect()
        most = peak_bytes(lambda: kept.append(loaded(folder, kind, dtype=torch.bfloat16)))
        return most - file.stat().st_size

    assert beside_the_file(None) > 0.98 * whole
    assert 0.5 * whole < beside_the_file(kind) < 0.6 * whole


def test_loras_are_fused_before(folder: Path, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(2)
    down, up = torch.randn(3, 256, generator=generator), torch.randn(256, 3, generator=generator)
    name = "diffusion_model.blocks.5.self_attn.q"
    save_file({f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}, tmp_path / "a.safetensors")
    lora = read_lora(tmp_path / "a.safetensors")
    model = load_transformer(folder, torch.float32, Fitting(fit=Fit(quantise="int8"), loras=((lora, 0.5),)))
    expected = loaded(folder, None)
    fuse(expected, lora, 0.5)
    for block in expected.blocks:
        quantise(block, "int8")
    for place in ("blocks.5.attention.query", "blocks.4.attention.query"):
        ours, theirs = (stored(each.get_submodule(place)) for each in (model, expected))
        assert torch.equal(ours, theirs)
    assert torch.equal(deep_wan.predicted(model), deep_wan.predicted(expected))


@pytest.mark.parametrize("prepare", [False, True])
def test_what_is_published_in_fp8_stays_as_it_is(tmp_path: Path, prepare: bool) -> None:
    published = tiny_wan.single_file("2.1", fp8=True)
    save_file(published, tmp_path / "one.safetensors")
    model = loaded(tmp_path, "fp8", prepare)
    name = "model.diffusion_model.blocks.1.ffn.0"
    assert torch.equal(model.blocks[1].mlp.up.weight.qdata.float(), published[f"{name}.weight"].float())
    plain = load_transformer(tmp_path, torch.float32)
    for layer, other in zip(model.blocks[1].mlp.children(), plain.blocks[1].mlp.children(), strict=True):
        torch.testing.assert_close(layer.weight.dequantize(), other.weight, atol=0, rtol=1e-6)
    again = plain.blocks[1]
    quantise(again, "fp8")
    assert not torch.equal(again.mlp.up.weight.qdata.float(), model.blocks[1].mlp.up.weight.qdata.float())


@pytest.mark.parametrize("rows", [1, 8])
def test_scales_of_all_kinds_are_taken(rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(8, 16, generator=generator).to(FP8)
    scale = torch.rand(rows, generator=generator) + 0.5
    layer = nn.Linear(16, 8)
    layer.weight = nn.Parameter(as_published(weight, scale, torch.float32), requires_grad=False)
    x = torch.randn(3, 16, generator=generator)
    expected = x @ (weight.float() * scale[:, None]).T + layer.bias
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)
    bare = as_published(weight, None, torch.float32)
    assert torch.equal(bare.dequantize(), weight.float())


def test_what_cannot_be_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [check_kind(kind, CPU) for kind in KINDS] == list(KINDS)
    with pytest.raises(InputError, match="cannot be quantised to 'int4': take int8 or fp8"):
        check_kind("int4", CPU)
    with pytest.raises(InputError, match="fp8 does not exist on mps: take --quantise int8"):
        check_kind("fp8", torch.device("mps"))
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(InputError, match=r"needs the package torchao: pip install 'unstatic\[quantise\]'"):
        check_kind("int8", CPU)


def test_importing_torchao_says_nothing() -> None:
    """It tells of every GPU that its kernels are not for; nobody asked."""
    code = "import torch; from unstatic.models.quantise import check_kind as check; "
    code += "check('fp8', torch.device('cpu'))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("", "")


def test_a_block_that_is_in_8_bits_stays_as_it_is() -> None:
    config = TransformerConfig(
        in_channels=4, out_channels=4, width=24, depth=1, heads=2, ffn_width=32, text_width=8
    )
    block = Block(config)
    quantise(block, "int8")
    before = [stored(layer) for layer in block.modules() if isinstance(layer, nn.Linear)]
    quantise(block, "fp8")
    after = [stored(layer) for layer in block.modules() if isinstance(layer, nn.Linear)]
    assert all(one is other for one, other in zip(before, after, strict=True))
