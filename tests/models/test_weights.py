import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unstatic.core.errors import InputError
from unstatic.models.weights import (
    count_parameters,
    find_files,
    is_saved,
    load_model,
    load_state,
    save_model,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class NetConfig:
    width: int
    depth: int = 3


class Net(nn.Module):
    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(config.depth))
        self.conv = nn.Conv2d(3, 8, 3)
        self.conv.weight.data = self.conv.weight.data.contiguous(memory_format=torch.channels_last)
        self.steps: Tensor
        self.register_buffer("steps", torch.tensor(7))


CONFIG = NetConfig(width=16)


def load(path: Path) -> Net:
    return load_model(path, "net", NetConfig, Net)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    save_model(path, Net(CONFIG), CONFIG, "net")
    return path


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    files = save_model(path, Net(CONFIG), CONFIG, "net", max_shard_bytes=2048)
    assert len(files) == 3
    return path


def assert_one_line_naming(error: pytest.ExceptionInfo[InputError], *words: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_round_trip_keeps_the_numbers_and_the_layout(tmp_path: Path) -> None:
    net, path = Net(CONFIG), tmp_path / "net.safetensors"
    assert save_model(path, net, CONFIG, "net", dtype=torch.float32) == [path]

    loaded = load(path)

    for name, tensor in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert loaded.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert count_parameters(find_files(path)) == sum(tensor.numel() for tensor in net.state_dict().values())


def test_weights_are_saved_and_loaded_in_bfloat16(saved: Path) -> None:
    assert {parameter.dtype for parameter in load(saved).parameters()} == {torch.bfloat16}
    assert load(saved).steps.dtype == torch.int64


def test_weights_are_saved_when_all_their_files_are_there_once(sharded: Path, tmp_path: Path) -> None:
    assert is_saved(sharded)
    assert not is_saved(tmp_path / "other.safetensors")
    first, *_ = find_files(sharded)
    first.rename(sharded)
    assert not is_saved(sharded), "of two saves"
    sharded.unlink()
    assert not is_saved(sharded), "one is missing"


def test_the_header_says_what_the_file_is(saved: Path) -> None:
    with safe_open(saved, framework="pt") as handle:
        header = json.loads(handle.metadata()["unstatic"])
    assert header["format"] == 1
    assert header["kind"] == "net"
    assert header["config"] == {"width": 16, "depth": 3}
    assert load_state(saved)[0].config == header["config"]


def test_large_models_are_cut_into_files_below_the_limit(tmp_path: Path) -> None:
    path, net = tmp_path / "net.safetensors", Net(CONFIG)
    files = save_model(path, net, CONFIG, "net", max_shard_bytes=2048)

    assert [file.name for file in files] == [f"net-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    assert all(file.stat().st_size <= 2048 for file in files)
    assert sorted(tmp_path.iterdir()) == files
    assert torch.equal(load(path).conv.weight, net.conv.weight.bfloat16())


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    net = Net(CONFIG)
    files = save_model(tmp_path / "a.safetensors", net, CONFIG, "net", max_shard_bytes=2048)
    again = save_model(tmp_path / "b.safetensors", net, CONFIG, "net", max_shard_bytes=2048)
    assert [file.read_bytes() for file in files] == [file.read_bytes() for file in again]


def test_saving_removes_the_files_of_an_earlier_save(sharded: Path) -> None:
    assert save_model(sharded, Net(CONFIG), CONFIG, "net") == [sharded]
    assert list(sharded.parent.iterdir()) == [sharded]
    load(sharded)


def test_a_failed_save_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("unstatic.models.weights.save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_model(saved, Net(CONFIG), CONFIG, "net")
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def scribble(path: Path) -> None:
    path.write_bytes(b"this is not safetensors at all, but long enough to have a header")


def pickled(path: Path) -> None:
    torch.save({"layers.0.weight": torch.zeros(2)}, path)


@pytest.mark.parametrize("damage", [truncate, empty, scribble, pickled])
def test_a_file_that_is_not_whole_safetensors_is_named(saved: Path, damage: Callable[[Path], None]) -> None:
    damage(saved)
    with pytest.raises(InputError) as error:
        load(saved)
    assert_one_line_naming(error, str(saved), "safetensors", "download it again")


def rewrite(path: Path, **changes: object) -> None:
    """Save the file again with a changed header."""
    with safe_open(path, framework="pt") as handle:
        header = json.loads(handle.metadata()["unstatic"])
    save_file(load_file(path), path, {"unstatic": json.dumps({**header, **changes})})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "other"}, ["'other'", "'net'"]),
        ({"format": 2}, ["format 2", "update unstatic"]),
        ({"config": {"width": 16, "dept": 3}}, ["'dept'", "'depth'"]),
        ({"config": {"width": 16, "depth": 4}}, ["lacks", "layers.3.bias", "1 more"]),
        ({"config": {"width": 16, "depth": 2}}, ["unknown", "layers.2.bias", "1 more"]),
        ({"config": {"width": 15}}, ["another shape", "layers.0.bias", "5 more"]),
        ({"config": None}, ["damaged", "header"]),
    ],
)
def test_a_header_that_does_not_fit_is_named(
    saved: Path, changes: dict[str, object], words: list[str]
) -> None:
    rewrite(saved, **changes)
    with pytest.raises(InputError) as error:
        load(saved)
    assert_one_line_naming(error, str(saved), *words)


@pytest.mark.parametrize(
    "header", [None, {"other": "x"}, {"unstatic": "{"}, {"unstatic": "[]"}, {"unstatic": "{}"}]
)
def test_a_file_that_is_not_ours_is_named(saved: Path, header: dict[str, str] | None) -> None:
    save_file(load_file(saved), saved, header)
    with pytest.raises(InputError) as error:
        load(saved)
    assert_one_line_naming(error, str(saved), "header")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        load(tmp_path / "net.safetensors")
    assert_one_line_naming(error, "net.safetensors", "no weights")


def test_a_missing_shard_is_named(sharded: Path) -> None:
    missing = sharded.with_name("net-00002-of-00003.safetensors")
    missing.unlink()
    with pytest.raises(InputError) as error:
        load(sharded)
    assert_one_line_naming(error, str(missing), "missing")


def test_shards_of_different_saves_are_refused(sharded: Path) -> None:
    kept = sharded.with_name("net-00002-of-00003.safetensors")
    old = kept.read_bytes()
    save_model(sharded, Net(CONFIG), CONFIG, "net", max_shard_bytes=2048)
    kept.write_bytes(old)
    with pytest.raises(InputError, match="different saves"):
        load(sharded)


def test_a_flipped_bit_is_noticed(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-5] ^= 1
    saved.write_bytes(content)
    with pytest.raises(InputError, match="digest is wrong: reinstall") as error:
        load(saved)
    assert_one_line_naming(error, str(saved))


def test_a_file_beside_its_shards_is_refused(sharded: Path) -> None:
    save_file({"x": torch.zeros(1)}, sharded)
    with pytest.raises(InputError, match="keep only one"):
        load(sharded)


def test_an_unwritable_place_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        save_model(tmp_path / "nowhere" / "net.safetensors", Net(CONFIG), CONFIG, "net")


def test_loading_does_not_import_a_compiler(tiny_model: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from unstatic.models.manifest import open_model; "
        "from unstatic.generate.native import load_native; load_native(open_model(Path(sys.argv[1]))); "
        "assert 'torch._dynamo' not in sys.modules and 'sympy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tiny_model)], check=True)
