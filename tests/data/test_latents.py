from dataclasses import replace

import numpy as np
import pytest
import torch

from unstatic.core.errors import InputError
from unstatic.data.latents import LatentBatches, Window
from unstatic.data.shards import open_shards, write_shard


@pytest.fixture
def shards(tmp_path):
    for number, (height, width) in enumerate([(4, 4), (3, 5)]):
        values = np.random.default_rng(number).normal(size=(6, 5, 2, height, width)).astype(np.float16)
        lines = [f'{{"seed": {10 * number + entry}}}' for entry in range(6)]
        write_shard(tmp_path, "latents", number, {"latents": values}, lines)
    return open_shards(tmp_path, "latents")


def caption(line, rng):
    return f"{line} {rng.integers(10**6)}"


@torch.inference_mode()
def encode_text(prompts):
    return torch.tensor([[[float(len(prompt))]] for prompt in prompts])


STILL = Window(latent_frames=1, batch_size=4, share=1.0)
CLIP = Window(latent_frames=5, batch_size=2, share=3.0)


def batches_of(shards, *windows, captions=0, encode=encode_text):
    return LatentBatches(
        shards, caption=caption, encode_text=encode, windows=windows or (STILL, CLIP), captions=captions
    )


def test_a_batch_is_decided_by_index_and_its_words_change(shards):
    first, second = batches_of(shards), batches_of(shards)
    later = second.at(7)
    assert torch.equal(first.at(7).latent, later.latent)
    assert first.at(7).prompts == later.prompts
    prompts = [prompt for index in range(40) for prompt in first.at(index).prompts]
    assert len(set(prompts)) > len({prompt.split("}")[0] for prompt in prompts}) == 12


def test_latents_prompts_and_states_belong_together(shards):
    batch = batches_of(shards, CLIP).at(0)
    assert batch.latent.shape[:3] == (2, 2, 5)
    for latent, prompt, states in zip(batch.latent, batch.prompts, batch.text, strict=True):
        seed = int(prompt.split("}")[0].split()[-1])
        stored = torch.as_tensor(shards[seed // 10].read("latents", seed % 10)).float()
        assert torch.equal(latent, stored.movedim(1, 0))
        assert states.item() == len(prompt)


def test_every_window_has_its_share_of_the_batches(shards):
    batches = batches_of(shards)
    shapes = [tuple(batches.at(index).latent.shape[:3]) for index in range(200)]
    assert set(shapes) == {(2, 2, 5), (4, 2, 1)}
    assert 30 < shapes.count((4, 2, 1)) < 75
    assert batches.at(shapes.index((4, 2, 1))).num_samples == 4


def test_states_can_be_trained_on(shards):
    text = batches_of(shards).at(0).text
    assert not text.is_inference()


def test_a_number_of_captions_is_written_and_encoded_once_for_every_clip(shards):
    encoded = []

    @torch.inference_mode()
    def padded(prompts):
        encoded.extend(prompts)
        return torch.tensor([[[float(len(prompt))], [0.5], [0.0]] for prompt in prompts])

    batches = batches_of(shards, STILL, captions=3, encode=padded)
    seen = [batches.at(index) for index in range(60)]
    prompts = [prompt for batch in seen for prompt in batch.prompts]
    assert len(set(prompts)) == len(encoded) == 12 * 3
    for batch in seen:
        assert not batch.text.is_inference()
        assert batch.text.tolist() == [[[len(prompt)], [0.5], [0.0]] for prompt in batch.prompts]


def test_kept_captions_do_not_depend_on_what_was_drawn_before(shards):
    first, resumed = batches_of(shards, captions=2), batches_of(shards, captions=2)
    for index in range(7):
        first.at(index)
    assert first.at(7).prompts == resumed.at(7).prompts
    assert torch.equal(first.at(7).text, resumed.at(7).text)


def test_clips_of_two_folders_whose_shards_have_the_same_names_keep_their_own_captions(tmp_path, shards):
    values = np.random.default_rng(1).normal(size=(len(shards[0]), 5, 2, 4, 4)).astype(np.float16)
    lines = [f'{{"seed": {number}}}' for number in range(90, 90 + len(shards[0]))]
    write_shard(tmp_path / "other", "latents", 0, {"latents": values}, lines)
    (other,) = open_shards(tmp_path / "other", "latents")
    assert other.path.name == shards[0].path.name
    batches = batches_of([*shards, other], STILL, captions=2)
    for index in range(80):
        batch = batches.at(index)
        for latent, prompt in zip(batch.latent, batch.prompts, strict=True):
            seed = int(prompt.split("}")[0].split()[-1])
            shard, entry = (other, seed - 90) if seed >= 90 else (shards[seed // 10], seed % 10)
            assert torch.equal(
                latent, torch.as_tensor(shard.read("latents", entry, 0, 1)).float().movedim(1, 0)
            )


def test_clips_that_are_too_short_are_refused(shards):
    with pytest.raises(InputError, match="5 latent frames, fewer than the 17 asked for"):
        batches_of(shards, STILL, replace(CLIP, latent_frames=17))


@pytest.mark.parametrize("change", [{"latent_frames": 0}, {"batch_size": 0}, {"share": 0.0}, {"share": -1.0}])
def test_windows_of_nothing_are_refused(change):
    with pytest.raises(InputError, match="at least 1, the share above 0"):
        replace(CLIP, **change)


def test_objects_go_with_their_latents_where_shards_know_them(tmp_path, shards):
    assert batches_of(shards).at(0).objects is None
    values = np.random.default_rng(0).normal(size=(4, 5, 2, 4, 4)).astype(np.float16)
    arrays = {"latents": values, "objects": values[:, :, 0] > 0}
    write_shard(tmp_path / "known", "latents", 0, arrays, [f'{{"seed": {entry}}}' for entry in range(4)])
    for window in (STILL, CLIP):
        batch = batches_of(open_shards(tmp_path / "known", "latents"), window).at(0)
        assert batch.objects is not None
        assert torch.equal(batch.objects[:, 0], batch.latent[:, 0] > 0)
        assert batch.to(torch.device("meta")).objects.device.type == "meta"


def test_windows_of_minutes_come_with_the_first_frame_of_theirs_and_its_age(tmp_path):
    random = np.random.default_rng(3)
    arrays = {
        "latents": random.normal(size=(6, 5, 2, 4, 4)).astype(np.float16),
        "openings": random.normal(size=(6, 1, 2, 4, 4)).astype(np.float16),
        "starts": 100 * np.arange(6)[:, None],
    }
    write_shard(tmp_path, "latents", 0, arrays, [f'{{"seed": {entry}}}' for entry in range(6)])
    batch = batches_of(open_shards(tmp_path, "latents"), CLIP).at(0)
    assert batch.opening.shape == (2, 2, 1, 4, 4)
    for opening, age, prompt in zip(batch.opening, batch.ages, batch.prompts, strict=True):
        seed = int(prompt.split("}")[0].split()[-1])
        assert age == 100 * seed
        assert torch.equal(opening, torch.as_tensor(arrays["openings"][seed]).float().movedim(1, 0))


def test_windows_and_other_clips_of_their_size_never_share_a_batch(tmp_path):
    random = np.random.default_rng(3)
    for number in range(2):
        arrays = {"latents": random.normal(size=(6, 5, 2, 4, 4)).astype(np.float16)}
        if number:
            arrays |= {"openings": arrays["latents"][:, :1], "starts": np.full((6, 1), 9)}
        write_shard(tmp_path, "latents", number, arrays, ["{}"] * 6)
    batches = batches_of(open_shards(tmp_path, "latents"), CLIP)
    ages = [batches.at(index).ages for index in range(20)]
    assert 4 < sum(each is None for each in ages) < 16
    assert all(each.tolist() == [9, 9] for each in ages if each is not None)


def test_clips_that_are_no_windows_have_no_first_frames(shards):
    batch = batches_of(shards).at(0)
    assert batch.opening is None
    assert batch.ages is None


def test_a_batch_moves_with_all_that_it_has(shards):
    batch = replace(
        batches_of(shards, CLIP).at(0), opening=torch.ones(2, 2, 1, 4, 4), ages=torch.ones(2).long()
    )
    moved = batch.to(torch.device("meta"))
    for name in ("latent", "text", "opening", "ages"):
        assert getattr(moved, name).is_meta
    assert moved.prompts == batch.prompts
    assert moved.objects is None
