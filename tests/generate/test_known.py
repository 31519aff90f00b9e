"""Pictures as conditions: what is encoded is what the autoencoder would see in such a video."""

import numpy as np
import torch

from unstatic.generate.known import beside, first_frame, last_frame
from unstatic.generate.native import NativeEngine
from unstatic.media.frames import to_tensor


def encoded(engine: NativeEngine, frames: np.ndarray) -> torch.Tensor:
    with torch.inference_mode():
        return engine.autoencoder.encode(to_tensor(frames)[None]).float()


def test_a_first_frame_is_the_start_of_every_video_that_begins_with_it(engine: NativeEngine, make_frames):
    video = make_frames(9, width=48, height=32)
    known = first_frame(engine.autoencoder, video[0])
    assert known.latent.shape == (1, 4, 1, 4, 6)
    assert torch.equal(known.latent, encoded(engine, video)[:, :, :1])


def test_a_last_frame_is_the_end_of_a_video_that_has_come_to_rest_at_it(engine: NativeEngine, make_frames):
    moving = make_frames(17, width=48, height=32)
    resting = np.concatenate([moving, np.repeat(moving[-1:], 16, axis=0)])
    known = last_frame(engine.autoencoder, moving[-1])
    assert known.latent.shape == (1, 4, 1, 4, 6)
    assert torch.equal(known.latent, encoded(engine, resting)[:, :, -1:])
    assert not torch.equal(known.latent, encoded(engine, moving)[:, :, -1:])


def test_beside_the_latent_stands_what_is_given_and_where(engine: NativeEngine, make_frames):
    first, last = make_frames(2, width=48, height=32)
    seen = beside(engine.autoencoder, first, last, 9)
    time = engine.autoencoder.config.compression.time
    assert seen.shape == (1, time + 4, 3, 4, 6)
    mask, latent = seen[:, :time], seen[:, time:]
    assert torch.equal(mask[0, :, 0, 0, 0], torch.ones(time))
    assert mask[0, :, 1].sum() == 0
    assert mask[0, :, 2, 0, 0].tolist() == [0] * (time - 1) + [1]
    video = torch.zeros(1, 3, 9, 32, 48)
    video[:, :, 0], video[:, :, 8] = to_tensor(first[None])[:, 0], to_tensor(last[None])[:, 0]
    with torch.inference_mode():
        assert torch.equal(latent, engine.autoencoder.encode(video).float())
    assert beside(engine.autoencoder, first, None, 9)[:, :time, 1:].sum() == 0
