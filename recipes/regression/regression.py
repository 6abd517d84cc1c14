"""Bayes by Backprop for regression: model, loss and training loop, for many networks at once.

Networks that differ in seed, data split or weight of the KL term have the same shape. Their
parameters are stacked and `torch.vmap` runs them together: small networks cost little more by the
hundred than one by one.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

import bbb
from bbb.files import atomic_path
from bbb.uncertainty import GaussianLikelihood
from recipes.common import script


def perceptron(inp: int, hidden: Sequence[int]) -> nn.Sequential:
    """Return linear layers with ReLU between them, and one output."""
    layers: list[nn.Module] = []
    for before, after in pairwise([inp, *hidden, 1]):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Regressor(nn.Module):
    """A network and the noise of its targets; forward is the loss.

    A Bayesian network has the negative ELBO. A plain one has its posterior's negative logarithm
    under a standard normal prior of all weights (weight decay). ``penalty`` is the factor of the
    second term: 1 is Bayes' rule, less is tempering, and without prior it is 0.

    Args:
        net: The network, plain or Bayesian.
        num_train: Number of training examples.
        penalty: Of the KL term or the weight decay, >= 0.
        sigma: Initial standard deviation of the noise, which is learned.
    """

    penalty: Tensor

    def __init__(
        self, net: nn.Module, num_train: int, penalty: float = 1.0, sigma: float = 1.0
    ) -> None:
        super().__init__()
        self.net = net
        self.likelihood = GaussianLikelihood(sigma)
        self.criterion = bbb.ELBO(net, num_train=num_train, nll=self.likelihood)
        self.bayesian = any(isinstance(m, bbb.layers.BayesianLayer) for m in net.modules())
        # A buffer is stacked as parameters are, so that each network has its own.
        self.register_buffer("penalty", torch.tensor(penalty))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss in nats per example of inputs (batch, features), targets (batch, 1)."""
        with self.criterion.record() as draws:
            output = self.net(x)
        _, nll, kl = self.criterion(output, y, draws=draws)
        if not self.bayesian:
            kl = torch.stack([0.5 * w.square().sum() for w in self.net.parameters()]).sum()
        return nll + self.penalty * kl / self.criterion.num_train


class Replicas:
    """Networks of one shape that are trained together, each on its own data.

    Args:
        models: One or more `Regressor`s, equal but for the values of parameters and buffers.
        x: Inputs of each, (replicas, examples, features).
        y: Targets of each, (replicas, examples, 1).
        seed: Of the batches and the draws.
    """

    def __init__(self, models: Sequence[Regressor], x: Tensor, y: Tensor, seed: int) -> None:
        self.model, self.x, self.y = copy.deepcopy(models[0]).train(), x, y
        self.state = torch.func.stack_module_state(list(models))
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = torch.optim.Adam(self.state[0].values())
        self.step = 0

    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        """Return each network's loss, (replicas,), on its batch: (replicas, batch, ...)."""

        def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], *xy: Tensor) -> Tensor:
            found: Tensor = torch.func.functional_call(self.model, (parameters, buffers), xy)
            return found

        return torch.vmap(loss, randomness="different")(*self.state, x, y)

    def train(
        self, steps: int, batch_size: int, lr: float, after_step: Callable[[], None] = lambda: None
    ) -> None:
        """Train with Adam what is left of ``steps``; the step size falls to 0 as a cosine.

        Args:
            steps: Of the whole training.
            batch_size: Examples of a step, drawn with replacement.
            lr: First step size.
            after_step: Called after each step.
        """
        rows = torch.arange(len(self.x)).unsqueeze(1)
        size = (len(self.x), min(batch_size, self.x.shape[1]))
        bayesian = self.model.bayesian
        with bbb.sampling(self.model, generator=self.generator) if bayesian else nullcontext():
            while self.step < steps:
                index = torch.randint(self.x.shape[1], size, generator=self.generator)
                for group in self.optimizer.param_groups:
                    group["lr"] = 0.5 * lr * (1 + math.cos(math.pi * self.step / steps))
                self.optimizer.zero_grad()
                # No network's gradient depends on another's loss; Adam scales each number alone.
                torch.autograd.backward(self.losses(self.x[rows, index], self.y[rows, index]).sum())
                self.optimizer.step()
                self.step += 1
                after_step()

    def models(self) -> Iterator[Regressor]:
        """Yield each network by itself."""
        values = self.state[0] | self.state[1]
        for i in range(len(self.x)):
            model = copy.deepcopy(self.model).eval()
            model.load_state_dict({name: value[i] for name, value in values.items()})
            yield model

    def save(self, file: Path, identity: dict[str, object]) -> None:
        """Write a checkpoint in one step; ``identity`` says of what."""
        state = {
            "identity": identity,
            "parameters": self.state[0],
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "step": self.step,
        }
        with atomic_path(file) as temporary:
            torch.save(state, temporary)

    def load(self, file: Path, identity: dict[str, object]) -> None:
        """Take up a checkpoint, if there is one.

        Raises:
            ConfigError: If it is of something else.
        """  # noqa: DOC502 (by check_same)
        if not file.exists():
            return
        state = torch.load(file, weights_only=True)
        script.check_same(state["identity"], identity, file.parent)
        with torch.no_grad():
            for name, value in state["parameters"].items():
                self.state[0][name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.step = state["step"]


@torch.no_grad()
def predictions(model: Regressor, x: Tensor, num_samples: int, seed: int = 0) -> Tensor:
    """Return predicted means of inputs (batch, features), (samples, batch, 1); 1 of a plain net."""
    if not model.bayesian:
        found: Tensor = model.net(x).unsqueeze(0)
        return found
    return bbb.predict(model.net, x, num_samples, num_samples, seed=seed)
