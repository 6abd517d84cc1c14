"""Cost of a gradient estimate beside the same estimator written out in plain torch.

    python benchmarks/estimators.py [--repeats 200] [--json FILE]

Each pair is a training step's worth of work: a ``torch.distributions`` object, draw, decoder
forward, loss, backward into logits and decoder. All contenders of a problem run interleaved in one
process on one thread; what is printed is the median over the rounds of the ratio of their CPU
times. Storchastic takes part where it is installed.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent

import bbb.estimators as G

Step = Callable[[], None]

PROBLEMS = {"64 x 200 latents, 784 outputs": (64, 200, 784), "16 x 8, 16 outputs": (16, 8, 16)}


class Problem:
    """A linear decoder of binary latents, with its cost for each batch element."""

    def __init__(self, batch: int, latents: int, outputs: int) -> None:
        torch.manual_seed(0)
        self.logits = torch.randn(batch, latents, requires_grad=True)
        self.decoder = nn.Linear(latents, outputs)
        self.x = torch.randint(0, 2, (batch, outputs)).float()

    def cost(self, z: Tensor) -> Tensor:
        """Reconstruction error, (samples, *batch)."""
        out = self.decoder(z)
        x = self.x.expand_as(out)
        return F.binary_cross_entropy_with_logits(out, x, reduction="none").sum(-1)

    def q(self) -> Independent:
        """The distribution, made anew in each step as a network would."""
        return Independent(Bernoulli(logits=self.logits), 1)

    def backward(self, loss: Tensor) -> None:
        """Backward into logits and decoder, from no gradient."""
        self.logits.grad = None
        self.decoder.zero_grad(set_to_none=True)
        loss.backward()


def ours(problem: Problem, estimator: G.Estimator) -> Step:
    """One step by `bbb.estimators`."""

    def step() -> None:
        problem.backward(G.expectation(problem.cost, problem.q(), estimator).mean())

    return step


def plain_score(problem: Problem, num_samples: int) -> Step:
    """REINFORCE, or with several samples leave-one-out, as one writes it by hand."""

    def step() -> None:
        q = problem.q()
        z = q.sample((num_samples,))
        cost = problem.cost(z)
        signal = cost.detach()
        if num_samples > 1:
            signal = (signal - signal.mean(0)) * (num_samples / (num_samples - 1))
        problem.backward((signal * q.log_prob(z) + cost).mean())

    return step


def plain_st_gumbel(problem: Problem) -> Step:
    """Straight-through Gumbel-softmax of bits, as one writes it by hand."""

    def step() -> None:
        logits = problem.q().base_dist.logits
        noise = torch.rand(1, *logits.shape).clamp(1e-7, 1 - 1e-7).logit()
        soft = torch.sigmoid(logits + noise)
        hard = (soft > 0.5).float()  # noqa: PLR2004
        problem.backward(problem.cost(hard + soft - soft.detach()).mean())

    return step


def storchastic(problem: Problem, num_samples: int) -> Step:
    """The score function of Storchastic; of several samples, leave-one-out."""
    storch = import_module("storch")

    name = "batch_average" if num_samples > 1 else None

    def step() -> None:
        method = storch.method.ScoreFunction("z", n_samples=num_samples, baseline_factory=name)
        q = problem.q()
        z = method(q)
        storch.add_cost(storch.deterministic(problem.cost)(z).mean(-1), "cost")
        problem.logits.grad = None
        problem.decoder.zero_grad(set_to_none=True)
        storch.backward()

    return step


def contenders(problem: Problem) -> dict[str, tuple[Step, Step]]:
    """Pairs of (a library's step, the plain step that does the same)."""
    pairs = {
        "REINFORCE": (ours(problem, G.ScoreFunction()), plain_score(problem, 1)),
        "RLOO, 2 samples": (ours(problem, G.RLOO(2)), plain_score(problem, 2)),
        "RLOO, 8 samples": (ours(problem, G.RLOO(8)), plain_score(problem, 8)),
        "ST-Gumbel": (ours(problem, G.STGumbel()), plain_st_gumbel(problem)),
    }
    if find_spec("storch") is not None:
        pairs["REINFORCE (storchastic)"] = (storchastic(problem, 1), plain_score(problem, 1))
        pairs["RLOO, 8 samples (storchastic)"] = (storchastic(problem, 8), plain_score(problem, 8))
    return pairs


def cpu_time(step: Step) -> float:
    """CPU seconds of one step."""
    start = time.process_time()
    step()
    return time.process_time() - start


def turn(library: Step, plain: Step) -> tuple[float, float]:
    """CPU seconds of two steps each, in the order ABBA, with warm caches."""
    library()
    plain()
    first, second, third, last = map(cpu_time, (library, plain, plain, library))
    return first + last, second + third


def measure(pairs: dict[str, tuple[Step, Step]], repeats: int) -> dict[str, dict[str, float]]:
    """Run all pairs in turns; return milliseconds and ratios."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in pairs}
    for _ in range(repeats):
        for name, pair in pairs.items():
            times[name].append(turn(*pair))
    return {
        name: {
            "ms": 5e2 * statistics.median(a for a, _ in both),
            "plain_ms": 5e2 * statistics.median(b for _, b in both),
            "ratio": statistics.median(a / b for a, b in both),
        }
        for name, both in times.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("1 thread, CPU time, medians of", args.repeats, "interleaved rounds")
    figures = {}
    for title, sizes in PROBLEMS.items():
        figures[title] = measure(contenders(Problem(*sizes)), args.repeats)
        print(f"\n{title}")
        for name, row in figures[title].items():
            print(f"  {name:30s} {row['ms']:7.3f} ms  {row['ratio']:5.2f} of plain torch")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
