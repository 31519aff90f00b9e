"""A small run that saves after every step; test_checkpoint runs it, and kills it as a process of its own."""

import dataclasses
import sys
import time
from pathlib import Path

import torch
from torch import nn

from unstatic.core.seeds import generator
from unstatic.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from unstatic.training.loop import Run, TrainingConfig, train
from unstatic.training.optim import linear_weights
from unstatic.training.step import StepOutput


@dataclasses.dataclass(frozen=True)
class Points:
    inputs: torch.Tensor
    num_samples: int = 8

    def to(self, device):
        return dataclasses.replace(self, inputs=self.inputs.to(device))


class PointBatches:
    def at(self, index):
        return Points(torch.randn(8, 6, generator=generator("points", index)))


def run_or_resume(folder):
    """Train to the end, from the last checkpoint in `folder` if any; yield the number of each step."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.LayerNorm(32), nn.Tanh(), nn.Linear(32, 6))
    run = Run(model, TrainingConfig(samples=480, warm_up=32, accumulate=2), matrices=linear_weights(model))
    for path in checkpoints(folder)[-1:]:
        load_checkpoint(path, run)

    def step(batch, generator):
        noise = torch.randn(batch.inputs.shape, generator=generator)
        return StepOutput(loss=(model(batch.inputs + 0.1 * noise) - batch.inputs.sin()).square().mean())

    for metrics in train(run, step, PointBatches()):
        save_checkpoint(folder, run)
        yield metrics.steps


if __name__ == "__main__":
    for number in run_or_resume(Path(sys.argv[1])):
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        time.sleep(0.1)
