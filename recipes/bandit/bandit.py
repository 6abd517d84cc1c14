"""Agents that learn what to eat: Thompson sampling from a Bayesian network, and epsilon-greedy.

One network for each seed, all of them side by side in one: its layers multiply batches of matrices,
so that several networks cost little more than one. Losses are summed over the networks, which share
no parameter, hence learn independently.
"""

import torch
from torch import Tensor, nn

import bbb
from bbb.layers import LinearMapLayer


class StackedLinear(nn.Module):
    """``nets`` linear layers side by side: (nets, batch, inp) to (nets, batch, out)."""

    def __init__(self, nets: int, inp: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(nets, inp, out))
        self.bias = nn.Parameter(torch.empty(nets, 1, out))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Give all parameters the initial values of `torch.nn.Linear`."""
        bound = self.weight.shape[1] ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Map each network's batch."""
        return torch.baddbmm(self.bias, x, self.weight)


class BayesStackedLinear(LinearMapLayer, StackedLinear):
    """The same with a posterior over the weights: this is all that a layer of one's own takes."""

    twin = StackedLinear

    def linear_map(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        """Map each network's batch, with weights that the estimator chooses."""
        return torch.bmm(input, weight) if bias is None else torch.baddbmm(bias, input, weight)


def make_network(nets: int, inp: int, hidden: list[int], **bayesian: object) -> nn.Sequential:
    """Build networks of the expected reward.

    Args:
        nets: Number of networks.
        inp: Length of context and action.
        hidden: Units of the hidden layers.
        **bayesian: Arguments of a Bayesian layer; without any, the network is plain.

    Returns:
        A module from (nets, batch, inp) to (nets, batch, 1).
    """
    layer = BayesStackedLinear if bayesian else StackedLinear
    layers: list[nn.Module] = []
    for before, after in zip([inp, *hidden], [*hidden, 1], strict=True):
        layers += [layer(nets, before, after, **bayesian), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Greedy:
    """Does what the network thinks best, and with probability epsilon anything.

    Args:
        network: One plain network for each entry of ``epsilon``.
        epsilon: Probability of an action at random, (nets,).
        lr: Step size of Adam.
        generator: Of all randomness.
    """

    def __init__(
        self, network: nn.Module, epsilon: Tensor, lr: float, generator: torch.Generator
    ) -> None:
        self.network, self.epsilon, self.generator = network, epsilon, generator
        self.optimizer = torch.optim.Adam(network.parameters(), lr, fused=True)

    @torch.no_grad()
    def act(self, x: Tensor) -> Tensor:
        """Choose.

        Args:
            x: Context with each of the actions, (nets, actions, inp).

        Returns:
            Actions, (nets,).
        """
        best = self.network(x)[..., 0].argmax(1)
        anything = torch.randint(x.shape[1], best.shape, generator=self.generator)
        explore = torch.rand(best.shape, generator=self.generator) < self.epsilon
        return torch.where(explore, anything, best)

    def learn(self, x: Tensor, reward: Tensor, kl_weight: float) -> None:  # noqa: ARG002
        """Take one step towards the rewards of a minibatch.

        Args:
            x: Contexts and actions, (nets, batch, inp).
            reward: What they brought, (nets, batch).
            kl_weight: Of no account here.
        """
        self.optimizer.zero_grad()
        (self.network(x)[..., 0] - reward).square().mean(1).sum().backward()
        self.optimizer.step()


class Thompson:
    """Does what a draw from the posterior of the network thinks best.

    Args:
        network: Bayesian networks.
        lr: Step size of Adam.
        noise: Standard deviation of rewards around their mean, in the likelihood.
        samples: Draws of the weights for an action, and for a training step.
        generator: Of all randomness.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        lr: float,
        noise: float,
        samples: tuple[int, int],
        generator: torch.Generator,
    ) -> None:
        self.network, self.noise, self.samples, self.generator = network, noise, samples, generator
        self.optimizer = torch.optim.Adam(network.parameters(), lr, fused=True)

    @torch.no_grad()
    def act(self, x: Tensor) -> Tensor:
        """Choose by the mean of a few draws; each draw judges all actions.

        Args:
            x: Context with each of the actions, (nets, actions, inp).

        Returns:
            Actions, (nets,).
        """
        expected = torch.zeros(x.shape[:2])
        for _ in range(self.samples[0]):
            with bbb.fixed_sample(self.network, generator=self.generator):
                expected += self.network(x)[..., 0]
        return expected.argmax(1)

    def learn(self, x: Tensor, reward: Tensor, kl_weight: float) -> None:
        """Take one step of Bayes by Backprop on a minibatch.

        Args:
            x: Contexts and actions, (nets, batch, inp).
            reward: What they brought, (nets, batch).
            kl_weight: Of the KL divergence, beside the likelihood's mean; 0 leaves it out.
        """
        self.optimizer.zero_grad()
        nll = torch.zeros(())
        sampling = bbb.sampling(self.network, generator=self.generator)
        with bbb.record_draws(self.network) as draws, sampling:
            for _ in range(self.samples[1]):
                error = (self.network(x)[..., 0] - reward) / self.noise
                nll = nll + error.square().mean(1).sum() / (2 * self.samples[1])
        loss = nll
        if kl_weight:
            kl = bbb.kl_divergence(self.network, draws=draws, generator=self.generator)
            loss = loss + kl_weight * kl
        torch.autograd.backward(loss)
        self.optimizer.step()


class Buffer:
    """The last experiences of each network.

    Args:
        nets: Number of networks.
        size: Experiences to keep.

    Attributes:
        rows: Which row of the inputs each was, (nets, size).
        rewards: What it brought, (nets, size).
        count: Experiences so far.
    """

    def __init__(self, nets: int, size: int) -> None:
        self.rows = torch.zeros(nets, size, dtype=torch.long)
        self.rewards = torch.zeros(nets, size)
        self.count = 0

    def add(self, rows: Tensor, rewards: Tensor) -> None:
        """Keep one experience of each network, both (nets,), in place of the oldest."""
        place = self.count % self.rows.shape[1]
        self.rows[:, place], self.rewards[:, place] = rows, rewards
        self.count += 1

    def __len__(self) -> int:
        return min(self.count, self.rows.shape[1])

    def draw(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw rows and rewards with replacement, (nets, batch_size) each."""
        size = len(self.rows), batch_size
        index = torch.randint(len(self), size, generator=generator)
        return self.rows.gather(1, index), self.rewards.gather(1, index)
