import dataclasses

import pytest
import torch

from unstatic.core.errors import InputError
from unstatic.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig

TINY = TinyAutoencoderConfig(
    latent_channels=4, encoder_widths=(8, 8, 12), decoder_widths=(12, 8, 8), encoder_blocks=(1, 2)
)
LAYOUTS = {
    "nano-64": TinyAutoencoderConfig(),
    "tiny": TINY,
    "f16 with twice the size out": TinyAutoencoderConfig(
        latent_channels=32, encoder_patch=4, decoder_patch=8, encoder_merges=(1, 4), decoder_growths=(2, 2)
    ),
    "one stage": TinyAutoencoderConfig(
        encoder_patch=4,
        encoder_widths=(16, 16),
        encoder_blocks=(1,),
        encoder_merges=(4,),
        decoder_patch=4,
        decoder_widths=(16, 16),
        decoder_blocks=(1, 1),
        decoder_growths=(4,),
        block_depth=1,
    ),
}


@pytest.fixture(scope="module")
def model() -> TinyAutoencoder:
    """Return a model whose memory and normalisation matter: random biases, odd latent statistics."""
    torch.manual_seed(0)
    model = TinyAutoencoder(TINY)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        model.latent_mean.normal_()
        model.latent_std.uniform_(0.5, 2)
    return model.eval().requires_grad_(False)


def clip(t: int, height: int = 16, width: int = 24) -> torch.Tensor:
    return torch.rand(2, 3, t, height, width, generator=torch.Generator().manual_seed(7)) * 2 - 1


def latents(t: int) -> torch.Tensor:
    return torch.randn(2, 4, t, 2, 3, generator=torch.Generator().manual_seed(9))


def pieces(cuts: str, total: int) -> list[int]:
    sizes = {"ones": [1] * total, "fours": [4] * 99, "mixed": [1, 5, 2, 4, 3, 7] * 9}[cuts]
    chosen: list[int] = []
    while sum(chosen) < total:
        chosen.append(min(sizes[len(chosen)], total - sum(chosen)))
    return chosen


@pytest.mark.parametrize("frames", range(1, 21))
def test_frame_arithmetic(model: TinyAutoencoder, frames: int):
    latent = model.encode(clip(frames))
    assert latent.shape == (2, 4, (frames - 1) // 4 + 1, 2, 3)
    assert model.decode(latent).shape == (2, 3, 4 * (latent.shape[2] - 1) + 1, 16, 24)


@pytest.mark.parametrize("cuts", ["ones", "fours", "mixed"])
@pytest.mark.parametrize("frames", [1, 6, 21])
def test_encoding_a_stream_equals_encoding_the_whole(model: TinyAutoencoder, cuts: str, frames: int):
    video = clip(frames)
    found, state = [], None
    for chunk in video.split(pieces(cuts, frames), dim=2):
        latent, state = model.encode_stream(chunk, state)
        found.append(latent)
    torch.testing.assert_close(torch.cat(found, dim=2), model.encode(video), atol=1e-5, rtol=0)


@pytest.mark.parametrize("cuts", ["ones", "fours", "mixed"])
@pytest.mark.parametrize("frames", [1, 9])
def test_decoding_a_stream_equals_decoding_the_whole(model: TinyAutoencoder, cuts: str, frames: int):
    latent = latents(frames)
    found, state = [], None
    for chunk in latent.split(pieces(cuts, frames), dim=2):
        video, state = model.decode_stream(chunk, state)
        found.append(video)
    torch.testing.assert_close(torch.cat(found, dim=2), model.decode(latent), atol=1e-5, rtol=0)


def test_long_videos_are_worked_on_in_pieces_without_a_seam(
    model: TinyAutoencoder, monkeypatch: pytest.MonkeyPatch
):
    video, latent = clip(45), latents(12)
    whole = model.encode(video), model.decode(latent)
    monkeypatch.setattr(TinyAutoencoder, "latent_frames_per_pass", 3)
    torch.testing.assert_close((model.encode(video), model.decode(latent)), whole, atol=1e-5, rtol=0)


def test_latent_of_a_still_is_the_first_latent_frame_of_a_video(model: TinyAutoencoder):
    video = clip(9)
    torch.testing.assert_close(
        model.encode(video[:, :, :1]), model.encode(video)[:, :, :1], atol=1e-5, rtol=0
    )


def test_encoder_is_causal(model: TinyAutoencoder):
    video, changed = clip(13), clip(13)
    changed[:, :, 5:] += 0.5
    before, after = model.encode(video), model.encode(changed)
    torch.testing.assert_close(before[:, :, :2], after[:, :, :2], atol=1e-5, rtol=0)
    assert not torch.allclose(before[:, :, 2], after[:, :, 2], atol=1e-3)


def test_decoder_is_causal_and_remembers(model: TinyAutoencoder):
    latent, changed = latents(4), latents(4)
    changed[:, :, 1] += 1
    before, after = model.decode(latent), model.decode(changed)
    torch.testing.assert_close(before[:, :, :1], after[:, :, :1], atol=1e-5, rtol=0)
    assert not torch.allclose(before[:, :, 5], after[:, :, 5], atol=1e-4)


def test_a_batch_equals_its_samples(model: TinyAutoencoder):
    video = clip(5)
    alone = torch.cat([model.encode(video[:1]), model.encode(video[1:])])
    torch.testing.assert_close(model.encode(video), alone, atol=1e-5, rtol=0)


def test_state_does_not_grow(model: TinyAutoencoder):
    sizes, state = set(), None
    decoder_sizes, memory = set(), None
    for _ in range(6):
        _, state = model.encode_stream(clip(4), state)
        _, memory = model.decode_stream(latents(2), memory)
        sizes.add(sum(m.untyped_storage().nbytes() for m in (state.waiting, *(state.memory or ()))))
        decoder_sizes.add(sum(m.untyped_storage().nbytes() for m in memory))
    assert len(sizes) == len(decoder_sizes) == 1


def test_stream_shorter_than_a_group_gives_no_latent_yet(model: TinyAutoencoder):
    _, state = model.encode_stream(clip(1), None)
    latent, state = model.encode_stream(clip(3), state)
    assert latent.shape == (2, 4, 0, 2, 3)
    assert state.waiting.shape[2] == 3


def test_measured_latents_have_zero_mean_and_unit_deviation(model: TinyAutoencoder):
    fresh = TinyAutoencoder(TINY)
    fresh.load_state_dict(model.state_dict())
    videos = [clip(9), clip(5, 24, 16)]
    fresh.measure_latents(videos)
    flat = torch.cat([fresh.encode(video).transpose(0, 1).flatten(1) for video in videos], dim=1)
    torch.testing.assert_close(flat.mean(dim=1), torch.zeros(4), atol=0.05, rtol=0)
    torch.testing.assert_close(flat.std(dim=1), torch.ones(4), atol=0.05, rtol=0)


def test_latents_are_clamped_and_decoding_undoes_the_normalisation(model: TinyAutoencoder):
    fresh = TinyAutoencoder(TINY)
    fresh.load_state_dict(model.state_dict())
    raw = fresh.compress(clip(5))
    fresh.latent_mean.copy_(raw.mean(dim=(0, 2, 3, 4)))
    fresh.latent_std.fill_(raw.std().item())
    fine = fresh.encode(clip(5))
    torch.testing.assert_close(fresh.decode(fine), fresh.reconstruct(raw).clamp(-1, 1), atol=1e-4, rtol=0)
    fresh.latent_std.fill_(1e-3)
    assert fresh.encode(clip(5)).abs().max() == 4


def test_sizes_that_do_not_divide_are_refused(model: TinyAutoencoder):
    with pytest.raises(InputError, match="20x16"):
        model.encode(clip(1, 16, 20))


def test_an_encoder_that_looks_ahead_refuses_streams():
    model = TinyAutoencoder(dataclasses.replace(TINY, lookahead=3))
    assert model.encode(clip(5)).shape[2] == 2
    with pytest.raises(InputError, match="lookahead=3"):
        model.encode_stream(clip(5), None)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_builds_without_memory_and_keeps_its_promised_sizes(layout: str):
    config = LAYOUTS[layout]
    with torch.device("meta"):
        model = TinyAutoencoder(config)
        space = config.compression.space
        latent = model.encode(torch.empty(1, 3, 9, 2 * space, 3 * space))
        video = model.decode(latent)
    assert latent.shape == (1, config.latent_channels, 3, 2, 3)
    assert video.shape[2:] == (
        9,
        2 * 2 ** len(config.decoder_growths) * config.decoder_patch,
        video.shape[-1],
    )


def test_nano_is_f8_t4_and_small():
    model = TinyAutoencoder(TinyAutoencoderConfig())
    assert (model.config.compression.time, model.config.compression.space) == (4, 8)
    assert sum(p.numel() for p in model.parameters()) < 3_000_000


def test_every_parameter_learns():
    torch.manual_seed(0)
    model = TinyAutoencoder(TINY)
    video = clip(9)
    (model(video).video - video).square().mean().backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


def test_noise_passes_through_the_latent():
    model = TinyAutoencoder(TINY)
    clean, noisy = model(clip(5)), model(clip(5), torch.ones(2, 4, 2, 2, 3))
    assert torch.equal(clean.latent, noisy.latent)
    assert not torch.allclose(clean.video, noisy.video)
