"""Cost of reading trial lists and reading and writing score files: CPU time, beside a plain loop.

    POLARS_MAX_THREADS=1 python benchmarks/scoring_files.py --lines 1_000_000 10_000_000

Contenders take turns within each round; a ratio is the median over rounds of the plain loop's CPU
time to a contender's in the same round. Ids have 38 letters, 138,000 of them on either side. The
plain loop does what it must, split, look up, convert and format, and checks nothing.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bbb.scoring import Scores, Trials, iter_scores, read_scores, read_trials, write_scores

IDS = 137_924


def example(lines: int) -> Scores:
    """Scores of distinct trials in no order."""
    rng = np.random.default_rng(0)
    middle = rng.integers(10**16, 10**17, size=IDS)
    ids = tuple(f"id{10000 + k // 110}/{middle[k]}xyz/{k % 110:05d}.wav" for k in range(IDS))
    pair = np.arange(lines) * 7_919_000_033 % IDS**2
    enroll, test = (side.astype(np.int32) for side in np.divmod(pair, IDS))
    trials = Trials(ids, ids, enroll, test, pair % 10 == 0)
    return Scores.of(trials, rng.standard_normal(lines, dtype=np.float32))


def plain_read(path: Path) -> int:
    """Codes of both sides by two dictionaries, scores where there are any, and labels."""
    tables: tuple[dict[str, int], dict[str, int]] = ({}, {})
    enroll, test, scores, is_target = [], [], [], []
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            first, second, *score, label = line.split()
            enroll.append(tables[0].setdefault(first, len(tables[0])))
            test.append(tables[1].setdefault(second, len(tables[1])))
            scores += map(float, score)
            is_target.append(label == "target")
    return len(np.array(enroll)) + len(np.array(test)) + len(np.array(scores)) + len(is_target)


def plain_write(path: Path, scores: Scores) -> None:
    """A format string per line."""
    columns = (scores.enroll, scores.test, scores.scores, scores.is_target)
    with path.open("w", encoding="utf-8") as stream:
        for enroll, test, score, yes in zip(*columns, strict=True):
            label = "target" if yes else "nontarget"
            first, second = scores.enroll_ids[enroll], scores.test_ids[test]
            stream.write(f"{first} {second} {score:.9g} {label}\n")


def tasks(folder: Path, scores: Scores) -> dict[str, dict[str, Callable[[], object]]]:
    """Contenders by task, the plain loop first."""
    file, text, binary = folder / "scores", folder / "trials", folder / "trials.npz"
    write_scores(file, scores)
    write_scores(folder / "scores.gz", scores)
    with file.open() as source, text.open("w") as stream:
        rows = (line.split(" ") for line in source)
        stream.writelines(f"{enroll} {test} {label}" for enroll, test, _, label in rows)
    read_trials(text).save(binary)
    return {
        "read trials": {
            "plain loop": lambda: plain_read(text),
            "read_trials": lambda: read_trials(text),
            "read_trials, saved as .npz": lambda: read_trials(binary),
        },
        "read scores": {
            "plain loop": lambda: plain_read(file),
            "read_scores": lambda: read_scores(file),
            "read_scores, .gz": lambda: read_scores(folder / "scores.gz"),
            "iter_scores": lambda: sum(len(part) for part, _ in iter_scores(file)),
        },
        "write scores": {
            "plain loop": lambda: plain_write(folder / "out", scores),
            "write_scores": lambda: write_scores(folder / "out", scores),
            "write_scores, .gz": lambda: write_scores(folder / "out.gz", scores),
        },
    }


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Print a table per number of lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    for lines in args.lines:
        table = Table("task", "contender", "CPU s", "plain loop to this", title=f"{lines:,} lines")
        with tempfile.TemporaryDirectory() as folder:
            for task, contenders in tasks(Path(folder), example(lines)).items():
                rounds = [
                    [cpu_seconds(work) for work in contenders.values()] for _ in range(args.rounds)
                ]
                for place, name in enumerate(contenders):
                    seconds = statistics.median(times[place] for times in rounds)
                    ratio = statistics.median(times[0] / times[place] for times in rounds)
                    table.add_row(task, name, f"{seconds:.2f}", f"{ratio:.1f}")
        Console().print(table)


if __name__ == "__main__":
    main()
