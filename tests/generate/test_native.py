"""The native engine: prompt in, frames out, and honest about its progress."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import self_forcing
import tiny_wan
import torch
from safetensors.torch import save_file
from same_film import assert_same_film
from tiny_taehv import with_tiny_decoder

from unstatic.core.errors import InputError
from unstatic.core.processes import Place
from unstatic.core.shapes import Size
from unstatic.diffusion.condition import Cue, FirstFrame, LastFrame
from unstatic.generate import native
from unstatic.generate.engine import Engine, Event, Frames, Preview, Progress, Warned
from unstatic.generate.footage import Footage
from unstatic.generate.joints import Stretch
from unstatic.generate.known import beside, first_frame, last_frame
from unstatic.generate.native import NativeEngine, load_native
from unstatic.generate.request import Plan, Request, plan
from unstatic.generate.stream import Chunk, Cut, Denoised
from unstatic.media.frames import to_frames
from unstatic.media.shimmer import Damper
from unstatic.models.experts import chosen
from unstatic.models.lora import detach
from unstatic.models.manifest import find_model, open_model, read_manifest, write_manifest
from unstatic.models.residence import Visiting
from unstatic.models.tiny_autoencoder import TinyAutoencoder
from unstatic.models.umt5 import load_umt5
from unstatic.models.wan_tiles import TiledDecoder, TiledEncoder


def planned(engine: NativeEngine, **changes: object) -> Plan:
    return plan(Request(**{"prompt": "a red ball", "seconds": 1.5} | changes), engine.manifest)


def frames_of(events: list[Event]) -> np.ndarray:
    return np.concatenate([event.frames for event in events if isinstance(event, Frames)])


def test_guidance_in_an_interval_is_another_film(engine: NativeEngine):
    whole, part, never = (
        frames_of(list(engine.stream(planned(engine, seconds=0.5, **changes))))
        for changes in ({}, {"guidance_interval": (0.5, 1.0)}, {"guidance_interval": (0.01, 0.02)})
    )
    unguided = frames_of(list(engine.stream(planned(engine, seconds=0.5, guidance=1))))
    assert not np.array_equal(part, whole)
    assert not np.array_equal(part, unguided)
    assert np.abs(never.astype(int) - unguided).max() <= 1


def test_skip_layer_guidance_leaves_out_the_block_after_the_first_quarter(engine: NativeEngine):
    plain, led = (planned(engine, seconds=0.5, skip_layer_guidance=amount) for amount in (0, 1.0))
    assert engine.skip_layer(plain) is None
    assert engine.skip_layer(led) == (0, 1.0), "of two blocks the first"
    films = [frames_of(list(engine.stream(each))) for each in (plain, led)]
    assert not np.array_equal(*films)


def test_it_is_an_engine(engine: NativeEngine):
    assert isinstance(engine, Engine)


def test_frames_come_at_the_models_size_as_soon_as_they_are_final(engine: NativeEngine):
    events = list(engine.stream(planned(engine)))
    kinds = [type(event) for event in events]
    assert kinds == [*[Progress] * 3, Frames] * 3
    stretches = [event for event in events if isinstance(event, Frames)]
    assert [(event.first, len(event.frames)) for event in stretches] == [(0, 1), (1, 16), (17, 7)]
    assert stretches[0].frames.shape == (1, 32, 32, 3)
    assert frames_of(events).std() > 1


def test_progress_counts_to_its_total(engine: NativeEngine):
    events = list(engine.stream(planned(engine)))
    assert [event for event in events if isinstance(event, Progress)] == [
        Progress(n, 9) for n in range(1, 10)
    ]


def test_what_is_known_beforehand_counts_as_done(engine: NativeEngine):
    known = FirstFrame(latent=torch.zeros(1, 4, 1, 4, 4))
    events = list(engine.stream(planned(engine, conditions=(known,))))
    assert [event.done for event in events if isinstance(event, Progress)] == [3, 4, 5, 6, 7, 8, 9]


def test_the_frames_of_a_new_scene_owe_nothing_to_the_one_before(engine: NativeEngine):
    cue = Cue(at=17 / 16, prompt="a blue cube", cut=True)
    made = planned(engine, seconds=33 / 16, cues=(cue,))
    events = list(engine.stream(made))
    frames = frames_of(events)
    assert len(frames) == 33
    assert [each.done for each in events if isinstance(each, Progress)] == [*range(1, 10)]
    (cut,) = [event for event in engine.denoise(made) if isinstance(event, Cut)]
    scene = torch.cat([cut.still, final(engine, made)[:, :, cut.start :]], 2)
    with torch.inference_mode():
        alone = to_frames(engine.autoencoder.decode(scene))[0]
    assert_same_film(frames[17:], alone[1:])
    flowing = frames_of(list(engine.stream(replace(made, cuts=frozenset()))))
    assert np.array_equal(frames[:17], flowing[:17])
    assert not np.array_equal(frames[17:], flowing[17:])


def test_shimmer_is_damped_where_the_manifest_says_so_in_each_scene_by_itself(
    engine: NativeEngine, monkeypatch: pytest.MonkeyPatch
):
    cue = Cue(at=17 / 16, prompt="a blue cube", cut=True)
    made = planned(engine, seconds=33 / 16, cues=(cue,))
    plain = frames_of(list(engine.stream(made)))
    monkeypatch.setattr(engine, "manifest", replace(engine.manifest, shimmer=40.0))
    damped = frames_of(list(engine.stream(made)))
    scenes = [Damper(40.0).next(scene) for scene in (plain[:17], plain[17:])]
    assert np.array_equal(damped, np.concatenate(scenes))
    assert not np.array_equal(damped, plain)


def test_joints_are_not_spread_over_a_cut(engine: NativeEngine, make_frames):
    footage = Footage(first=0, frames=make_frames(17, 32, 32))
    cue = Cue(at=17 / 16, prompt="a blue cube", cut=True)
    cut = planned(engine, seconds=33 / 16, footage=(footage,), cues=(cue,), size=Size(32, 32))
    assert cut.cuts == {1}
    assert engine.joints(cut).anew == []
    assert engine.joints(replace(cut, cut_frames=frozenset())).anew == [Stretch(16, 20)]


def test_previews_of_a_new_scene_owe_nothing_to_the_one_before_either(engine: NativeEngine):
    cue = Cue(at=17 / 16, prompt="a blue cube", cut=True)
    events = list(engine.stream(planned(engine, seconds=33 / 16, cues=(cue,)), previews_per_s=1e9))
    last = [event for event in events if isinstance(event, Preview)][-1]
    (final_frames,) = [event.frames for event in events if isinstance(event, Frames) and event.first == 17]
    assert last.first == 17
    assert np.abs(last.frames.astype(int) - final_frames).max() <= 1, "its last step is where it ends"


def final(engine: NativeEngine, made: Plan) -> torch.Tensor:
    return torch.cat([event.latent for event in engine.denoise(made) if isinstance(event, Chunk)], dim=2)


@pytest.mark.parametrize(
    ("seconds", "fps", "last"),
    [
        (2 / 16, 16, 1),  # two frames: the shortest video with two images
        (17 / 16, 16, 4),  # whole chunks
        (18 / 16, 16, 5),  # one frame more, at the start of a chunk of which the rest is cut off
        (1.5, 16, 6),
        (4, 16, 16),
        (4, 1, 12),  # at one frame a second the last one shown is number 48
    ],
)
def test_images_are_kept_bit_by_bit_in_the_frames_that_show_them(
    engine: NativeEngine, make_frames, seconds: float, fps: int, last: int
):
    images = make_frames(30, width=64, height=64)[[0, -1]]
    made = planned(engine, seconds=seconds, fps=fps, image=images[0], last_image=images[1])
    latent = final(engine, made)
    assert torch.equal(latent[:, :, :1], first_frame(engine.autoencoder, made.image).latent)
    known = last_frame(engine.autoencoder, made.last_image).latent
    assert torch.equal(latent[:, :, last:], known.expand(-1, -1, latent.shape[2] - last, -1, -1))
    assert not torch.equal(latent[:, :, last - 1], known[:, :, 0])
    assert engine.manifest.compression.latent_frames_covering(made.frames) == last + 1


def test_a_last_frame_is_where_the_video_ends_not_where_its_last_chunk_does(engine: NativeEngine):
    known = LastFrame(latent=torch.ones(1, 4, 1, 4, 4))
    latent = final(engine, planned(engine, seconds=1.5, conditions=(known,)))
    assert [bool((latent[:, :, t] == 1).all()) for t in range(9)] == [t >= 6 for t in range(9)]


def test_images_change_what_lies_between_them(engine: NativeEngine, make_frames):
    images = make_frames(30, width=64, height=64)[[0, -1]]
    plain, first, last = (
        frames_of(list(engine.stream(planned(engine, **known))))
        for known in ({}, {"image": images[0]}, {"last_image": images[1]})
    )
    assert not np.array_equal(plain[8], first[8])
    assert not np.array_equal(plain[8], last[8])


def test_previews_come_only_when_asked_for_and_change_nothing(engine: NativeEngine, make_frames):
    made = planned(engine, image=make_frames(1)[0], solver="ancestral")
    plain, previewed = (list(engine.stream(made, previews_per_s=rate)) for rate in (0, math.inf))
    previews = [event for event in previewed if isinstance(event, Preview)]
    assert not [event for event in plain if isinstance(event, Preview)]
    assert [event for event in previewed if isinstance(event, Progress)] == [
        event for event in plain if isinstance(event, Progress)
    ]
    assert [(event.first, len(event.frames)) for event in previews] == [(1, 16)] * 3 + [(17, 7)] * 3
    assert np.array_equal(frames_of(plain), frames_of(previewed))


def test_a_preview_shows_the_x0_that_a_step_aimed_at(engine: NativeEngine):
    made = planned(engine)
    estimates = [event.state.estimate for event in engine.denoise(made) if isinstance(event, Denoised)]
    with torch.inference_mode():
        still, memory = engine.autoencoder.decode_stream(estimates[2], None)
        moving = [engine.autoencoder.decode_stream(estimate, memory)[0] for estimate in estimates[3:6]]
    previews = [event for event in engine.stream(made, previews_per_s=math.inf) if isinstance(event, Preview)]
    assert np.array_equal(previews[2].frames, to_frames(still)[0])
    for preview, video in zip(previews[3:6], moving, strict=True):
        assert np.array_equal(preview.frames, to_frames(video)[0])
    assert not np.array_equal(previews[3].frames, previews[5].frames)


def small_student(folder: Path, **changes: Any) -> tuple[NativeEngine, Plan]:
    """Load a student of Wan with a tiny decoder, and plan a film of two chunks."""
    model = open_model(with_tiny_decoder(self_forcing.saved(folder)))
    manifest = replace(model.manifest, sizes=(Size(32, 32),), **changes)
    engine = load_native(replace(model, manifest=manifest), device="cpu", dtype=torch.float32)
    return engine, plan(Request(prompt="a ball", seconds=21 / 16), manifest)


def test_a_tiny_decoder_makes_the_previews_and_not_the_film(tmp_path: Path):
    engine, made = small_student(tmp_path)
    assert isinstance(engine.sketcher, TinyAutoencoder)
    with torch.inference_mode():  # where shapes are checked, generators lose theirs
        plain, previewed = (list(engine.stream(made, previews_per_s=rate)) for rate in (0, math.inf))
        events = list(engine.denoise(made))
    assert np.array_equal(frames_of(plain), frames_of(previewed))

    estimates = [event.state.estimate for event in events if isinstance(event, Denoised)]
    first, second = [event.latent for event in events if isinstance(event, Chunk)]
    with torch.inference_mode():
        _, memory = engine.sketcher.decode_stream(first, None)
        expected = [engine.sketcher.decode_stream(each, memory)[0] for each in estimates[4:]]
        film = to_frames(engine.autoencoder.decode(torch.cat([first, second], 2)))[0]
    previews = [event.frames for event in previewed if isinstance(event, Preview)]
    for preview, video in zip(previews[4:], expected, strict=True):
        assert np.array_equal(preview, to_frames(video)[0])
    np.testing.assert_allclose(frames_of(plain).astype(int), film, atol=1)
    assert np.abs(previews[-1].astype(int) - film[9:]).mean() > 1, "two decoders"


def test_a_tiny_decoder_makes_the_film_too_where_the_manifest_says_so(tmp_path: Path):
    engine, made = small_student(tmp_path, tiny="films")
    assert isinstance(engine.autoencoder, TinyAutoencoder)
    assert engine.sketcher is engine.autoencoder
    with torch.inference_mode():
        expected = to_frames(engine.autoencoder.decode(final(engine, made)))[0]
    assert len(expected) == 21
    np.testing.assert_allclose(frames_of(list(engine.stream(made))).astype(int), expected, atol=1)


def test_the_prompt_and_the_seed_decide_the_frames(engine: NativeEngine):
    first = frames_of(list(engine.stream(planned(engine, seed=3))))
    assert np.array_equal(first, frames_of(list(engine.stream(planned(engine, seed=3)))))
    assert not np.array_equal(first, frames_of(list(engine.stream(planned(engine, seed=4)))))
    assert not np.array_equal(first, frames_of(list(engine.stream(planned(engine, seed=3, prompt="snow")))))


def test_a_longer_video_begins_with_the_shorter_one(engine: NativeEngine):
    short = frames_of(list(engine.stream(planned(engine, seconds=1))))
    long = frames_of(list(engine.stream(planned(engine, seconds=2.5))))
    assert np.array_equal(short, long[: len(short)])


def test_streaming_decodes_what_decoding_the_whole_gives(engine: NativeEngine):
    made = planned(engine)
    chunks = [event.latent for event in engine.denoise(made) if hasattr(event, "latent")]
    with torch.inference_mode():
        whole = engine.autoencoder.decode(torch.cat(chunks, dim=2))[0].float()
    streamed = torch.from_numpy(frames_of(list(engine.stream(made)))).permute(3, 0, 1, 2) / 127.5 - 1
    torch.testing.assert_close(streamed, whole[:, : made.frames], atol=0.03, rtol=0)  # 8 bits, bfloat16


def test_a_prompt_that_does_not_fit_is_warned_about(engine: NativeEngine):
    long = planned(engine, prompt="ball " * 100, seconds=0)
    warnings = [event for event in engine.stream(long) if isinstance(event, Warned)]
    assert [warning.message.startswith("the last 38 words") for warning in warnings] == [True]


def test_weights_that_are_cut_short_are_refused(tiny_model: Path, tmp_path: Path):
    folder = copy(tiny_model, tmp_path)
    whole = (folder / "transformer.safetensors").read_bytes()
    (folder / "transformer.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"transformer\.safetensors"):
        load_native(open_model(folder))


def test_weights_of_another_kind_are_refused(tiny_model: Path, tmp_path: Path):
    folder = copy(tiny_model, tmp_path)
    (folder / "transformer.safetensors").write_bytes((folder / "autoencoder.safetensors").read_bytes())
    with pytest.raises(InputError, match="transformer"):
        load_native(open_model(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunk": 2}, "disagree on chunk, 2 or 4"),
        ({"text_encoder": "umt5"}, "there is no text encoder 'umt5': take one of minilm, "),
    ],
)
def test_a_manifest_that_does_not_fit_the_weights_is_refused(
    tiny_model: Path, tmp_path: Path, changes: dict[str, object], message: str
):
    folder = copy(tiny_model, tmp_path)
    write_manifest(folder, replace(read_manifest(folder), **changes))
    with pytest.raises(InputError, match=message):
        load_native(open_model(folder))


def copy(model: Path, folder: Path) -> Path:
    for path in model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def small_film(engine: NativeEngine) -> np.ndarray:
    first, last = (np.full((64, 64, 3), grey, np.uint8) for grey in (30, 200))
    given = {"image": first, "last_image": last} if engine.manifest.begins_with_picture else {}
    manifest = replace(engine.manifest, sizes=(Size(64, 64),))
    made = plan(Request(prompt="a red ball", seconds=0.5, steps=2, seed=3, **given), manifest)
    return frames_of(list(engine.stream(replace(made, finish=tiny_wan.small(made.finish)))))


@pytest.mark.parametrize("kind", ["in one piece", "that streams"])
def test_films_are_decoded_in_tiles_when_asked(kind: str, tmp_path: Path):
    saved = tiny_wan.saved("2.1", tmp_path) if kind == "in one piece" else self_forcing.saved(tmp_path)
    model = open_model(saved)
    for size, is_cut in ((Size(256, 32), False), (Size(272, 32), True)):
        manifest = replace(model.manifest, sizes=(size,))
        here = replace(model, manifest=manifest)
        plain, tiled = (
            load_native(here, device="cpu", dtype=torch.float32, tiled=each) for each in (False, True)
        )
        made = plan(Request(prompt="a ball", seconds=21 / 16, steps=4), manifest)
        with torch.inference_mode():  # as above
            films = [frames_of(list(each.stream(made))) for each in (plain, tiled)]
            previewed = list(tiled.stream(made, previews_per_s=math.inf))
            decoder = TiledDecoder(plain.autoencoder, streams=False)
            expected = to_frames(decoder.decode_stream(final(plain, made), None)[0])[0]
        assert np.array_equal(films[1], frames_of(previewed))
        assert films[1].shape == (21, size.height, size.width, 3)
        np.testing.assert_allclose(films[1].astype(int), expected[:21], atol=1)
        assert np.array_equal(*films) != is_cut


@pytest.mark.parametrize(("kind", "size"), [(tiny_wan.PICTURES, Size(288, 32)), ("2.2-5b", Size(544, 32))])
def test_pictures_are_encoded_in_tiles_when_asked(kind: str, size: Size, tmp_path: Path):
    model = open_model(tiny_wan.saved(kind, tmp_path))
    model = replace(model, manifest=replace(model.manifest, sizes=(size,)))
    plain, tiled = (
        load_native(model, device="cpu", dtype=torch.float32, tiled=each) for each in (False, True)
    )
    image = np.random.default_rng(0).integers(0, 255, (size.height, size.width, 3), np.uint8)
    made = plan(Request(prompt="a ball", seconds=5 / 16, image=image), model.manifest)
    encoder = TiledEncoder(plain.autoencoder)
    if kind == tiny_wan.PICTURES:
        expected = beside(encoder, made.image, None, 5)
        found, whole = tiled.pictures(made), plain.pictures(made)
    else:
        expected = first_frame(encoder, made.image).latent
        found, whole = (each.conditions(made)[0].latent for each in (tiled, plain))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert not torch.allclose(found, whole, atol=1e-3)


@pytest.mark.parametrize("kind", [*tiny_wan.KINDS, tiny_wan.BOTH_SEEN])
def test_films_of_blocks_that_come_one_by_one_are_the_same(kind: str, tmp_path: Path):
    model = open_model(tiny_wan.saved(kind, tmp_path))
    stay, visit = (
        load_native(model, device="cpu", dtype=torch.float32, offload=offload) for offload in (False, True)
    )
    film = small_film(stay)
    assert film.std() > 1
    assert np.array_equal(small_film(visit), film)
    for each in chosen(visit.transformer):
        assert isinstance(each.blocks, Visiting)
    encoder = load_umt5(model.folder / "text_encoder", model.folder / "tokenizer", by_block=True)
    assert isinstance(encoder.encoder.encoder.block, Visiting)


@pytest.mark.parametrize(("kind", "bound_db"), [("int8", 30), ("fp8", 20)])
def test_films_of_weights_in_8_bits_are_near(kind: str, bound_db: float | int):
    """Of the model that is shipped; `benchmarks/quantised.py` measures more of them."""
    plain, quantised = (load_native(find_model("nano"), device="cpu", quantise=each) for each in (None, kind))
    made = planned(plain, seconds=1, expand=True)
    film, other = (frames_of(list(engine.stream(made))).astype(float) for engine in (plain, quantised))
    error = np.square(film - other).mean()
    assert error > 0
    assert 10 * math.log10(255**2 / error) > bound_db


def test_loras_beside_weights_in_8_bits_count(tmp_path: Path):
    """They are attached after: what is in memory is not changed."""
    model = open_model(tiny_wan.saved("2.1", tmp_path))
    state = {
        "diffusion_model.blocks.1.self_attn.o.lora_down.weight": torch.ones(1, 256),
        "diffusion_model.blocks.1.self_attn.o.lora_up.weight": torch.ones(256, 1),
    }
    save_file(state, tmp_path / "style.safetensors")
    engine = load_native(
        model, device="cpu", dtype=torch.float32, loras=[f"{tmp_path / 'style.safetensors'}"],
        adaptable=True, quantise="int8",
    )  # fmt: skip
    (transformer,) = chosen(engine.transformer)
    changed = small_film(engine)
    detach(transformer, "style")
    plain = load_native(model, device="cpu", dtype=torch.float32, adaptable=True, quantise="int8")
    assert np.array_equal(small_film(engine), small_film(plain))
    assert not np.array_equal(changed, small_film(plain))


@pytest.mark.parametrize(
    ("saves", "message"),
    [
        ({"quantise": "int4"}, "cannot be quantised to 'int4': take int8 or fp8"),
        ({"quantise": "int8", "offload": True}, "as their files have them: leave --quantise out"),
        ({"adaptable": True, "offload": True}, "take LoRAs for good only: leave offload or adaptable out"),
        ({"offload": True}, "tiny is read as a whole: leave --offload out"),
        ({"tiled": True}, "the tiny decoder of tiny takes little memory anyway: leave --tiles out"),
    ],
)
def test_what_does_not_go_together_is_said(tiny_model: Path, saves: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        load_native(open_model(tiny_model), device="cpu", **saves)


def test_several_processes_on_a_cpu_do_not_fetch_blocks(tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(native, "this_process", lambda: Place(rank=0, size=2, local_rank=0, local_size=2))
    with pytest.raises(InputError, match="on a CPU --offload is for one process: start it without torchrun"):
        load_native(open_model(tiny_model), device="cpu", offload=True)


def test_one_transformer_is_no_pair(tiny_model: Path, tmp_path: Path):
    save_file({"diffusion_model.blocks.0.ffn.0.diff": torch.zeros(1)}, tmp_path / "style.safetensors")
    with pytest.raises(InputError, match="tiny is no pair of transformers: leave early: and late: out"):
        load_native(open_model(tiny_model), device="cpu", loras=[f"early:{tmp_path / 'style.safetensors'}"])
