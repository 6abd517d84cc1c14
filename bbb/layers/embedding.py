"""Bayesian embeddings.

The row of ``padding_idx`` is no weight: it is the mean's row in each draw, does not count in the
KL divergence, and gets no gradient (but from an output layer that is tied to the table).

* ``"weight"``: one draw of the whole table: a token has the same vector wherever it occurs. One
  normal per weight of the table.
* ``"local"`` (`BayesEmbedding`): the vector of each looked-up token is drawn by itself. Mean and
  variance of each output are exact, the gradient's variance is lower, and the cost is one normal
  per output; but a token that occurs twice has two vectors.
* ``"auto"``: ``"local"`` for a single index, or a batch of at most ``num_embeddings``, where the
  prior has a closed-form KL; ``"weight"`` for everything else, so for sequences.

Torch rescales the table itself for ``max_norm``, which would change a draw and not the posterior,
and the gradient of the KL divergence is not sparse: tables with either option are refused.

A table that is also the weight of an output layer shares mean and rho with it after conversion,
and counts once in the KL divergence, but each of both layers draws its own noise. Where both have
to see the same draw, as a tied model strictly means it, run the forward in `bbb.fixed_sample` with
a generator: it gives shared weights the same noise, and gradients flow.
"""

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bbb import _gaussian, _numerics
from bbb.layers.base import BayesianLayer
from bbb.layers.linear_map import LinearMapLayer, Map
from bbb.layers.modes import Policy
from bbb.layers.options import Estimator
from bbb.layers.posterior import Posterior


class _BayesTable(BayesianLayer):
    """What all embeddings share."""

    num_embeddings: int
    padding_idx: int | None

    @classmethod
    def refusal(cls, plain: nn.Module) -> str | None:
        """Return why ``plain`` cannot become Bayesian; None if it can."""
        table: Any = plain
        if table.max_norm is not None:
            return "it has max_norm, which rescales the table itself"
        if table.sparse:
            return "it has sparse=True, and the gradient of the KL divergence is not sparse"
        return super().refusal(plain)

    @property
    def is_whole(self) -> bool:
        """Whether all rows are random: without ``padding_idx``."""
        return self.padding_idx is None

    def posterior(self, name: str = "weight") -> Posterior:
        """Return mean and rho of the weight ``name``; sigma of the row of ``padding_idx`` is 0."""
        mu, rho = super().posterior(name)
        if self.padding_idx is not None:
            rho = rho.expand_as(mu).clone()
            rho[self.padding_idx] = -math.inf
        return Posterior(mu, rho)

    def _random(self, name: str, tensor: Tensor) -> Tensor:
        padding, mask = self.padding_idx, self.mask(name)
        if padding is None or (mask is None and tensor.shape[:1] != (self.num_embeddings,)):
            return super()._random(name, tensor)  # which may be one number for all rows
        if mask is not None:
            mask = mask.clone()
            mask[padding] = False
            return tensor.expand_as(mask)[mask]
        rest = tensor[padding + 1 :]
        return torch.cat((tensor[:padding], rest)) if padding else rest


class BayesEmbedding(_BayesTable, LinearMapLayer, nn.Embedding):
    """`torch.nn.Embedding` with a Gaussian posterior; arguments of both, see `BayesianLayer`."""

    twin = nn.Embedding
    estimators: ClassVar[tuple[Estimator, ...]] = ("auto", "weight", "local")
    bias: ClassVar[None] = None

    def linear_map(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002, ARG002
        """The twin's forward, with explicit weights."""
        frequency = self.scale_grad_by_freq
        return F.embedding(input, weight, self.padding_idx, scale_grad_by_freq=frequency)

    def _prefers_local(self, input: Tensor, policy: Policy) -> bool:  # noqa: A002, ARG002
        return input.dim() <= 1 and input.numel() <= self.num_embeddings

    def _local(self, input: Tensor, run: Map, policy: Policy) -> Tensor:  # noqa: A002
        mu, rho = self.posterior()
        mean, rows = run(input, mu, None), run(input, rho.expand_as(mu), None)
        eps = _numerics.standard_normal(mean.shape, mean, policy.generator)
        return _gaussian.draw_gaussian(mean, rows, eps)


class BayesEmbeddingBag(_BayesTable, nn.EmbeddingBag):
    """`torch.nn.EmbeddingBag` with a Gaussian posterior; its estimator is "weight"."""

    twin = nn.EmbeddingBag
