"""Embedded default corpus: synthetic speakers as two Kaldi data directories, without a download.

The voices are source-filter models (:mod:`bbb.audio.voices`): each speaker has a vocal-tract
length, glottal pulses, a pitch range, formant habits and a rhythm of their own, and says random
syllables. Every session changes the voice a little and has its own channel, room and noise. Some
sessions of the evaluation speakers pass a narrow-band codec that no training session has.

The corpus is for trying, testing and comparing systems where no recording is at hand. **It is
synthetic**: it has no language, no words, no ages, and channels of four plain kinds; error rates
on it say nothing about error rates on people.

How hard it is with the default numbers (seed 0, one training run): a 128-channel x-vector without
augmentation, trained for 1000 steps, has an EER of 14 % with cosine and 11 % with LDA and PLDA;
mean and deviation of the MFCC have 16 % with LDA and 38 % without; duration, level and offset
tell nothing (50 %).

    python data_prep/synthetic.py prepare --output data/synthetic

makes, with 16-bit FLAC files under ``OUTPUT/wav``:

* ``train``: ``wav.scp utt2spk spk2utt utt2dur spk2gender utt2session utt2channel``;
* ``test``: the same with other speakers, and ``trials`` (Kaldi: ``enroll test target|nontarget``):
  every unordered pair of utterances of different sessions (a session belongs to one speaker);
  above ``--max-nontargets`` a seeded sample of the nontarget pairs. ``trials_same_gender`` and
  ``trials_mismatched`` (one side or both through the unseen codec) are parts of it.

Women have even numbers. A speaker is the same whatever the number of speakers, sessions or
utterances. A second run with the same arguments does nothing, an interrupted one continues, other
arguments rebuild.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import _lists  # noqa: PLC2701 (beside this file)
import _script  # noqa: PLC2701 (beside this file)
import numpy as np
import soundfile
from rich.progress import track
from threadpoolctl import threadpool_limits

from bbb.audio.datadir import DataDir
from bbb.audio.voices import TRAIN_CHANNELS, UNSEEN_CHANNELS, VERSION, synthesize
from bbb.errors import ConfigError, DataError
from bbb.files import atomic_path, write_text

_STAMP = "synthetic.json"
_GROUPS = {"train": 0, "test": 1}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    """What to make.

    Attributes:
        train_speakers: Number of training speakers.
        eval_speakers: Number of evaluation speakers; they are other ones.
        sessions: Sessions of each speaker.
        utterances_per_session: Utterances of each session.
        min_seconds: Shortest utterance.
        max_seconds: Longest utterance.
        mismatched: Share of the evaluation sessions that use a channel unseen in training.
        max_nontargets: Most nontarget trials.
        sample_rate: 8000 or 16000.
        seed: Another seed makes other speakers.
    """

    train_speakers: int = 160
    eval_speakers: int = 40
    sessions: int = 3
    utterances_per_session: int = 4
    min_seconds: float = 3.0
    max_seconds: float = 6.0
    mismatched: float = 0.25
    max_nontargets: int = 1_000_000
    sample_rate: int = 16_000
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be made.

        Raises:
            ConfigError: If a number is out of its range.
        """
        problems = [
            f"--{name.replace('_', '-')} must be at least {least}, got {getattr(self, name)}"
            for name, least in _LEAST.items()
            if getattr(self, name) < least
        ]
        if self.max_seconds < self.min_seconds:
            problems.append(
                f"--max-seconds {self.max_seconds} is below --min-seconds {self.min_seconds}"
            )
        if self.mismatched > 1.0:
            problems.append(f"--mismatched is a share, at most 1, got {self.mismatched}")
        if self.sample_rate not in {8000, 16_000}:
            problems.append(f"--sample-rate must be 8000 or 16000, got {self.sample_rate}")
        if problems:
            msg = "; ".join(problems)
            raise ConfigError(msg)


_LEAST = {
    "train_speakers": 1,
    "eval_speakers": 2,
    "sessions": 2,
    "utterances_per_session": 1,
    "min_seconds": 0.5,
    "mismatched": 0.0,
    "max_nontargets": 1,
    "seed": 0,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Task:
    """One session of one speaker, to be made by one worker."""

    config: SyntheticConfig
    split: str
    speaker: int
    session: int
    channels: tuple[str, ...]
    folder: Path

    @property
    def speaker_id(self) -> str:
        return f"syn-{self.split}-{self.speaker:04d}"

    @property
    def session_id(self) -> str:
        return f"{self.speaker_id}-s{self.session:02d}"

    def utterances(self) -> list[tuple[str, Path]]:
        """Ids and files."""
        ids = (f"{self.session_id}-u{n:02d}" for n in range(self.config.utterances_per_session))
        return [(utt, self.folder / self.speaker_id / f"{utt}.flac") for utt in ids]


def _tasks(config: SyntheticConfig, split: str, folder: Path) -> Iterator[_Task]:
    speakers = config.train_speakers if split == "train" else config.eval_speakers
    for speaker in range(speakers):
        for session in range(config.sessions):
            key = (_GROUPS[split], speaker, session, 0, 0)
            draw = np.random.default_rng(
                np.random.SeedSequence(config.seed, spawn_key=key)
            ).random()
            unseen = split == "test" and draw < config.mismatched
            yield _Task(
                config=config,
                split=split,
                speaker=speaker,
                session=session,
                channels=UNSEEN_CHANNELS if unseen else TRAIN_CHANNELS,
                folder=folder,
            )


def _make_session(task: _Task) -> list[float]:
    """Make the files of a session that are not there; return their durations."""
    # The matrices are small: threads that wait for each other took four times the CPU time.
    with threadpool_limits(limits=1):
        return _make_files(task)


def _make_files(task: _Task) -> list[float]:
    config, durations = task.config, []
    for number, (_, file) in enumerate(task.utterances()):
        if file.exists():
            durations.append(soundfile.info(file).duration)
            continue
        samples = synthesize(
            config.seed,
            _GROUPS[task.split],
            task.speaker,
            task.session,
            number,
            seconds=(config.min_seconds, config.max_seconds),
            sample_rate=config.sample_rate,
            channels=task.channels,
        )
        with atomic_path(file) as temporary:
            soundfile.write(temporary, samples, config.sample_rate, subtype="PCM_16")
        durations.append(len(samples) / config.sample_rate)
    return durations


def _make_all(tasks: Sequence[_Task], jobs: int) -> list[list[float]]:
    """Make all sessions with ``jobs`` processes, in the order of ``tasks``."""
    note = "synthetic speech"
    if jobs == 1:
        return [_make_session(task) for task in track(tasks, note)]
    # A fork would inherit the threads of torch and of the progress bar.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context) as pool:
        return list(track(pool.map(_make_session, tasks, chunksize=4), note, total=len(tasks)))


def _write_split(folder: Path, tasks: Sequence[_Task], durations: Sequence[list[float]]) -> None:
    """Write the data directory of one split, and its trials when it is the test split."""
    config = tasks[0].config
    rows = [
        (utt, file, task, seconds)
        for task, times in zip(tasks, durations, strict=True)
        for (utt, file), seconds in zip(task.utterances(), times, strict=True)
    ]
    data = DataDir(
        path=folder,
        wavs={utt: str(file.resolve()) for utt, file, _, _ in rows},
        utt2spk={utt: task.speaker_id for utt, _, task, _ in rows},
        durations={utt: round(seconds, 4) for utt, _, _, seconds in rows},
        genders={task.speaker_id: "fm"[task.speaker % 2] for task in tasks},
    )
    data.write()
    sessions = {utt: task.session_id for utt, _, task, _ in rows}
    channels = {
        utt: "unseen" if task.channels == UNSEEN_CHANNELS else "seen" for utt, _, task, _ in rows
    }
    for name, table in (("utt2session", sessions), ("utt2channel", channels)):
        write_text(folder / name, "".join(f"{utt} {table[utt]}\n" for utt in sorted(table)))
    if folder.name != "test":
        return
    trials = _lists.all_pairs(
        data.utt2spk,
        utt2session=sessions,
        max_nontargets=config.max_nontargets,
        seed=config.seed,
    )
    _lists.write_trial_lists(folder, trials, {u: data.genders[s] for u, s in data.utt2spk.items()})
    unseen = np.array([channels[utt] == "unseen" for utt in trials.utterances])
    either = unseen[trials.enroll] | unseen[trials.test]
    if either.any():
        _lists.write_trials(folder / "trials_mismatched", trials.where(either))


def _is_done(output: Path, arguments: str) -> bool:
    """Whether the corpus is complete; removes an older one that other arguments made.

    Raises:
        DataError: If the folder holds something that this script did not make.
    """
    begun, done = output / f".{_STAMP}", output / _STAMP
    if done.is_file() and done.read_text(encoding="utf-8") == arguments:
        return True
    mine = begun.is_file() or done.is_file()
    if not mine and output.is_dir() and any(output.iterdir()):
        msg = f"{output} is not empty and was not made by this script; give an empty --output"
        raise DataError(msg)
    if not (begun.is_file() and begun.read_text(encoding="utf-8") == arguments):
        done.unlink(missing_ok=True)
        for name in ("wav", *_GROUPS):
            if (output / name).exists():
                shutil.rmtree(output / name)
        write_text(begun, arguments)
    return False


def prepare_synthetic(output: Path, config: SyntheticConfig, *, jobs: int | None = None) -> bool:
    """Make the corpus.

    Args:
        output: Folder of the corpus; new, empty, or made by an earlier run.
        config: What to make.
        jobs: Number of processes; all cores by default.

    Returns:
        False when the corpus was there already, True when it was made.

    Raises:
        DataError: If the folder holds something else.
    """  # noqa: DOC502 (raised by the check of the folder)
    arguments = json.dumps({"version": VERSION, **dataclasses.asdict(config)}, indent=1) + "\n"
    if _is_done(output, arguments):
        return False
    tasks = [task for split in _GROUPS for task in _tasks(config, split, output / "wav")]
    durations = _make_all(tasks, jobs or os.cpu_count() or 1)
    for split in _GROUPS:
        chosen = [n for n, task in enumerate(tasks) if task.split == split]
        _write_split(output / split, [tasks[n] for n in chosen], [durations[n] for n in chosen])
    write_text(output / _STAMP, arguments)
    return True


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and make the corpus.

    Args:
        argv: Arguments; those of the process when None.

    Raises:
        ConfigError: If an argument is out of its range.
    """
    parser = argparse.ArgumentParser(
        description="Synthetic speakers as Kaldi data directories; nothing is downloaded."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    prepare = verbs.add_parser(
        "prepare",
        help="make OUTPUT/train and OUTPUT/test",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    prepare.add_argument("--output", type=Path, required=True, help="folder of the corpus")
    prepare.add_argument("--jobs", type=int, default=os.cpu_count(), help="number of processes")
    for field in dataclasses.fields(SyntheticConfig):
        flag = f"--{field.name.replace('_', '-')}"
        kind = type(field.default)
        prepare.add_argument(flag, type=kind, default=field.default, help=" ")
    arguments = vars(parser.parse_args(argv))
    output, jobs = arguments.pop("output"), arguments.pop("jobs")
    del arguments["verb"]
    if jobs < 1:
        msg = f"--jobs must be at least 1, got {jobs}"
        raise ConfigError(msg)
    made = prepare_synthetic(output, SyntheticConfig(**arguments), jobs=jobs)
    print(f"{output}: {'made' if made else 'is there already'}")


if __name__ == "__main__":
    sys.exit(_script.run(main))
