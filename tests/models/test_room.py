import pytest
import tiny_wan
import torch

from unstatic.core.errors import InputError
from unstatic.core.processes import Place
from unstatic.generate.native import load_native
from unstatic.models import room
from unstatic.models.manifest import InstalledModel, open_model
from unstatic.models.room import check_room, weight_bytes

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> InstalledModel:
    return open_model(tiny_wan.saved("2.2-14b", tmp_path_factory.mktemp("open")))


def test_every_part_is_counted_in_the_dtype_asked_for(model: InstalledModel) -> None:
    theirs = tiny_wan.pipeline("2.2-14b")
    count = sum(each.numel() for each in theirs.transformer.parameters())
    sizes = weight_bytes(model, torch.bfloat16)
    assert sizes.keys() == {"transformer", "transformer_2", "vae", "text_encoder"}
    assert sizes["transformer"] == 2 * count
    assert weight_bytes(model, torch.float32)["transformer"] == 4 * count


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
    sizes, cuda = weight_bytes(model, torch.float32), torch.device("cuda:0")
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
