import pytest
from hypothesis import given
from hypothesis import strategies as st

from unstatic.core.errors import InputError
from unstatic.core.shapes import Compression, Size, chunk_lengths

WAN = Compression(time=4, space=8)
COMPRESSIONS = st.builds(Compression, time=st.integers(1, 8), space=st.integers(1, 32))
COUNTS = st.integers(1, 2000)


def test_a_still_is_one_latent_frame_and_a_second_adds_four():
    assert [WAN.latent_frames(frames) for frames in (1, 5, 17, 65)] == [1, 2, 5, 17]
    assert [WAN.frames(latent_frames) for latent_frames in (1, 2, 5, 17)] == [1, 5, 17, 65]


def test_sixty_four_frames_need_seventeen_latent_frames():
    assert WAN.latent_frames(64) == 16
    assert WAN.latent_frames_covering(64) == 17


@given(COMPRESSIONS, COUNTS)
def test_decoding_then_encoding_is_exact(compression: Compression, latent_frames: int):
    assert compression.latent_frames(compression.frames(latent_frames)) == latent_frames


@given(COMPRESSIONS, COUNTS)
def test_covering_is_enough_and_one_fewer_is_not(compression: Compression, frames: int):
    latent_frames = compression.latent_frames_covering(frames)
    assert compression.frames(latent_frames) >= frames
    assert latent_frames == 1 or compression.frames(latent_frames - 1) < frames


@pytest.mark.parametrize("frames", [0, -3])
def test_no_frames_are_refused(frames: int):
    with pytest.raises(InputError, match=str(frames)):
        WAN.latent_frames(frames)
    with pytest.raises(InputError, match=str(frames)):
        WAN.frames(frames)


def test_latent_size_divides_exactly_or_is_refused():
    assert WAN.latent_size(80, 48) == (10, 6)
    for width, height in ((60, 64), (64, 60), (0, 64), (64, -8)):
        with pytest.raises(InputError, match=f"{width}x{height} must be multiples of 8"):
            WAN.latent_size(width, height)


def test_chunks_start_with_one_frame_and_may_end_short():
    assert chunk_lengths(17, 4) == [1, 4, 4, 4, 4]
    assert chunk_lengths(1, 4) == [1]
    assert chunk_lengths(8, 4) == [1, 4, 3]


def test_chunks_may_start_with_more_than_one_frame():
    assert chunk_lengths(9, 3, 3) == [3, 3, 3]
    assert chunk_lengths(8, 3, 3) == [3, 3, 2]
    assert chunk_lengths(2, 3, 3) == [2]


@given(COUNTS, st.integers(1, 20))
def test_chunks_cover_the_latent(latent_frames: int, chunk: int):
    lengths = chunk_lengths(latent_frames, chunk)
    assert sum(lengths) == latent_frames
    assert lengths[0] == 1
    assert all(length == chunk for length in lengths[1:-1])


def test_chunks_of_nothing_are_refused():
    for latent_frames, chunk, first in ((0, 4, 1), (4, 0, 1), (4, 4, 0)):
        with pytest.raises(InputError):
            chunk_lengths(latent_frames, chunk, first)


def test_size_reads_and_writes_width_before_height():
    assert Size.parse(" 64X48 ") == Size(64, 48)
    assert str(Size(64, 48)) == "64x48"


@pytest.mark.parametrize(
    "text", ["", "64", "64x", "x64", "64x48x3", "-64x48", "6.4x48", "1e3x48", "0x48", "64x0"]
)
def test_other_sizes_are_refused(text: str):
    with pytest.raises(InputError, match="1280x720"):
        Size.parse(text)
