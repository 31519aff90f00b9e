import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from unstatic.core.errors import InputError
from unstatic.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from unstatic.training.loop import Run, TrainingConfig


def load_resumable_run():
    path = Path(__file__).with_name("resumable_run.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_killed_and_resumed_run_ends_bit_for_bit_like_an_uninterrupted_one(tmp_path):
    resumable = load_resumable_run()
    assert list(resumable.run_or_resume(tmp_path / "straight")) == list(range(1, 31))

    # Kill without warning, at whatever instruction the process is; sums of as many threads are the same
    threads = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, resumable.__file__, str(tmp_path / "killed")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=threads) as process:
        for line in process.stdout:
            if int(line) >= 5:
                break
        process.kill()
    assert process.returncode == -signal.SIGKILL
    steps = list(resumable.run_or_resume(tmp_path / "killed"))

    assert 5 < steps[0] < steps[-1] == 30
    ours = load_file(checkpoints(tmp_path / "killed")[-1])
    expected = load_file(checkpoints(tmp_path / "straight")[-1])
    assert ours.keys() == expected.keys()
    assert any(name.startswith("average.1.") for name in ours)
    assert all(torch.equal(ours[name], expected[name]) for name in ours)


def build(width=3):
    torch.manual_seed(0)
    return Run(nn.Linear(width, width), TrainingConfig(samples=100))


def test_keeps_the_last_two_and_nothing_half_written(tmp_path):
    run = build()
    for samples in (16, 32, 48, 1_000_000):
        run.clock.samples = samples
        save_checkpoint(tmp_path, run)
    assert sorted(os.listdir(tmp_path)) == [
        "checkpoint-000000000048.safetensors",
        "checkpoint-000001000000.safetensors",
    ]


def test_a_run_that_is_behind_keeps_its_own_checkpoint(tmp_path):
    ahead, behind = build(), build()
    ahead.clock.samples, behind.clock.samples = 600, 300
    save_checkpoint(tmp_path, ahead, keep=1)
    path = save_checkpoint(tmp_path, behind, keep=1)
    assert path.exists()


def test_weights_and_clock_come_back(tmp_path):
    run = build()
    run.clock.samples, run.clock.batches = 48, 3
    path = save_checkpoint(tmp_path, run)
    other = build()
    with torch.no_grad():
        other.model.weight.zero_()
    load_checkpoint(path, other)
    assert other.clock == run.clock
    assert torch.equal(other.model.weight, run.model.weight)


def test_damaged_and_foreign_files_are_named(tmp_path):
    path = save_checkpoint(tmp_path, build())
    with pytest.raises(InputError, match=r"another run: average.0.bias is \(3,\) there and \(4,\) here"):
        load_checkpoint(path, build(width=4))
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(InputError, match=path.name):
        load_checkpoint(path, build())


def test_failed_save_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    def full_disk(_tensors, path, **_):
        path.write_bytes(b"half")
        raise OSError("the disk is full")

    run = build()
    path = save_checkpoint(tmp_path, run)
    run.clock.samples = 16
    monkeypatch.setattr("unstatic.training.checkpoint.save_file", full_disk)
    with pytest.raises(OSError, match="full"):
        save_checkpoint(tmp_path, run)
    assert os.listdir(tmp_path) == [path.name]
    load_checkpoint(path, build())
