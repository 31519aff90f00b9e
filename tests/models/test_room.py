from pathlib import Path

import pytest
import tiny_wan
import torch

from unstatic.core.errors import InputError
from unstatic.core.processes import Place
from unstatic.generate.native import load_native
from unstatic.models import room
from unstatic.models.fitting import WHOLE, Fit, Fitting
from unstatic.models.manifest import InstalledModel, find_model, open_model
from unstatic.models.parts import load_parts, part_files
from unstatic.models.quantise import quantised_bytes
from unstatic.models.room import Taken, check_room, described, needed_bytes, smaller_fits, weight_bytes
from unstatic.models.weight_files import shapes

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
INT8, OFFLOAD = Fit(quantise="int8"), Fit(offload=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> InstalledModel:
    return open_model(tiny_wan.saved("2.2-14b", tmp_path_factory.mktemp("open")))


def test_every_part_is_counted_in_the_dtype_asked_for(model: InstalledModel) -> None:
    theirs = tiny_wan.pipeline("2.2-14b")
    count = sum(each.numel() for each in theirs.transformer.parameters())
    sizes = weight_bytes(model, torch.bfloat16)
    assert sizes.keys() == {"transformer", "transformer_2", "vae", "text_encoder"}
    kept = [each for name, each in theirs.transformer.named_parameters() if tiny_wan.is_small(name)]
    assert sizes["transformer"] == 2 * count + 2 * sum(each.numel() for each in kept)
    assert weight_bytes(model, torch.float32)["transformer"] == 4 * count


def test_what_is_counted_is_what_is_loaded(tmp_path: Path) -> None:
    seeing = open_model(tiny_wan.saved(tiny_wan.BOTH_SEEN, tmp_path))
    parts = load_parts(seeing, torch.bfloat16)
    sizes = weight_bytes(seeing, torch.bfloat16)
    assert sizes["transformer"] == sum(each.nbytes for each in parts.transformer.parameters())
    encoder = tiny_wan.pipeline(tiny_wan.BOTH_SEEN).image_encoder
    assert sizes["image_encoder"] == sum(each.nbytes for each in encoder.parameters()), "in float32"
    beside = max(sizes.pop("image_encoder"), sizes.pop("text_encoder"))
    assert needed_bytes(seeing, CPU, torch.bfloat16) == {CPU: sum(sizes.values()) + beside}


def test_too_little_memory_is_said_before_anything_is_loaded(
    model: InstalledModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = weight_bytes(model, torch.float32)
    every = sum(sizes.values())
    monkeypatch.setattr(room, "available_bytes", lambda _: every)
    check_room(model, CPU, torch.float32)
    monkeypatch.setattr(room, "available_bytes", lambda _: every - 1)
    said = r"the weights of tiny-wan-2\.2-14b take .* in float32 on cpu, and .* are free: close"
    with pytest.raises(InputError, match=said):
        check_room(model, CPU, torch.float32)
    with pytest.raises(InputError, match=said):
        load_native(model, device="cpu", dtype=torch.float32)
    check_room(model, CPU, torch.bfloat16)


def test_on_another_device_the_larger_of_what_moves_and_what_stays_counts_here(
    model: InstalledModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, cuda = weight_bytes(model, torch.float32), CUDA
    rest = sum(sizes.values()) - sizes["text_encoder"]
    free = {CPU: max(rest, sizes["text_encoder"]), cuda: rest}
    monkeypatch.setattr(room, "available_bytes", lambda device: free[device])
    check_room(model, cuda, torch.float32)
    free[cuda] -= 1
    with pytest.raises(InputError, match="on cuda:0"):
        check_room(model, cuda, torch.float32)
    free |= {cuda: rest, CPU: max(rest, sizes["text_encoder"]) - 1}
    with pytest.raises(InputError, match="on cpu"):
        check_room(model, cuda, torch.float32)


def test_processes_that_share_a_film_read_all_but_the_text_encoder_each(
    model: InstalledModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = weight_bytes(model, torch.float32)
    text = sizes.pop("text_encoder")
    monkeypatch.setattr(room, "this_process", lambda: Place(rank=1, size=3, local_rank=1, local_size=3))
    monkeypatch.setattr(room, "available_bytes", lambda _: 3 * sum(sizes.values()) + text)
    check_room(model, CPU, torch.float32)
    monkeypatch.setattr(room, "available_bytes", lambda _: 3 * sum(sizes.values()) + text - 1)
    with pytest.raises(InputError, match="on cpu"):
        check_room(model, CPU, torch.float32)


def test_where_the_system_does_not_say_nothing_is_refused(
    model: InstalledModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "available_bytes", lambda _: None)
    check_room(model, CPU, torch.float32)


def blocks_of(model: InstalledModel, part: str) -> list[tuple[int, ...]]:
    return [shape for name, shape in shapes(part_files(model)[part]).items() if name.startswith("blocks.")]


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_what_8_bits_take_is_what_is_counted(model: InstalledModel, kind: str) -> None:
    counted = weight_bytes(model, torch.float32, Fit(quantise=kind))["transformer"]
    parts = load_parts(model, torch.float32, Fitting(fit=Fit(quantise=kind)))
    found = 0
    for parameter in parts.transformer.early.parameters():
        kept = type(parameter) is torch.nn.Parameter
        found += parameter.nbytes if kept else parameter.qdata.nbytes + parameter.scale.nbytes
    assert counted == found
    matrices = [shape for shape in blocks_of(model, "transformer") if len(shape) == 2]
    saved = sum(4 * shape[0] * shape[1] - quantised_bytes(shape) for shape in matrices)
    assert counted == weight_bytes(model, torch.float32)["transformer"] - saved
    assert (
        weight_bytes(model, torch.float32, Fit(quantise=kind))["vae"]
        == (weight_bytes(model, torch.float32)["vae"])
    )


def test_blocks_that_come_one_by_one_count_as_many_as_are_there_at_once(
    model: InstalledModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Taken(blocks=120, largest=10, rest=7)
    assert (one.whole, one.visited(2), one.visited(3)) == (127, 27, 37)
    assert Taken(blocks=15, largest=10, rest=7).visited(2) == 22, "there are no more than there are"

    parts = dict.fromkeys(("transformer", "transformer_2", "text_encoder"), one)
    monkeypatch.setattr(room, "_taken", lambda *_: parts | {"vae": Taken(0, 0, 1000)})
    assert needed_bytes(model, CPU, torch.float32) == {CPU: 1000 + 3 * 127}
    assert needed_bytes(model, CPU, torch.float32, INT8) == {CPU: 1000 + 2 * 127 + 37}
    assert needed_bytes(model, CPU, torch.float32, OFFLOAD) == {CPU: 1000 + 3 * 37}
    assert needed_bytes(model, CUDA, torch.float32) == {CPU: 1000 + 2 * 37, CUDA: 1000 + 2 * 127}
    assert needed_bytes(model, CUDA, torch.float32, OFFLOAD) == {CPU: 240 + 1000, CUDA: 1000 + 2 * 27}


def test_a_refusal_names_what_would_fit(model: InstalledModel, monkeypatch: pytest.MonkeyPatch) -> None:
    need = {fit: needed_bytes(model, CPU, torch.float32, fit)[CPU] for fit in (WHOLE, INT8, OFFLOAD)}
    assert need[WHOLE] > need[INT8]

    def refusal(free: int, fit: Fit = WHOLE) -> str:
        monkeypatch.setattr(room, "available_bytes", lambda _: free)
        with pytest.raises(InputError) as caught:
            check_room(model, CPU, torch.float32, fit)
        return str(caught.value)

    assert "close other programs, or take --quantise int8 (" in refusal(need[INT8])
    assert refusal(need[INT8] - 1).endswith("or take a smaller model")
    assert " in int8 on cpu" in refusal(need[INT8] - 1, INT8)
    monkeypatch.setattr(room, "_taken", lambda *_: {"transformer": Taken(4_000_000, 10_000, 100_000)})
    assert refusal(200_000).endswith("or take --offload (130 kB)")
    assert refusal(4_090_000).endswith("or take --offload (130 kB)"), "8 bits of these are as many"
    check_room(model, CPU, torch.float32, OFFLOAD)


def test_what_can_be_done_depends_on_the_device_and_the_model(model: InstalledModel) -> None:
    assert [str(fit) for fit in smaller_fits(model, CPU)] == ["--quantise int8", "--offload"]
    both = "--quantise int8 --offload"
    assert [str(fit) for fit in smaller_fits(model, CUDA)] == ["--quantise int8", "--offload", both]
    assert [str(fit) for fit in smaller_fits(find_model("nano"), CPU)] == ["--quantise int8"]


def test_needs_are_described_for_this_machine(model: InstalledModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "pick_device", lambda: CPU)
    monkeypatch.setattr(room, "compute_dtype", lambda _: torch.bfloat16)
    facts = described(model)
    assert facts["computes_as"] == "bfloat16 on cpu"
    assert facts["parts"] == weight_bytes(model, torch.bfloat16)
    assert facts["as it is"] == {"cpu": sum(facts["parts"].values())}
    assert facts["--quantise int8"]["cpu"] < facts["as it is"]["cpu"]
    assert facts["--offload"] == {"cpu": needed_bytes(model, CPU, torch.bfloat16, OFFLOAD)[CPU]}
