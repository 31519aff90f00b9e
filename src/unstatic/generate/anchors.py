"""Anchors: clean frames that a chunk sees beside the ring, and waypoints, which a long video draws by itself.

A chunk copies what the chunks before it got wrong and adds its own. After a minute outlines are others, and
what ran stands still. A waypoint is drawn from the first frame and the text alone, so it is as good after
fifty seconds as after one. The chunks on the way there see it as they see a frame that is known; but it binds
nobody and is never shown: the chunk at its place is made from what came before it too, so nothing jumps.

Nothing was trained for it; that the past says nothing, and that frames ahead are seen, occurs in training.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.diffusion.condition import LatentState
from unstatic.diffusion.process import Latent
from unstatic.generate.memories import Memories
from unstatic.models.parts import Transformer
from unstatic.models.transformer import AnchorMemory, TextMemory

MOST_ANCHORS = 2  # in training there were never more
FREE_CHUNKS = 5  # a text has no waypoint in so many: there is little to mend yet
WAYPOINT_CHUNKS, WAYPOINT_FRAMES = 2, 2  # how many chunks there are to a waypoint, and how long it is

Draw = Callable[[int, int, Memories], Latent]
"""Make the latent frames from `start` to `stop` - 1 of nothing but some memories."""


class Anchors:
    """The clean frames that a chunk sees beside the ring: the first under its text, and the next known one.

    The first frame is seen if it was given, or as soon as the ring has passed it; what comes under another
    text is not seen, for it may be another scene. The chunk that arrives at known frames sees two of them
    instead, where there are two: one says where to come to, the other how fast it goes on there. Where no
    known frame is near there are waypoints instead, if there is a way to `draw` them. A model without anchors
    sees none, and may be given frames only if it remembers its own as clean (`clean_past`): whole chunks at
    the beginning, which it then remembers as if it had made them.

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
        self.clean_past, self.draw = clean_past, draw
        # Conditions bind all samples alike
        self.known: list[int] = (state.sigma[0, 0, :, 0, 0] == 0).nonzero().squeeze(1).tolist()
        self.told: list[bool] = (state.keep_mask | (state.clean != 0)).any(4).any(3).any(1).any(0).tolist()
        self.first: tuple[int, Latent] | None = None
        self.times: list[int] = []
        self.memory: AnchorMemory | None = None

    def begin(self, text: TextMemory, start: int, stop: int | None) -> None:
        """Read frames under another text, that of the latent frames from `start` to `stop` - 1."""
        self.text, self.begun, self.over = text, start, stop
        self.first, self.times, self.memory = None, [], None
        self.opening: AnchorMemory | None = None
        self.waypoint: list[tuple[int, Latent]] = []

    def keep(self, start: int, latent: Latent) -> None:
        """Keep the first frame of the first chunk under the text; a chunk that begins at `start` is final."""
        if start == self.begun:
            self.first = start, latent[:, :, :1].clone()

    def at(self, start: int, stop: int) -> AnchorMemory | None:
        """Return what the chunk of the latent frames from `start` to `stop` - 1 sees; asked once for each."""
        frames = self._frames(start, stop)
        times = [time for time, _ in frames]
        if times != self.times:
            self.memory, self.times = self._read(frames) if frames else None, times
        return self.memory

    def _read(self, frames: Sequence[tuple[int, Latent]]) -> AnchorMemory:
        latent = self.rows(torch.cat([frame for _, frame in frames], dim=2))
        return self.model.encode_anchors(latent, torch.tensor([time for time, _ in frames]), self.text)

    def _frames(self, start: int, stop: int) -> list[tuple[int, Latent]]:
        config = self.model.config
        if config.chunk is None:  # one chunk sees everything
            return []
        if not config.anchors and self.clean_past:
            self._check_beginning(start, stop)
            return []
        frames: list[tuple[int, Latent]] = []
        passed = start - config.history_chunks * config.chunk
        if self.first and (self.first[0] in self.known or (config.anchors and self.first[0] < passed)):
            frames.append(self.first)
        known = [time for time in self.known if self.over is None or time < self.over]
        ahead = [time for time in known if time >= stop] or [x for x in known if start <= x < stop]
        ahead = ahead[:2] if ahead[:2] == [stop, stop + 1] else ahead[:1]
        goal = [(time, self.state.clean[:, :, time : time + 1]) for time in ahead]
        if config.anchors and (not goal or goal[0][0] - start > config.max_age):
            goal = self._next_waypoint(start, stop, config.chunk) or goal
        return frames[: MOST_ANCHORS - len(goal)] + goal

    def _next_waypoint(self, start: int, stop: int, chunk: int) -> list[tuple[int, Latent]]:
        """Return the waypoint with which the next chunk begins, drawn when it comes up, or this one."""
        number = -(-(start - self.begun) // chunk)  # of this chunk, among those under the text
        if number >= FREE_CHUNKS and (number - FREE_CHUNKS) % WAYPOINT_CHUNKS == 0:
            self.waypoint = self._drawn(stop, stop + chunk)
        return self.waypoint if self.waypoint and self.waypoint[0][0] in (start, stop) else []

    def _drawn(self, start: int, stop: int) -> list[tuple[int, Latent]]:
        """Draw a waypoint, unless the text is over by then or something is told of these frames."""
        end = len(self.told) if self.over is None else self.over
        if self.draw is None or self.first is None or stop > end or any(self.told[start:stop]):
            return []
        if self.opening is None:
            self.opening = self._read([self.first])
        latent = self.draw(start, stop, Memories(self.text, self.opening, None))
        numbers = range(min(WAYPOINT_FRAMES, stop - start))
        return [(start + number, latent[:, :, number : number + 1].clone()) for number in numbers]

    def _check_beginning(self, start: int, stop: int) -> None:
        """Raise InputError where a chunk is known in part, or what comes before it is not known."""
        if self.known and self.known != [*range(len(self.known))]:
            raise InputError("this model goes forward only: give it frames at the beginning")
        if start < len(self.known) < stop:
            chunk = self.model.config.chunk
            raise InputError(
                f"{len(self.known)} latent frames are no whole chunks of {chunk}: give this model some"
            )
