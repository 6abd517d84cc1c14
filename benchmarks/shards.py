"""Reading speech from tar shards: CPU time as a ratio to that of reading files of their own.

    python benchmarks/shards.py [--data data/train]

Utterances of a data directory, or else synthetic ones, are written as FLAC files, and packed into
shards, in a temporary folder. The ways of reading take turns within each round; the ratio is the
median over rounds of a way's CPU time per second of speech to that of the files in the same round.
The disk's cache is warm: what is compared is the work of reading, and not a disk.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import soundfile
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bbb.audio import (
    ChunkBatches,
    ChunkConfig,
    DataDir,
    FeatureConfig,
    ShardReader,
    load_utterance,
    write_shards,
)
from bbb.audio.voices import synthesize


def speech(args: argparse.Namespace) -> tuple[dict[str, str], Callable[[str], Any]]:
    """Utterances with their speakers, and a function that gives the samples of one."""
    if args.data is None:
        names = {f"{n % 40:02d}-{n:06d}": f"{n % 40:02d}" for n in range(args.utterances)}
        return names, lambda name: synthesize(
            0, 0, int(name[:2]), 0, int(name[3:]), sample_rate=args.rate
        )
    whole = DataDir.read(args.data)
    some = whole.subset(whole.utterances[:: max(1, len(whole) // args.utterances)])
    return some.utt2spk, lambda name: load_utterance(some, name, args.rate)


def as_flac(args: argparse.Namespace, folder: Path) -> DataDir:
    """Each utterance in a FLAC file of 16 bits."""
    folder.mkdir()
    utt2spk, samples = speech(args)
    wavs = {}
    for number, name in enumerate(track(utt2spk, "writing files", transient=True)):
        wavs[name] = str(folder / f"{number}.flac")
        soundfile.write(wavs[name], samples(name), args.rate, subtype="PCM_16")
    return DataDir(folder / "data", wavs, utt2spk).write()


def training(data: DataDir, order: str, args: argparse.Namespace) -> Callable[[int], float]:
    """A function that makes the batch of a step, whose spans are read from disk."""
    features = FeatureConfig(sample_rate=args.rate, high_freq=0.475 * args.rate)
    chunks = ChunkConfig(batch_size=args.batch, order=order, batches_per_epoch=args.rounds + 1)
    batches = ChunkBatches(data, features, chunks, memory=0)
    return lambda step: batches.batch(0, step)[0].shape[1] * args.batch / 100


def reading(data: DataDir, args: argparse.Namespace) -> Callable[[int], float]:
    """A function that reads as many whole utterances as a batch has chunks."""
    reader = ShardReader(data, args.rate)

    def read(step: int) -> float:
        places = range(step * args.batch, (step + 1) * args.batch)
        return sum(len(reader[place % len(reader)][2]) for place in places) / args.rate

    return read


def timed(way: Callable[[int], float], step: int) -> float:
    """CPU time for a second of speech."""
    start = time.process_time()
    seconds = way(step)
    return (time.process_time() - start) / seconds


def main() -> None:
    """Time every way, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="data directory (default: synthetic speech)")
    parser.add_argument("--rate", type=int, default=16000, help="of its audio, in Hz")
    parser.add_argument("--utterances", type=int, default=600, help="how many of them")
    parser.add_argument("--batch", type=int, default=64, help="chunks")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        files = as_flac(args, Path(folder, "files"))
        shards = write_shards(files, Path(folder, "shards"), shard_mb=64)
        groups = {
            "batches": {
                "files": training(files, "speakers", args),
                "shards, by address": training(shards, "speakers", args),
                "shards, in sequence": training(shards, "sequence", args),
            },
            "utterances": {"files": reading(files, args), "shards": reading(shards, args)},
        }
        rounds = [
            {(g, w): timed(way, step) for g, ways in groups.items() for w, way in ways.items()}
            for step in track(range(args.rounds + 1), "timing", transient=True)
        ][1:]
    title = (
        f"{len(files)} utterances, {args.batch} a round, {args.rounds} rounds, {args.threads} "
        f"threads of {os.cpu_count()} CPUs"
    )
    table = Table("what", "from", "CPU ms per s", "ratio", "quartiles", title=title)
    for group, way in rounds[0]:
        low, middle, high = statistics.quantiles(
            [times[group, way] / times[group, "files"] for times in rounds], n=4
        )
        cost = 1000 * statistics.median(times[group, way] for times in rounds)
        table.add_row(group, way, f"{cost:.2f}", f"{middle:.3f}", f"{low:.3f} to {high:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
