"""Cost of `bbb.predict` beside a loop over draws.

    python benchmarks/predict.py --threads 1

Both give the outputs of S draws, without gradients. Contenders take turns within each round; a
ratio is the median over rounds of a contender's CPU time (wall time with more than one thread) to
the loop's in the same round.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from layers import mlp
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import bbb


def loop(model: nn.Module, x: Tensor, num_samples: int) -> Tensor:
    """What one writes without `predict`."""
    model.eval()
    with torch.no_grad(), bbb.sampling(model):
        return torch.stack([model(x) for _ in range(num_samples)])


CONTENDERS: dict[str, Callable[[nn.Module, Tensor, int], Tensor]] = {
    "loop": loop,
    "predict": bbb.predict,
    "predict, joint": lambda model, x, num: bbb.predict(model, x, num, joint=True),
    "predict, joint, chunks of 4": lambda model, x, num: bbb.predict(
        model, x, num, joint=True, chunk_size=4
    ),
}


def main() -> None:
    """Time every contender, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--samples", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.thread_time if args.threads == 1 else time.perf_counter
    table = Table("network", "contender", "ms", "ratio", title=f"{args.threads} thread(s)")
    for width, batch in ((400, 128), (400, 1000), (1200, 128)):
        model, x = bbb.bayesianize(mlp(width)), torch.randn(batch, 784)
        times: dict[str, list[float]] = {name: [] for name in CONTENDERS}
        for _ in range(args.rounds):
            for name, contender in CONTENDERS.items():
                start = clock()
                contender(model, x, args.samples)
                times[name].append(clock() - start)
        for name, mine in times.items():
            ratio = statistics.median(a / b for a, b in zip(mine, times["loop"], strict=True))
            cells = f"{1000 * statistics.median(mine):.1f}", f"{ratio:.2f}"
            table.add_row(f"mlp-{width}, batch {batch}", name, *cells)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
