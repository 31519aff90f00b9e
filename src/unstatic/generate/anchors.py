"""Anchors: clean frames that a chunk sees beside the ring, and waypoints, which a long video draws by itself.

A chunk copies what the chunks before it got wrong and adds its own. After a minute outlines are others, and
what ran stands still. A waypoint is a little of the video, further on, that does not know what came last. The
chunks on the way there see it as they see a frame that is known; but it binds nobody and is never shown: the
chunk at its place is made from what came before it too, so nothing jumps.

There are two ways to draw it. If the video still does what it did at first, which is found out by drawing its
beginning again, a waypoint knows the first frame alone: it is as good after fifty seconds as after one. If
something is over (what fell lies there), it is drawn as if it came right after the beginning.

Nothing was trained for it: frames ahead that are seen occur in training, and pasts that say hardly anything.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.diffusion.condition import LatentState
from unstatic.diffusion.process import Latent
from unstatic.models.parts import Transformer
from unstatic.models.transformer import AnchorMemory, TextMemory

MOST_ANCHORS = 2  # in training there were never more
FREE_CHUNKS = 6  # of what is made, so many are the beginning
WAYPOINT_CHUNKS = 2  # how many chunks there are to a waypoint

# What goes on moves at least so much, and differs at most so much, beside beginnings drawn again. It is true
# of 23 of 24 scenes in which something never rests, and of 3 of 21 in which something ends (docs/log.md)
LEAST_MOTION, MOST_DIFFERENCE = 0.4, 1.45

Draw = Callable[[int, int, AnchorMemory | None], Latent]
"""Make the latent frames from `start` to `stop` - 1 from anchors alone, or without any from the beginning."""


class Anchors:
    """The clean frames that a chunk sees beside the ring: the first under its text, and the next known one.

    The first frame is seen if it was given, or as soon as the ring has passed it; where something is over,
    the last frame of the beginning takes its place. What comes under another text is not seen, for it may be
    another scene. The chunk that arrives at known frames sees two of them instead, where there are two: one
    says where to come to, the other how fast it goes on there. Where no known frame is near there are
    waypoints instead, a frame each, if there is a way to `draw` them. A model without anchors sees none, and
    may be given frames only if it remembers its own as clean (`clean_past`): whole chunks at the
    beginning, which it then remembers as if it had made them.

    `rows` makes the rows of a pass of a latent.
    """

    def __init__(
        self,
        model: Transformer,
        state: LatentState,
        rows: Callable[[Tensor], Tensor],
        *,
        clean_past: bool = False,
        draw: Draw | None = None,
    ) -> None:
        self.model, self.state, self.rows = model, state, rows
        self.scene = 0  # the latent frame that the model takes for the first of all
        self.clean_past, self.draw = clean_past, draw
        self.text: TextMemory | None = None
        # Conditions bind all samples alike
        self.known: list[int] = (state.sigma[0, 0, :, 0, 0] == 0).nonzero().squeeze(1).tolist()
        self.told: list[bool] = (state.keep_mask | (state.clean != 0)).any(4).any(3).any(1).any(0).tolist()
        self.first: tuple[int, Latent] | None = None
        self.times: list[int] = []
        self.memory: AnchorMemory | None = None

    def begin(self, text: TextMemory, start: int, stop: int | None) -> None:
        """Read frames under another text, that of the latent frames from `start` to `stop` - 1."""
        self.text, self.begun, self.text_end = text, start, stop
        self.first, self.times, self.memory = None, [], None
        # Where the beginning begins, the frame that it begins with or goes on from, and its last chunk
        self.since, self.origin = start, self.first
        self.beginning: Latent | None = None
        self.opening: AnchorMemory | None = None  # what waypoints know, if not the beginning
        self.waypoint: tuple[int, Latent] | None = None

    def forget_text(self) -> None:
        """Let go of the text, and of what was read under it."""
        self.text = self.memory = None

    def forget(self, start: int) -> None:
        """Know nothing of what comes before the latent frame `start`, at which a new scene begins."""
        self.known = [time for time in self.known if time >= start]
        self.told[:start] = [False] * start

    def keep(self, start: int, latent: Latent) -> None:
        """Keep what later chunks see of the chunk that begins at `start`, which is final."""
        stop = start + latent.shape[2]
        if start == self.begun:
            self.first = self.origin = start, latent[:, :, :1].clone()
        told = [time for time in range(start, stop) if self.told[time]]
        if told:
            last = told[-1] - start
            self.since, self.origin = stop, (told[-1], latent[:, :, last : last + 1].clone())
        if self.ends_beginning(start):
            self.beginning, self.opening = latent.clone(), None

    def ends_beginning(self, start: int) -> bool:
        """Tell whether the chunk that begins at `start` is the last of a beginning that waypoints need."""
        return self.draw is not None and self._number(start) == FREE_CHUNKS - 1

    def _number(self, start: int) -> int:
        """Return which chunk begins at `start`, from 0, of those of which nothing was told."""
        return -(-(start - self.since) // (self.model.config.chunk or 1))

    def at(self, start: int, stop: int) -> AnchorMemory | None:
        """Return what the chunk of the latent frames from `start` to `stop` - 1 sees; asked once for each."""
        frames = self._frames(start, stop)
        times = [time for time, _ in frames]
        if times != self.times:
            self.memory, self.times = self._read(frames) if frames else None, times
        return self.memory

    def _read(self, frames: Sequence[tuple[int, Latent]]) -> AnchorMemory:
        assert self.text is not None, "it has begun"
        latent = self.rows(torch.cat([frame for _, frame in frames], dim=2))
        return self.model.encode_anchors(
            latent, torch.tensor([time - self.scene for time, _ in frames]), self.text
        )

    def _frames(self, start: int, stop: int) -> list[tuple[int, Latent]]:
        config = self.model.config
        if config.chunk is None:  # one chunk sees everything
            return []
        if not config.anchors and self.clean_past:
            self._check_beginning(start, stop)
            return []
        known = [time for time in self.known if self.text_end is None or time < self.text_end]
        ahead = [time for time in known if time >= stop] or [x for x in known if start <= x < stop]
        ahead = ahead[:2] if ahead[:2] == [stop, stop + 1] else ahead[:1]
        goal = [(time, self.state.clean[:, :, time : time + 1]) for time in ahead]
        if config.anchors and (not goal or goal[0][0] - start > config.max_age):
            waypoint = self._next_waypoint(start, stop, config.chunk)
            goal = goal if waypoint is None else [waypoint]
        frames: list[tuple[int, Latent]] = []
        passed = start - config.history_chunks * config.chunk
        if self.first and (self.first[0] in self.known or (config.anchors and self.first[0] < passed)):
            frames.append(self.first)
        return frames[: MOST_ANCHORS - len(goal)] + goal

    def _next_waypoint(self, start: int, stop: int, chunk: int) -> tuple[int, Latent] | None:
        """Return the waypoint of the next chunk, drawn when it comes up, or else that of this chunk again."""
        number, end = self._number(start) - FREE_CHUNKS, self.text_end or len(self.told)
        if self.draw is None or number < 0:
            return None
        if number % WAYPOINT_CHUNKS == 0:
            after = stop + chunk
            is_free = after <= end and not any(self.told[start:after])
            self.waypoint = self._drawn(self.draw, start, stop, after) if is_free else None
        return self.waypoint if self.waypoint and self.waypoint[0] in (start, stop) else None

    def _drawn(self, draw: Draw, start: int, stop: int, after: int) -> tuple[int, Latent]:
        """Draw the chunk from `stop` to `after`, and keep its first frame: what follows is free to move."""
        again = None if self.beginning is None else self._judged(draw, start, stop, after, self.beginning)
        latent = draw(stop, after, self.opening) if again is None else again
        return stop, latent[:, :, :1].clone()

    def _judged(self, draw: Draw, start: int, stop: int, after: int, beginning: Latent) -> Latent | None:
        """Find out what waypoints may know; return the first if it was drawn on the way."""
        assert self.origin is not None, "the beginning is over"
        opening = self._read([self.origin])
        again = draw(start, stop, opening), draw(stop, after, opening)
        self.beginning = None
        if goes_on(beginning, again):
            self.opening = opening
            return again[1]
        self.first = start - 1, beginning[:, :, -1:]
        return None

    def _check_beginning(self, start: int, stop: int) -> None:
        """Raise InputError where a chunk is known in part, or what comes before it is not known."""
        if self.known and self.known != [*range(len(self.known))]:
            raise InputError("this model goes forward only: give it frames at the beginning")
        if start < len(self.known) < stop:
            chunk = self.model.config.chunk
            raise InputError(
                f"{len(self.known)} latent frames are no whole chunks of {chunk}: give this model some"
            )


def goes_on(latent: Latent, again: tuple[Latent, Latent]) -> bool:
    """Tell whether a video still does what it did at first, beside two beginnings that were drawn again."""
    one, other = again
    between = float((one - other).abs().mean())
    away = sum(float((latent - each).abs().mean()) for each in again) / 2
    usual = sum(motion(each) for each in again) / 2
    return motion(latent) >= LEAST_MOTION * usual and away <= MOST_DIFFERENCE * between


def motion(latent: Latent) -> float:
    """Return the mean absolute change from one latent frame to the next."""
    return float(latent.diff(dim=2).abs().mean())
