"""What is said when: prompts and cues, checked and worded, the chunks that they begin with, and the cuts."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby, pairwise

from unstatic.core.errors import InputError
from unstatic.core.shapes import Compression
from unstatic.diffusion.condition import Cue
from unstatic.generate.prompts.expand import Wording, as_typed, worded
from unstatic.generate.prompts.language_model import Rewriter
from unstatic.models.manifest import Manifest

MAX_PROMPT_CHARACTERS = 32_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """How prompts become what a model reads: see `Request`. Without `filling` nothing is added to them."""

    manifest: Manifest
    expand: bool
    rewriter: Rewriter | None
    seed: int
    filling: bool

    def word(self, said: Sequence[Cue]) -> list[Wording]:
        """Word one prompt after another, each as what comes after the one before."""
        wordings: list[Wording] = []
        for cue in said:
            before = wordings[-1].scene if wordings else None
            if not cue.prompt:
                wordings.append(Wording(cue.prompt))
            elif not self.expand:
                wordings.append(as_typed(cue.prompt, self.manifest, before=before))
            else:
                wording = worded(
                    cue.prompt, self.manifest, seed=self.seed, filling=self.filling, before=before
                )
                if self.rewriter is not None:  # it shall know what comes before, and is no judge of scenes
                    again = self.rewriter(cue.prompt if before is None else wording.text)
                    rewritten = worded(
                        checked_prompt(again), self.manifest, seed=self.seed, filling=self.filling
                    )
                    wording = replace(rewritten, anew=wording.anew)
                wordings.append(wording)
        return wordings


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """The prompts of a video and what is read instead; `said` are cues, the first at 0.

    `firsts` are the frames at which they begin, of those that are made, and `starts` the latent frames with
    which that can be seen. The texts of the numbers `cuts` begin a new scene.
    """

    said: tuple[Cue, ...]
    wordings: tuple[Wording, ...]
    firsts: tuple[int, ...]
    starts: tuple[int, ...]
    cuts: frozenset[int]

    def warnings(self, manifest: Manifest) -> tuple[str, ...]:
        """Say what is not understood, which prompts are not seen, and which cuts cannot be."""
        return (
            *(warning for each in self.wordings for warning in each.warnings),
            *self._unseen(manifest),
            *self._uncut(),
        )

    def _unseen(self, manifest: Manifest) -> tuple[str, ...]:
        """Of prompts that begin with one chunk the model reads the last."""
        chunk_s = manifest.compression.time * (manifest.chunk or 0) / manifest.fps
        return tuple(
            f'the prompt "{textwrap.shorten(one.prompt, 60, placeholder="...")}" at {one.at:g} s is not seen:'
            f" another at {other.at:g} s falls within the same {chunk_s:g} s, which {manifest.name} makes at"
            " once"
            for (one, start), (other, next_start) in pairwise(zip(self.said, self.starts, strict=True))
            if start == next_start and one.prompt not in ("", other.prompt)
        )

    def _uncut(self) -> tuple[str, ...]:
        last = {start: number for number, start in enumerate(self.starts)}
        return tuple(
            f"there is no cut at {self.said[number].at:g} s: what is seen there is given"
            for start, number in last.items()
            if start and self.said[number].cut and number not in self.cuts
        )


def texts_of(
    said: Sequence[Cue],
    reader: Reader,
    *,
    skip: int,
    chunks: Sequence[int],
    known: set[int],
) -> Texts:
    """Word what is said of a video that is made in `chunks`, after `skip` frames that are not shown.

    No scene begins in a chunk that holds one of the latent frames `known`.
    """
    manifest = reader.manifest
    firsts = (0, *(skip + round(cue.at * manifest.fps) for cue in said[1:]))
    starts, wordings = chunk_starts(firsts, chunks, manifest.compression), reader.word(said)
    cuts = _cuts(said, wordings, starts, known, manifest.chunk or 0)
    if chunks[0] == 1 and any(starts[number] == 1 for number in cuts):
        # A scene of a single frame would be a flash
        starts = without_flash(firsts, starts, chunks, manifest.compression)
        cuts = _cuts(said, wordings, starts, known, manifest.chunk or 0)
    return Texts(said=tuple(said), wordings=tuple(wordings), firsts=firsts, starts=starts, cuts=cuts)


def _cuts(
    said: Sequence[Cue], wordings: Sequence[Wording], starts: Sequence[int], known: set[int], chunk: int
) -> frozenset[int]:
    """Return the numbers of the texts that begin a new scene.

    Of several that begin with the same chunk it is the last, whose scene is new if one of them brings it.
    """
    cuts: set[int] = set()
    for start, group in groupby(range(len(said)), lambda number: starts[number]):
        numbers = list(group)
        last = said[numbers[-1]].cut
        begins = any(said[n].cut or (said[n].cut is None and wordings[n].anew) for n in numbers)
        if start and (begins if last is None else last) and known.isdisjoint(range(start, start + chunk)):
            cuts.add(numbers[-1])
    return frozenset(cuts)


def chunk_starts(firsts: Sequence[int], chunks: Sequence[int], compression: Compression) -> tuple[int, ...]:
    """Return the latent frames at which texts begin that begin with these frames: each with a chunk.

    A text that begins inside a chunk waits for the next, unless more than half of the chunk would miss it.
    """
    edges = [*accumulate(chunks[:-1], initial=0)]
    first_frames = [0, *(compression.frames(edge) for edge in edges[1:])]
    nearest = [min(range(len(edges)), key=lambda i, f=first: abs(first_frames[i] - f)) for first in firsts]
    return tuple(edges[number] for number in nearest)


def without_flash(
    firsts: Sequence[int], starts: Sequence[int], chunks: Sequence[int], compression: Compression
) -> tuple[int, ...]:
    """Return starts of which none is the second latent frame: such texts begin at once, or a chunk later.

    Which of both is nearer to the last of them decides for all, for each follows the one before.
    """
    last = max(first for first, start in zip(firsts, starts, strict=True) if start == 1)
    later = 1 + chunks[1]
    to = later if len(chunks) > 2 and compression.frames(later) - last < last else 0
    return tuple(to if start == 1 else start for start in starts)


def checked_cues(cues: Sequence[Cue], frames: int, manifest: Manifest) -> list[Cue]:
    """Return the cues in order, their prompts checked. Raises InputError for one after the end."""
    for cue in cues:
        if round(cue.at * manifest.fps) >= frames:
            raise InputError(f"a cue begins at {cue.at:g} s, after the end: make the video longer")
    checked = (replace(cue, prompt=checked_prompt(cue.prompt)) for cue in cues)
    return sorted(checked, key=lambda cue: cue.at)


def checked_prompt(prompt: str, *, may_be_empty: bool = False) -> str:
    """Return the prompt without surrounding white space. Raises InputError for one that cannot be read."""
    text = prompt.strip()
    if not text and not may_be_empty:
        raise InputError('the prompt is empty: say what to film, e.g. "a red ball bounces on a wooden floor"')
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise InputError(
            f"the prompt has {len(text):,} characters: shorten it to at most {MAX_PROMPT_CHARACTERS:,}"
        )
    # A terminal may hand over bytes that are no text, which Python keeps as surrogates
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"the prompt {text[:40]!a} holds bytes that are no text: write it in UTF-8")
    return text
