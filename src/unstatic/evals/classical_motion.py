"""What moves in a clip, in numbers: the picture as a whole, the things in it, and what goes on inside them.

Motion of an area is fitted, not searched for: of all motions that are linear in x and y the one that explains
the change from one frame to the next best, by weighted least squares (Bergen and others, 1992, ECCV).
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from unstatic.evals.classical_outlines import Boxes, Cuts
from unstatic.evals.classical_pixels import box

FIT_ROUNDS = 3
NOISE = 0.02  # of grey values: changes that are left over and larger than this are something else's
STIFFNESS = 2e-4  # a picture without marks does not move
BLUR = 3
FINE = 32  # rows: of pictures with more only every other row and column is read
LARGEST_FLOW = 4.0  # pixels a frame
WAVES = 10  # of a signal over the clip
SHADOW_REACH = 1.2  # sizes of a thing
PARTS = 4  # each way, of a picture

Grey = Float[Tensor, "t h w"]
Flow = Float[Tensor, "t 6"]
Signals = Float[Tensor, "t signals"]


def fitted_motion(before: Grey, now: Grey, weight: Grey) -> tuple[Flow, Float[Tensor, "t 3"]]:
    """Fit u = a + b x + c y, v = d + e x + f y (pixels a frame; x, y from -1 to 1) to pairs of pictures.

    Also returns how sure that is: the share of change that is left, the change, and the marks there are.
    """
    smooth = [box(box(each[:, None], BLUR), BLUR)[:, 0] for each in (before, now)]
    mean, change = (smooth[0] + smooth[1]) / 2, smooth[1] - smooth[0]
    across = F.pad(mean[:, :, 2:] - mean[:, :, :-2], (1, 1)) / 2
    down = F.pad(mean[:, 2:] - mean[:, :-2], (0, 0, 1, 1)) / 2
    y = torch.linspace(-1, 1, mean.shape[1])[:, None].expand_as(mean[0])
    x = torch.linspace(-1, 1, mean.shape[2])[None, :].expand_as(mean[0])
    slopes = torch.stack([across, across * x, across * y, down, down * x, down * y], dim=-1)
    sparse = slice(None, None, 2 if mean.shape[1] > FINE else 1)  # of a smooth picture that is enough
    slopes = rearrange(slopes[:, sparse, sparse], "t h w p -> t (h w) p")
    change, weight = (rearrange(each[:, sparse, sparse], "t h w -> t (h w)") for each in (change, weight))

    trust, flow = weight, torch.zeros(len(mean), 6)
    for _ in range(FIT_ROUNDS):
        total = trust.sum(1) + 1e-3
        square = torch.einsum("tn,tnp,tnq->tpq", trust, slopes, slopes) / total[:, None, None]
        side = torch.einsum("tn,tnp,tn->tp", trust, slopes, change) / total[:, None]
        flow = -torch.linalg.solve(square + STIFFNESS * torch.eye(6), side)
        left = change + torch.einsum("tnp,tp->tn", slopes, flow)
        trust = weight / (1 + (left / NOISE) ** 2)

    total = weight.sum(1) + 1e-3
    changed, unexplained = (((each.abs() * weight).sum(1)) / total for each in (change, left))
    marks = (slopes[..., [0, 3]].square().sum(-1) * weight).sum(1) / total
    sureness = torch.stack(
        [unexplained / (changed + 1e-3), (changed + 1e-3).log(), (marks + 1e-6).log()], dim=1
    )
    return flow.clamp(-LARGEST_FLOW, LARGEST_FLOW), sureness


def camera_signals(before: Grey, now: Grey, background: Grey) -> Signals:
    """Return the motion of the background, fine and coarse: of all of it, its upper and its lower part."""
    signals: list[Signals] = []
    for pooled in (1, 2):  # fast motion is seen in small pictures only
        pictures = [F.avg_pool2d(each, pooled) for each in (before, now, background)]
        rows = torch.linspace(-1, 1, pictures[0].shape[1])[None, :, None]
        for part in (torch.ones_like(rows), (rows < -0.2).float(), (rows > 0.1).float()):
            signals += fitted_motion(pictures[0], pictures[1], pictures[2] * part)
    return torch.cat(signals, dim=1)


def track_signals(boxes: Boxes, size: tuple[int, int]) -> Signals:
    """Return where a thing is and how large it looks, in shares of the picture's height and width."""
    height, width = size
    area = (height * width) ** 0.5
    return torch.stack(
        [
            boxes.x / width * 2 - 1,
            boxes.y / height * 2 - 1,
            boxes.left / width * 2 - 1,
            boxes.right / width * 2 - 1,
            boxes.top / height * 2 - 1,
            boxes.bottom / height * 2 - 1,
            (boxes.area / area**2 + 1e-3).log(),
            ((boxes.bottom - boxes.top).clamp(min=1) / (boxes.right - boxes.left).clamp(min=1)).log(),
        ],
        dim=1,
    )


def inner_signals(before: Cuts, now: Cuts) -> Signals:
    """Return how a thing moves inside a square that stays where it is, and how its look changes."""
    flow, sureness = fitted_motion(before.colours.mean(1), now.colours.mean(1), now.cover)
    looks = now.colours * now.cover[:, None]
    changes = [(looks - looks.roll(gap, 0)).abs().mean((1, 2, 3)) for gap in (1, 2)]
    outlines = [(now.cover - now.cover.roll(gap, 0)).abs().mean((1, 2)) for gap in (1, 2)]
    for each, gap in zip(changes + outlines, (1, 2, 1, 2), strict=True):
        each[:gap] = 0.0
    return torch.cat([flow, sureness, torch.stack(changes + outlines, dim=1)], dim=1)


def shadow_signals(now: Grey, background: Grey, boxes: Boxes) -> Signals:
    """Return how dark the ground beside a thing is, and where: its shadow swings as a camera orbits."""
    height, width = now.shape[1:]
    size = torch.maximum(boxes.bottom - boxes.top, boxes.right - boxes.left).clamp(min=3)[:, None, None]
    y = (torch.arange(height)[:, None] - boxes.bottom[:, None, None]) / size
    x = (torch.arange(width)[None, :] - boxes.x[:, None, None]) / size
    dark = (now.median(2, keepdim=True).values - now).clamp(min=0) * background
    dark = dark * (-(x**2 + (2 * y) ** 2) / 2 / SHADOW_REACH**2).exp()
    total = dark.sum((1, 2)) + 1e-2
    places = [(dark * each).sum((1, 2)) / total for each in (x, y, x**2 - y**2, x * y)]
    return torch.stack([(total / size[:, 0, 0] ** 2 + 1e-3).log(), *places], dim=1)


def lasting_change(now: Grey, background: Grey) -> Float[Tensor, "numbers"]:
    """Return how different the background is after half the clip and at its end, part by part."""
    last, half = len(now) - 1, len(now) // 2
    spans = ((0, half), (half, last), (0, last))
    changes = [(now[b] - now[a]).abs() * background[a] * background[b] for a, b in spans]
    pooled = F.adaptive_avg_pool2d(torch.stack(changes)[:, None], PARTS)
    return (pooled + 1e-3).log().flatten()


def summary(signals: Signals) -> Float[Tensor, "numbers"]:
    """Describe signals over a clip: themselves, their steps, ranges and waves."""
    steps = signals.diff(dim=0)
    ends = signals[-3:].mean(0) - signals[:3].mean(0)
    extremes = [steps.amax(0), steps.amin(0), steps.abs().mean(0), steps.diff(dim=0).std(0)]
    ranges = [signals.mean(0), signals.std(0), signals.amax(0) - signals.amin(0)]
    return torch.cat([signals.flatten(), ends, *extremes, *ranges, waves(signals)])


def brief(signals: Signals) -> Float[Tensor, "numbers"]:
    """Describe signals in four numbers each: mean, spread, mean of the clip's first and of its last third."""
    third = len(signals) // 3
    return torch.cat([signals.mean(0), signals.std(0), signals[:third].mean(0), signals[-third:].mean(0)])


def waves(signals: Signals) -> Float[Tensor, "numbers"]:
    """Return how strong the first WAVES waves over the clip are in each signal."""
    found = torch.fft.rfft(signals - signals.mean(0), dim=0).abs()[1 : WAVES + 1]
    return found.flatten() / len(signals)
