"""What kind of video file it is, told by its first bytes alone.

Left to find out by itself, libav reads lists and playlists too, and opens what they name: a text of two lines
called film.mp4 would show another file of this machine. So only containers that hold their pictures
themselves are known here, and libav is told which it is.
"""

from collections.abc import Callable

HEAD_BYTES = 512
KINDS = "mp4, mov, mkv, webm, avi, gif, ts, mpg, flv, ogg, wmv or y4m"
_RARE_SUFFIXES = (".mpg", ".mpeg", ".vob", ".flv", ".ogg", ".ogv", ".wmv", ".asf", ".3gp", ".y4m")
_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".ts", ".mts", ".m2ts")
SUFFIXES = _SUFFIXES + _RARE_SUFFIXES  # that names of such files end with
BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")  # that files of QuickTime begin with
SYNC, PACKET_BYTES, STAMP_BYTES = b"G", 188, 4  # of MPEG-TS; cameras put a time stamp before every packet


def _is_transport(head: bytes) -> bool:
    plain, stamped = head[::PACKET_BYTES], head[STAMP_BYTES :: PACKET_BYTES + STAMP_BYTES]
    return SYNC * 3 in (plain[:3], stamped[:3])


CONTAINERS: dict[str, Callable[[bytes], bool]] = {
    "mov": lambda head: head[4:8] in BOXES,
    "matroska": lambda head: head.startswith(b"\x1a\x45\xdf\xa3"),
    "avi": lambda head: head.startswith(b"RIFF") and head[8:12] == b"AVI ",
    "gif": lambda head: head.startswith((b"GIF87a", b"GIF89a")),
    "mpegts": _is_transport,
    "mpeg": lambda head: head.startswith(b"\0\0\x01\xba"),
    "flv": lambda head: head.startswith(b"FLV\x01"),
    "ogg": lambda head: head.startswith(b"OggS"),
    "asf": lambda head: head.startswith(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    "yuv4mpegpipe": lambda head: head.startswith(b"YUV4MPEG2 "),
}


def container_of(head: bytes) -> str | None:
    """Return libav's name for the container that a file's first `HEAD_BYTES` bytes begin; None for others."""
    return next((name for name, begins in CONTAINERS.items() if begins(head)), None)
