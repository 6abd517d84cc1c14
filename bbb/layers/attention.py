"""Bayesian multi-head attention, which makes torch's transformer layers Bayesian too.

A transformer layer needs no class of its own: its attention and linear layers are converted. Where
torch computes the whole layer by one fused kernel (in ``eval()`` without gradients), it does so
with the means, or with the draw of `bbb.fixed_sample`; where forwards draw, it calls the layers.
Inside of `torch.vmap` (``chunk_size`` of `bbb.predict`) those kernels, and torch's attention on a
CPU, go from one sample to the next, and torch warns of it.
"""

from typing import Any

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from bbb.layers.base import BayesianLayer
from bbb.layers.modes import MEAN, overriding, policy_of
from bbb.layers.options import LayerOptions
from bbb.layers.posterior import Shared
from bbb.layers.standin import Standin


class _BayesOutProjection(BayesianLayer, NonDynamicallyQuantizableLinear):
    """The output projection of an attention layer, which is its own Bayesian layer.

    The attention layer does not call it but takes a draw of its weights.
    """

    twin = NonDynamicallyQuantizableLinear

    def _reset_twin(self, standin: Standin) -> None:
        super()._reset_twin(standin)
        if standin.bias is not None:
            nn.init.zeros_(standin.bias)


class BayesMultiheadAttention(BayesianLayer, nn.MultiheadAttention):
    """`torch.nn.MultiheadAttention` with a Gaussian posterior; see `BayesianLayer`.

    The projections of queries, keys, values and output have a posterior; their biases, and those
    that ``add_bias_kv`` appends, where ``bayesian_bias`` is set. The estimator is "weight": all
    tokens and all examples of a call see the same weights.
    """

    twin = nn.MultiheadAttention

    def weight_names(self) -> tuple[str, ...]:
        """``in_proj_weight``, or one for queries, keys and values each."""
        names = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
        return tuple(name for name in names if getattr(self, name) is not None)

    def bias_names(self) -> tuple[str, ...]:
        """``in_proj_bias``, and with ``add_bias_kv`` ``bias_k`` and ``bias_v``."""
        names = ("in_proj_bias", "bias_k", "bias_v")
        return tuple(name for name in names if getattr(self, name) is not None)

    @classmethod
    def refusal(cls, plain: nn.Module) -> str | None:
        """Return why ``plain`` cannot become Bayesian; None if it can."""
        projection: Any = plain.out_proj
        if type(projection) is not _BayesOutProjection.twin:
            return f"its out_proj is a {type(projection).__name__}"
        return super().refusal(plain) or _BayesOutProjection.refusal(projection)

    def make_bayesian_(self, options: LayerOptions, shared: Shared | None = None) -> None:
        """Replace each weight by its posterior, those of ``out_proj`` too."""
        shared = {} if shared is None else shared
        super().make_bayesian_(options, shared)
        projection: Any = self.out_proj
        projection.__class__ = _BayesOutProjection
        projection.make_bayesian_(options, shared)

    def drawn(self) -> Standin:
        """Return this layer with weights drawn, or with the means, for one forward of the twin."""
        projection: Any = self.out_proj
        weights = self._weights(policy_of(self))
        return self._standin({**weights, "out_proj": projection.drawn()})

    def _reset_twin(self, standin: Standin) -> None:
        # Torch's own leaves the weights of the output projection as their constructor made them.
        self.out_proj.reset_parameters()
        with overriding({self.out_proj: MEAN}):  # its bias is read
            standin._reset_parameters()  # noqa: SLF001 - the twin's name for it
