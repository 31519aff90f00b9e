"""Shallow classifiers: numbers that describe something in, the chances of words out.

One layer of hidden units between standardised facts and words, nothing that looks at pictures. A fitted one
is six small tables.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

LARGEST_FACT = 6.0  # standard deviations: what is farther out than anything that was fitted says no more

Facts = Float[Tensor, "n facts"]
Logits = Float[Tensor, "n words"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shallow:
    """A fitted classifier: `words = outer @ relu(inner @ (facts - middle) / spread + bias) + prior`."""

    middle: Float[Tensor, "facts"]
    spread: Float[Tensor, "facts"]
    inner: Float[Tensor, "hidden facts"]
    bias: Float[Tensor, "hidden"]
    outer: Float[Tensor, "words hidden"]
    prior: Float[Tensor, "words"]

    def __call__(self, facts: Facts) -> Logits:
        """Return logits of the words; facts that are no numbers count as ordinary."""
        return self.judged(standardised(facts, self.middle, self.spread))

    def judged(self, facts: Facts) -> Logits:
        """Return logits for facts that are standardised already."""
        return F.linear(F.relu(F.linear(facts, self.inner, self.bias)), self.outer, self.prior)

    def per_pixel(self, facts: Float[Tensor, "t facts h w"]) -> Float[Tensor, "t words h w"]:
        """Return logits for facts of every pixel, of which none may be far out; fast."""
        inner = self.inner / self.spread
        bias = self.bias - inner @ self.middle
        hidden = F.relu(inner @ facts.flatten(2) + bias[:, None])
        return (self.outer @ hidden + self.prior[:, None]).unflatten(2, facts.shape[2:])


def standardised(facts: Facts, middle: Float[Tensor, "facts"], spread: Float[Tensor, "facts"]) -> Facts:
    """Return facts in standard deviations from their mean, limited to LARGEST_FACT."""
    return ((facts - middle) / spread).nan_to_num(0.0).clamp(-LARGEST_FACT, LARGEST_FACT)
