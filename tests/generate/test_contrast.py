"""What is remembered of a video does not grow stronger, chunk by chunk."""

import torch

from unstatic.generate.contrast import Contrast


def test_what_is_remembered_is_never_stronger_than_the_first_chunk_under_its_text():
    source = torch.Generator().manual_seed(0)
    first, later = (torch.randn(2, 3, 4, 5, 5, generator=source) + 7 for _ in range(2))
    strong = 7 + (later - 7) * torch.tensor([1.6, 0.1, 1.0])[:, None, None, None]
    none, some = [False] * 4, [True, False, False, True]
    contrast = Contrast()
    still = first[:, :, :1]
    assert torch.equal(contrast.bounded(still, [False]), still), "one frame is no measure"
    assert torch.equal(contrast.bounded(first, none), first)
    kept = contrast.bounded(strong, none)
    spread, mean = torch.std_mean(kept, dim=(2, 3, 4))
    assert (spread <= first.std((2, 3, 4)) * 1.0001).all()
    torch.testing.assert_close(mean, strong.mean((2, 3, 4)))
    torch.testing.assert_close(kept[:, 1], strong[:, 1], msg="what is weaker stays")
    assert torch.equal(contrast.bounded(strong, some)[:, :, [0, 3]], strong[:, :, [0, 3]])
    entered = 7 + (later - 7) * torch.tensor([1.0, 3.0, 1.0])[:, None, None, None]
    kept = contrast.bounded(entered, none)
    torch.testing.assert_close(kept[:, 1], entered[:, 1], msg="what comes into the picture is remembered")
    contrast.begin()
    assert torch.equal(contrast.bounded(strong, none), strong)
