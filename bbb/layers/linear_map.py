r"""Layers whose output is linear in the weight, and the estimators that this allows.

All estimators have the same parameters and the same expected output and differ in how the noise is
shared. With ``W ~ N(mu, sigma^2)``:

* ``"weight"``: one draw of W for the whole call. A true function sample: all rows, frames and
  examples see the same weights. The cost above torch.nn is one normal per weight.
* ``"local"`` (local reparameterisation, Kingma et al. 2015): the output itself is drawn,
  ``N(x mu, x^2 sigma^2)``, independently for each output number. Mean and variance of each output
  are exact and the gradient's variance is lower, but there is no one weight behind the outputs:
  over a sequence every frame gets its own noise. Costs a second matrix product (in float32 at
  least, because sigma^2 leaves half precision's range), and one normal per output.
* ``"flipout"`` (Wen et al. 2018): one draw of W, whose noise is multiplied by random signs per
  example (rank one: inputs times outputs). Each example sees one weight for all its frames,
  and examples are decorrelated. Costs a second matrix product.
* ``"auto"``: whichever is cheaper by shape. ``"local"`` for a linear layer whose prior has a
  closed-form KL and whose input is 1-d, or 2-d with at most 16 rows (64 where no gradients are
  wanted; ``in_features`` where `bbb.predict` draws many samples together, which share the work);
  ``"weight"`` for everything else: convolutions, sequences, larger batches, and priors that need
  the forward's draw.

``fixed_sample``, and ``predict`` with ``joint`` or ``seed``, ask for one function, hence use
``"weight"`` always.
"""

from collections.abc import Callable
from typing import ClassVar, TypeAlias, cast

import torch
from torch import Tensor

from bbb import _numerics
from bbb.layers.base import BayesianLayer
from bbb.layers.modes import Draw, Policy, policy_of
from bbb.layers.options import Estimator, Exact

Map: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""``(input, weight, bias) -> output``."""


class LinearMapLayer(BayesianLayer):
    """A Bayesian layer whose output is linear in weight and bias.

    Attributes:
        spatial_dims: Axes behind the channel axis of inputs and outputs: 0 for a linear layer.
    """

    estimators: ClassVar[tuple[Estimator, ...]] = ("auto", "weight", "local", "flipout")
    spatial_dims: ClassVar[int] = 0

    def linear_map(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        """The twin's forward, with explicit weights: what a subclass has to say.

        Args:
            input: As the twin's.
            weight: A draw of the weight, its mean, or its variance.
            bias: The same of the bias; None for none.

        Returns:
            As the twin's; linear in weight and bias.
        """
        raise NotImplementedError

    def _prefers_local(self, input: Tensor, policy: Policy) -> bool:  # noqa: A002, ARG002
        """Whether "auto" means "local" for this input, where the prior allows it."""
        return False

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        """Return what the twin returns, with weights drawn by the estimator, or with the means.

        Args:
            input: As the twin's.

        Returns:
            As the twin's.
        """
        return self._estimate(input, self.linear_map)

    def _estimate(self, input: Tensor, run: Map) -> Tensor:  # noqa: A002
        policy = policy_of(self)
        estimator = self.estimator_for(input, policy)
        if estimator == "local":
            return self._local(input, run, policy)
        if estimator == "flipout":
            return self._flipout(input, run, policy)
        weights = self._weights(policy)
        return run(input, weights["weight"], self._bias(weights))

    def estimator_for(self, input: Tensor, policy: Policy) -> Exact:  # noqa: A002
        """Return the estimator that a forward of ``input`` uses."""
        if policy.mean or policy.eps is not None:
            return "weight"
        if self.options.estimator != "auto":
            return self.options.estimator
        local = self.options.prior.closed_form and self._prefers_local(input, policy)
        return "local" if local else "weight"

    def _bias(self, weights: dict[str, Tensor]) -> Tensor | None:
        if "bias" in weights:
            return weights["bias"]
        return cast("Tensor | None", self.bias)

    def _local(self, input: Tensor, run: Map, policy: Policy) -> Tensor:  # noqa: A002
        mu = self.posterior().mu
        bayesian_bias = "bias" in self.bayesian_names
        bias = self.posterior("bias").mu if bayesian_bias else cast("Tensor | None", self.bias)
        mean = run(input, mu, bias)
        with torch.autocast(input.device.type, enabled=False):
            square = _numerics.at_least_float32(input).square()
            var = self._variance("weight")
            # A sigma tied over outputs gives one variance for all of them, unless grouped
            # outputs see different inputs, or each has a bias.
            if bayesian_bias or getattr(self, "groups", 1) != 1:
                var = var.expand_as(mu)
            bias_var = self._variance("bias") if bayesian_bias else None
            output_var = run(square.to(var.dtype), var, bias_var)
            sigma = _numerics.safe_sqrt(output_var).to(mean.dtype)
        eps = _numerics.standard_normal(mean.shape, mean, policy.generator)
        return torch.addcmul(mean, sigma, eps)

    def _variance(self, name: str) -> Tensor:
        """Return sigma^2 of a weight, float32 or better."""
        if self._is_simple(name):
            return self._moment(name, None)
        return _numerics.softplus(_numerics.at_least_float32(self.posterior(name).rho)).square()

    def _flipout(self, input: Tensor, run: Map, policy: Policy) -> Tensor:  # noqa: A002
        means, noise = {}, {}
        for name in self.bayesian_names:
            posterior, eps = self.posterior(name), self._eps(name, policy)
            means[name], noise[name] = posterior.mu, posterior.sigma * eps
            self._record(name, Draw(means[name] + noise[name], eps))
        mean = run(input, means["weight"], self._bias(means))
        signed = input * self._signs(input, policy)
        deviation = run(signed, noise["weight"], noise.get("bias"))
        return mean + deviation * self._signs(deviation, policy)

    def _signs(self, like: Tensor, policy: Policy) -> Tensor:
        """Random signs per example and channel, shape (batch, 1, ..., channels, 1, ...)."""
        channel = like.dim() - 1 - self.spatial_dims
        shape = [1] * like.dim()
        shape[channel] = like.shape[channel]
        if channel > 0:
            shape[0] = like.shape[0]
        return _numerics.random_signs(torch.Size(shape), like, policy.generator)
