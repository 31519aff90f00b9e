"""The pictures of an opened video: which stream holds them, what decodes it, in which size and how whole."""

from collections.abc import Callable, Iterator
from fractions import Fraction

import av
from av.container import InputContainer
from av.filter import Graph
from av.stream import Disposition
from av.video.stream import VideoStream

from unstatic.core.shapes import Size

# The decoders of libav leave the transparency of WebM out; these know it
_TRANSPARENT = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_MOST_STRETCHED = 4  # a file whose pixels are narrower than that is wrong, and would fill the memory

Decode = Callable[[av.Packet], list[av.VideoFrame]]


def picture_streams(opened: InputContainer) -> list[VideoStream]:
    """Return the video streams that are no covers: music may have those, and films."""
    return [each for each in opened.streams.video if not each.disposition & Disposition.attached_pic]


def decoder_of(stream: VideoStream) -> Decode:
    """Return what decodes the packets of a stream, with its transparency."""
    name = _TRANSPARENT.get(stream.codec_context.name)
    if name is None or stream.metadata.get("alpha_mode") != "1":
        return stream.decode
    context = av.CodecContext.create(name, "r")
    assert isinstance(context, av.VideoCodecContext), "a decoder of video"
    return context.decode


def shown_size(frame: av.VideoFrame, stream: VideoStream) -> Size:
    """Return the size in which a frame is shown with square pixels: wider or higher, never smaller."""
    ratio = stream.sample_aspect_ratio or Fraction(1)
    if not Fraction(1, _MOST_STRETCHED) <= ratio <= _MOST_STRETCHED:
        return Size(frame.width, frame.height)
    return Size(round(frame.width * max(ratio, 1)), round(frame.height / min(ratio, 1)))


def deinterlaced(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Yield frames with their second field made anew where they have two; the others as they are.

    From the first that has two on, each comes after the one behind it was read.
    """
    graph, kind = None, None
    for frame in frames:
        if graph is None and not frame.interlaced_frame:
            yield frame
            continue
        same = frame.width, frame.height, frame.format.name
        if graph is None or same != kind:
            yield from () if graph is None else _filtered(graph, None)
            graph, kind = _field_filter(frame), same
        yield from _filtered(graph, frame)
    yield from () if graph is None else _filtered(graph, None)


def _field_filter(frame: av.VideoFrame) -> Graph:
    """Return a filter for frames as this one: Bob Weaver's, of BBC research, one frame out for each."""
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    graph.link_nodes(source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink"))
    graph.configure()
    return graph


def _filtered(graph: Graph, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
    graph.vpush(frame)
    while True:
        try:
            yield graph.vpull()
        except (BlockingIOError, EOFError):  # libav's, for "later" and "no more"
            return
