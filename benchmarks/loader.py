"""Whether training waits for its data: steps fed by the loader beside steps fed from memory.

    python benchmarks/loader.py                                # on synthetic speech
    python benchmarks/loader.py --data data/train --noise MUSAN --rir RIRS --workers 4
    python benchmarks/loader.py --device cuda --precision bf16-mixed --batch 512 --workers 16

Both train the plain x-vector with the loader of ``bbb train`` (prefetch, features and augmentation
in worker processes). Blocks of steps take turns, and each block of the loader starts in its steady
state, after as many untimed steps as it can keep ready. The ratio is the median over rounds of wall
time from memory to wall time with the loader: 1 where training never waits, and where the workers
have CPUs of their own. "waiting" is the share of the loader's blocks that was spent waiting for a
batch, which a busy machine disturbs less; "a CPU's" are the chunks/s that one worker makes.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader
from training import PRECISIONS, SPEAKERS, Step, machine, make_step, quartiles

from bbb.audio import AugmentConfig, ChunkBatches, ChunkConfig, DataDir, FeatureConfig
from bbb.speaker import XVector
from bbb.speaker.batches import StepBatches

RATE = 16000
PREFETCH = 4

Batches = Iterator[tuple[Tensor, Tensor]]


def write_speech(folder: Path) -> tuple[Path, Path, Path]:
    """Folders of a corpus of noise that swells like speech, of noise, and of a room."""
    rng = np.random.default_rng(0)
    wavs, utt2spk = {}, {}
    for utterance in range(128):
        swell = np.repeat(rng.uniform(0.01, 1.0, 40), RATE // 4)
        name = f"s{utterance // 2:02d}-u{utterance % 2}"
        wavs[name], utt2spk[name] = str(folder / f"{name}.flac"), name[:3]
        soundfile.write(wavs[name], 0.1 * swell * rng.standard_normal(len(swell)), RATE)
    noise, rir = folder / "noise", folder / "rir"
    for path, samples in (
        (noise, 0.1 * rng.standard_normal(30 * RATE)),
        (rir, 0.1 * rng.standard_normal(RATE // 2) * np.exp(-np.arange(RATE // 2) / 2000)),
    ):
        path.mkdir()
        soundfile.write(path / "x.flac", samples, RATE)
    return DataDir(folder / "data", wavs, utt2spk).write().path, noise, rir


def make_batches(
    args: argparse.Namespace, folders: tuple[Path, Path, Path]
) -> Iterator[tuple[str, StepBatches]]:
    """Kinds of training batches, more than will be taken; nothing has to be decoded any more."""
    data, noise, rir = folders
    varied = AugmentConfig(noise_dir=str(noise), rir_dir=str(rir), noise_prob=0.35, rir_prob=0.15)
    speeds = AugmentConfig(
        noise_dir=str(noise), rir_dir=str(rir), noise_prob=0.6, rir_prob=0.4, speeds=(1.0, 0.9, 1.1)
    )
    chunks = ChunkConfig(
        batch_size=args.batch, min_frames=args.frames, max_frames=args.frames, batches_per_epoch=100
    )
    for name, augment in (
        ("no augmentation, features kept", AugmentConfig()),
        ("half with noise or rooms, as Kaldi", varied),
        ("most with noise and rooms, 3 speeds", speeds),
    ):
        batches = ChunkBatches(DataDir.read(data), FeatureConfig(), chunks, augment)
        batches.prepare()
        yield name, StepBatches(batches, 10_000)


def loader(batches: StepBatches, workers: int) -> Batches:
    """Batches as ``bbb train`` gets them."""
    return iter(
        DataLoader(
            batches,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=PREFETCH if workers else None,
        )
    )


def block(step: Step, batches: Batches, number: int) -> tuple[float, float]:
    """Seconds of wall time of ``number`` steps, and those of them that waiting for data took."""
    waited, start = 0.0, time.perf_counter()
    for _ in range(number):
        asked = time.perf_counter()
        features, labels = next(batches)
        waited += time.perf_counter() - asked
        loss = step(features, labels % SPEAKERS)
    loss.item()  # a GPU has to be waited for
    return time.perf_counter() - start, waited


def measure(
    args: argparse.Namespace, name: str, step: Step, batches: StepBatches
) -> tuple[str, ...]:
    """One row of the table."""
    start = time.process_time()
    kept = [batches[index] for index in range(4)]
    alone = (time.process_time() - start) / (4 * args.batch)
    feed = loader(batches, args.workers)
    memory, loaded, shares = [], [], []
    for _ in track(range(args.rounds), name, transient=True):
        memory.append(block(step, iter(kept * args.steps), args.steps)[0])
        block(step, feed, PREFETCH * args.workers + 1)
        seconds, waited = block(step, feed, args.steps)
        loaded.append(seconds)
        shares.append(waited / seconds)
    ratio, spread = quartiles([m / f for m, f in zip(memory, loaded, strict=True)])
    rate = args.batch * args.steps
    return (
        name,
        f"{rate / statistics.median(memory):.0f}",
        f"{rate / statistics.median(loaded):.0f}",
        f"{ratio:.3f}",
        spread,
        f"{100 * statistics.median(shares):.1f} %",
        f"{1 / alone:.0f}",
    )


def main() -> None:
    """Time both feeds of every kind of batch, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="Kaldi data directory of 16 kHz speech")
    parser.add_argument("--noise", type=Path, help="folder of noise")
    parser.add_argument("--rir", type=Path, help="folder of room impulse responses")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of the training process")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=PRECISIONS, default="32-true")
    parser.add_argument("--batch", type=int, default=64, help="chunks")
    parser.add_argument("--frames", type=int, default=200, help="frames of a chunk")
    parser.add_argument("--steps", type=int, default=4, help="in a block")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    step = make_step(XVector(), args.device, args.precision)
    table = Table(
        *("batches", "chunks/s, memory", "loader", "ratio", "quartiles", "waiting", "a CPU's"),
        title=f"{args.precision}, {args.batch} chunks of {args.frames} frames, {args.workers} "
        f"workers, {machine(args.device, args.threads)}, {args.rounds} rounds of {args.steps}",
    )
    with tempfile.TemporaryDirectory() as made:
        given = (args.data, args.noise, args.rir)
        folders = given if all(given) else write_speech(Path(made))
        for name, batches in make_batches(args, folders):
            table.add_row(*measure(args, name, step, batches))
    Console().print(table)


if __name__ == "__main__":
    main()
