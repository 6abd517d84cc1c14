"""Bayesian recurrent layers: one draw of the weights for a whole sequence, on torch's kernels.

All options of the twins work, packed sequences too. The estimator is "weight": a recurrent layer's
output is not linear in its weights, and noise that is drawn anew at each time step, as "local"
would have it, is another model (the weights are uncertain, not the steps).

Torch has no `torch.vmap` rule for its recurrent kernels, so that `bbb.predict` needs its default
``chunk_size=None`` for such a model; and as torch.nn's own these layers are left out of the graph
by `torch.compile`.
"""

import weakref
from collections.abc import Mapping

from torch import Tensor, nn

from bbb.layers.base import BayesianLayer
from bbb.layers.options import LayerOptions
from bbb.layers.posterior import Shared
from bbb.layers.standin import Standin


class _BayesRNN(BayesianLayer):
    """What all recurrent layers share.

    Torch's layers keep a list of their parameters besides. A Bayesian one has an empty list, and
    each forward makes its own, so that none is ever stale.
    """

    _flat_weights_names: list[str]
    _flat_weights: list[Tensor | None]
    _flat_weight_refs: list[weakref.ReferenceType[nn.Parameter] | None]

    def weight_names(self) -> tuple[str, ...]:
        """``weight_ih_l0``, ``weight_hh_l0``, ...; with ``proj_size`` also ``weight_hr_l0``."""
        return tuple(name for name in self._flat_weights_names if name.startswith("weight_"))

    def bias_names(self) -> tuple[str, ...]:
        """``bias_ih_l0``, ``bias_hh_l0``, ..."""
        return tuple(name for name in self._flat_weights_names if name.startswith("bias_"))

    def make_bayesian_(self, options: LayerOptions, shared: Shared | None = None) -> None:
        """Replace each weight by its posterior; see `BayesianLayer.make_bayesian_`."""
        super().make_bayesian_(options, shared)
        self._init_flat_weights()

    def make_deterministic_(self, weights: Mapping[str, Tensor]) -> None:
        """Become the torch.nn twin again, with the given parameters."""
        super().make_deterministic_(weights)
        self._init_flat_weights()  # by now the twin's

    def _init_flat_weights(self) -> None:
        if self.bayesian_names:
            empty = [None] * len(self._flat_weights_names)
            self._flat_weights, self._flat_weight_refs = list(empty), list(empty)
        else:
            super()._init_flat_weights()  # type: ignore[misc]

    def _standin(self, weights: Mapping[str, object]) -> Standin:
        names = self._flat_weights_names
        flat = [weights[name] if name in weights else getattr(self, name) for name in names]
        plain = {
            "_parameters": dict(zip(names, flat, strict=True)),
            "_flat_weights": flat,
            "_flat_weight_refs": [None] * len(flat),
        }
        return Standin(self, plain)


class BayesRNN(_BayesRNN, nn.RNN):
    """`torch.nn.RNN` with a Gaussian posterior; arguments of both, see `BayesianLayer`."""

    twin = nn.RNN


class BayesGRU(_BayesRNN, nn.GRU):
    """`torch.nn.GRU` with a Gaussian posterior; arguments of both, see `BayesianLayer`."""

    twin = nn.GRU


class BayesLSTM(_BayesRNN, nn.LSTM):
    """`torch.nn.LSTM` with a Gaussian posterior; arguments of both, see `BayesianLayer`."""

    twin = nn.LSTM
