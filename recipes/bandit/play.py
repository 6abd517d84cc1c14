"""Let agents judge mushrooms and learn; a run that was killed goes on, bit for bit.

    python -m recipes.bandit.play --config recipes/bandit/conf/short.yaml --data FILE --exp-dir EXP

EXP/bbb and EXP/greedy each hold checkpoint.pt, and once it is done run.json: one network for each
seed (and epsilon), side by side in one run.
"""

import functools
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

import bbb
from bbb.files import atomic_path, write_text
from recipes.bandit.bandit import Buffer, Greedy, Thompson, make_network
from recipes.bandit.environment import Mushrooms, Stream, load_mushrooms
from recipes.bandit.settings import Settings
from recipes.common import script
from recipes.common.options import read_options

CURVE_POINTS = 500


class Run:
    """One kind of agent with all seeds, to be saved and resumed.

    Args:
        settings: Of the run.
        kind: "bbb" or "greedy".
        mushrooms: The data.
    """

    def __init__(self, settings: Settings, kind: str, mushrooms: Mushrooms) -> None:
        self.settings, self.kind, self.inputs = settings, kind, mushrooms.inputs
        self.folder = settings.exp_dir / kind
        self.identity = settings.identity(kind) | {"mushrooms": mushrooms.digest}
        self.players = settings.players(kind)
        seeds = [player["seed"] for player in self.players]
        self.stream = Stream(mushrooms.edible, seeds, settings.steps)
        # Randomness of the agents must not be that of the mushrooms.
        self.generator = torch.Generator().manual_seed(1_000_000 + settings.seeds[0])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2_000_000 + settings.seeds[0])
            self.agent = self.make_agent(kind)
        self.buffer = Buffer(len(seeds), settings.buffer_size)
        self.ate = torch.zeros(len(seeds), settings.steps, dtype=torch.bool)
        self.step, self.cpu_seconds = 0, 0.0

    def make_agent(self, kind: str) -> Greedy | Thompson:
        """Return the agent of all networks."""
        settings = self.settings
        sizes = len(self.players), self.inputs.shape[1], settings.hidden
        if kind == "greedy":
            epsilon = torch.tensor([player["epsilon"] for player in self.players])
            return Greedy(make_network(*sizes), epsilon, settings.greedy_lr, self.generator)
        prior = bbb.priors.ScaleMixture(settings.pi, settings.sigma1, settings.sigma2)
        sigma = settings.sigma_init
        options = {"sigma_init": sigma, "estimator": settings.estimator, "bayesian_bias": True}
        network = make_network(*sizes, prior=prior, **options)
        return Thompson(
            network,
            lr=settings.lr,
            noise=settings.noise,
            samples=(settings.act_samples, settings.train_samples),
            generator=self.generator,
        )

    def interact(self) -> None:
        """Judge one mushroom of each network, bear the consequence and learn from the buffer."""
        mushroom = self.stream.mushroom[:, self.step]
        rows = mushroom[:, None] * 2 + torch.arange(2)
        action = self.agent.act(self.inputs[rows])
        ate = action.bool()
        self.ate[:, self.step] = ate
        reward = torch.where(ate, self.stream.reward[:, self.step], 0.0)
        self.buffer.add(mushroom * 2 + action, reward)
        self.learn()
        self.step += 1

    def learn(self) -> None:
        """Take the training steps that follow a mushroom."""
        settings = self.settings
        num_train = settings.num_train or len(self.buffer)
        for group in self.agent.optimizer.param_groups:
            group["lr"] = settings.step_size(self.kind, self.step)
        for number in settings.training_steps(self.step):
            drawn, rewards = self.buffer.draw(settings.batch_size, self.generator)
            with_kl = number % settings.kl_every == 0
            kl_weight = settings.kl_every / num_train if with_kl else 0.0
            self.agent.learn(self.inputs[drawn], rewards, kl_weight)

    def save(self) -> None:
        """Write the checkpoint in one step."""
        state = {
            "identity": self.identity,
            "network": self.agent.network.state_dict(),
            "optimizer": self.agent.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "buffer": (self.buffer.rows, self.buffer.rewards, self.buffer.count),
            "ate": self.ate[:, : self.step].clone(),
            "cpu_seconds": self.cpu_seconds,
        }
        with atomic_path(self.folder / "checkpoint.pt") as temporary:
            torch.save(state, temporary)

    def load(self) -> None:
        """Take up the checkpoint, if there is one.

        Raises:
            ConfigError: If it is of a run with other settings; it names them.
        """  # noqa: DOC502 (by check_same)
        file = self.folder / "checkpoint.pt"
        if not file.exists():
            return
        state = torch.load(file, weights_only=True)
        script.check_same(state["identity"], self.identity, self.folder)
        self.agent.network.load_state_dict(state["network"])
        self.agent.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.buffer.rows, self.buffer.rewards, self.buffer.count = state["buffer"]
        self.step = state["ate"].shape[1]
        self.ate[:, : self.step] = state["ate"]
        self.cpu_seconds = state["cpu_seconds"]

    def play(self, advance: Callable[[int], None]) -> None:
        """Play what is left, then write run.json.

        Args:
            advance: Told the number of steps after each part.
        """
        settings = self.settings
        while self.step < settings.steps:
            begin, before = time.process_time(), self.step
            stop = min(settings.steps, before + settings.save_every - before % settings.save_every)
            while self.step < stop:
                self.interact()
            self.cpu_seconds += time.process_time() - begin
            self.save()
            advance(self.step - before)
        write_text(self.folder / "run.json", json.dumps(self.result()) + "\n")

    def result(self) -> dict[str, Any]:
        """Return the settings, and the cumulative regret of each network at some of the steps."""
        steps = curve_steps(self.settings.steps)
        regret = self.stream.regret(self.ate).cumsum(1, dtype=torch.float64)
        expected = self.stream.expected_regret(self.ate).cumsum(1, dtype=torch.float64)
        rows = [
            {
                **player,
                "regret": regret[net, steps - 1].tolist(),
                "expected_regret": expected[net, steps - 1].tolist(),
            }
            for net, player in enumerate(self.players)
        ]
        return {
            **self.identity,
            "cpu_seconds": self.cpu_seconds,
            "step": steps.tolist(),
            "players": rows,
        }


def curve_steps(steps: int) -> torch.Tensor:
    """Return steps of a curve, equally far apart in their logarithm, and where the end begins."""
    spaced = np.geomspace(1, steps, CURVE_POINTS).round().astype(int)
    return torch.from_numpy(np.union1d(spaced, [tail_start(steps), steps]))


def tail_start(steps: int) -> int:
    """Return the step after which the last fifth begins: 10,000 of 50,000 mushrooms."""
    return max(1, steps - steps // 5)


def main(argv: Sequence[str]) -> None:
    """Let every agent play."""
    settings = read_options(Settings, argv, __doc__)
    settings.check()
    torch.set_num_threads(settings.threads)
    mushrooms = load_mushrooms(settings.data)
    with script.steps_progress() as progress:
        for kind in settings.agents:
            run = Run(settings, kind, mushrooms)
            run.load()
            if (run.folder / "run.json").exists():
                print(f"done already: {run.folder}")
                continue
            task = progress.add_task(kind, total=settings.steps, completed=run.step)
            run.play(functools.partial(progress.advance, task))


if __name__ == "__main__":
    script.run(main)
