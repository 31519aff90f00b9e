import json

import numpy as np
import pytest
from PIL import Image

from unstatic.training.logbook import Every, Logbook, Pacer
from unstatic.training.loop import StepMetrics


def metrics(samples):
    return StepMetrics(
        samples=samples,
        steps=samples // 10,
        loss=1 / samples,
        gradient_norm=2.0,
        scale=0.5,
        skipped=False,
        values={"psnr": 30.0},
    )


def lines_in(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_writes_every_step_and_continues_after_a_resume(tmp_path):
    with Logbook(tmp_path, total=100) as book:
        for samples in (10, 20, 30):
            book.log(metrics(samples))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"samples": 40, "lo')
    with Logbook(tmp_path, total=100, start=20) as book:
        book.log(metrics(30))

    lines = lines_in(tmp_path)
    assert [line["samples"] for line in lines] == [10, 20, 30]
    assert lines[0]["loss"] == pytest.approx(0.1)
    assert lines[0]["psnr"] == 30.0
    assert lines[0]["learning_rate_scale"] == 0.5


def test_keeps_pictures(tmp_path):
    picture = np.full((4, 6, 3), 128, np.uint8)
    with Logbook(tmp_path, total=100) as book:
        path = book.picture("sheet", picture, 30)
    assert path.name == "sheet-000000000030.png"
    np.testing.assert_array_equal(np.asarray(Image.open(path)), picture)


def test_events_can_be_read_by_tensorboard(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with Logbook(tmp_path, total=100) as book:
        book.log(metrics(10))
        book.picture("sheet", np.zeros((4, 6, 3), np.uint8), 10)
    events = reader.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Scalars("psnr")[0].value == 30.0
    assert events.Tags()["images"] == ["sheet"]


def test_pace_is_that_of_the_last_steps():
    times = iter([0.0, 100.0, *(100 + 2.0 * step for step in range(1, 31))])
    pacer = Pacer(1000, clock=lambda: next(times))
    assert pacer.mark(0).samples_per_s is None
    assert pacer.mark(10).samples_per_s == pytest.approx(0.1)
    for step in range(1, 31):
        pace = pacer.mark(10 + 10 * step)
    assert pace.samples_per_s == pytest.approx(5.0)
    assert pace.left_s == pytest.approx((1000 - 310) / 5)


def test_every_is_due_once_per_interval():
    due = Every(60.0)
    assert [due(float(now)) for now in (10, 60, 61, 119, 125, 300)] == [False, True, False, False, True, True]
