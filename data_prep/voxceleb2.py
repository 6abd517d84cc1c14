"""VoxCeleb2: 1,128,246 utterances of 6,112 celebrities, on whom models for VoxCeleb1 are trained.

Chung, Nagrani, Zisserman (2018), *VoxCeleb2: Deep Speaker Recognition*, Interspeech. No speaker is
in VoxCeleb1. Annotations CC BY 4.0; the copyright of the audio remains with the owners of the
videos, so it is given out on request: https://mm.kaist.ac.kr/datasets/voxceleb/ sends links with a
key by e-mail. 2,442 h of AAC in m4a files; zip files 77.5 GB (dev, in eight parts) and 2.6 GB
(test); as 16-bit WAV 281 GB.

    python data_prep/voxceleb2.py download --output corpora/voxceleb2 --key-file key
    python data_prep/voxceleb2.py convert --source corpora/voxceleb2 --output corpora/voxceleb2_wav
    python data_prep/voxceleb2.py prepare --source corpora/voxceleb2_wav --output data/voxceleb2

**Download** is that of ``voxceleb1.py``.

**Convert.** libsndfile, which bbb reads audio with, knows no AAC, and bbb runs no commands from
data files; so the files are decoded once, by the program ``ffmpeg``, to 16 kHz mono WAV (or FLAC:
``--format flac``, half the disk, more work for the loader) in the same folders below ``--output``.
Each file is there completely or not at all, an interrupted run continues, and files that cannot be
decoded are reported together at the end, the others converted.

**Layouts** that ``prepare`` reads: every file ``SPEAKER/VIDEO/NUMBER.wav`` (or ``.flac``) below
``--source`` (``dev/aac``, ``test/aac``, or one merged folder); ``vox2_meta.csv``, there or in
``--lists``, says who belongs to which set.

**Result** (``--sets``; utterances are named ``id00012-21Uxsk56VDQ-00001``): ``train``, the 5,994
development speakers, and ``test``, the other 118, for which no trials are published. Faults are
looked for, and counts printed, as in ``voxceleb1.py``; those published are of the home page.
"""

import argparse
import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import _corpus  # noqa: PLC2701 (beside this file)
import _script  # noqa: PLC2701 (beside this file)
import _voxceleb  # noqa: PLC2701 (beside this file)
import _voxceleb_download  # noqa: PLC2701 (beside this file)

from bbb.audio.waveform import audio_info
from bbb.errors import ConfigError, DataError
from bbb.files import atomic_path

CORPUS = _voxceleb.Corpus(
    meta="vox2_meta.csv",
    speaker=re.compile(r"id0\d{4}"),
    example="dev/aac/id00012/21Uxsk56VDQ/00001.wav",
    lists={"vox2_meta.csv": ""},
    archives={
        "dev": _voxceleb.Archive(
            parts={
                "vox2_dev_aac_partaa": "da070494c573e5c0564b1d11c3b20577",
                "vox2_dev_aac_partab": "17fe6dab2b32b48abaf1676429cdd06f",
                "vox2_dev_aac_partac": "1de58e086c5edf63625af1cb6d831528",
                "vox2_dev_aac_partad": "5a043eb03e15c5a918ee6a52aad477f9",
                "vox2_dev_aac_partae": "cea401b624983e2d0b2a87fb5d59aa60",
                "vox2_dev_aac_partaf": "fc886d9ba90ab88e7880ee98effd6ae9",
                "vox2_dev_aac_partag": "d160ecc3f6ee3eed54d55349531cb42e",
                "vox2_dev_aac_partah": "6b84a81b9af72a9d9eecbb3b1f602e65",
            },
            below="",
            top="dev",
        ),
        "test": _voxceleb.Archive(
            parts={"vox2_test_aac.zip": "0d2b3ea430a821c33263b5ea37ede312"},
            below="test",
            top="aac",
        ),
    },
)
SETS = {"train": "dev", "test": "test"}
CODECS = {"wav": "pcm_s16le", "flac": "flac"}
_PUBLISHED = {"train": (5994, 1_092_009), "test": (118, 36_237)}


def convert_voxceleb2(
    source: Path,
    output: Path,
    *,
    audio_format: str = "wav",
    ffmpeg: str = "ffmpeg",
    jobs: int | None = None,
) -> int:
    """Decode every m4a file that has not been decoded yet.

    Args:
        source: The unpacked archives.
        output: Folder that gets the same tree, and the table of speakers.
        audio_format: "wav" or "flac".
        ffmpeg: The program, by name or path.
        jobs: Number of programs at once; all cores by default.

    Returns:
        How many were decoded now.

    Raises:
        ConfigError: If the program is not there.
        DataError: If there is nothing to decode, or some files cannot be; they are named, and the
            others are converted.
    """
    program = shutil.which(ffmpeg)
    if program is None:
        msg = (
            f"m4a files need a decoder, and the program {ffmpeg!r} is not found; install it (apt "
            "install ffmpeg, or conda install -c conda-forge ffmpeg), or give its path: --ffmpeg"
        )
        raise ConfigError(msg)
    files = _corpus.find_files(source, (".m4a",))
    if not files:
        msg = f"{source}: no .m4a file below it; check --source ({CORPUS.example[:-3]}m4a)"
        raise DataError(msg)
    output.mkdir(parents=True, exist_ok=True)
    done = {str(file) for file in _corpus.find_files(output, (f".{audio_format}",))}
    targets = [output / file.relative_to(source).with_suffix(f".{audio_format}") for file in files]
    pairs = [pair for pair in zip(files, targets, strict=True) if str(pair[1]) not in done]
    decode = functools.partial(_decode, program, CODECS[audio_format])
    results = _corpus.parallel(decode, pairs, "decoding", jobs=jobs or os.cpu_count() or 1, chunk=4)
    if (source / CORPUS.meta).is_file():
        shutil.copyfile(source / CORPUS.meta, output / CORPUS.meta)
    failed = [result for result in results if result]
    print(f"{output}: {len(pairs) - len(failed)} decoded now, {len(files) - len(pairs)} before")
    faults = _corpus.Faults(source)
    faults.add(
        "m4a files that cannot be decoded (the others are)",
        failed,
        "restore them and run again, or go on without them",
    )
    faults.check()
    return len(pairs)


def _decode(program: str, codec: str, pair: tuple[Path, Path]) -> str:
    """Decode one file; the message of what is wrong with it otherwise."""
    source, target = pair
    try:
        with atomic_path(target) as temporary:
            _run(program, codec, source, temporary)
            audio_info(temporary, sample_rate=_voxceleb.SAMPLE_RATE)
    except DataError as error:
        return f"{source} ({error})"
    return ""


def _run(program: str, codec: str, source: Path, target: Path) -> None:
    """Call ffmpeg.

    Raises:
        DataError: If it fails, with the first thing that it says.
    """
    # Without -xerror a file that was cut short makes a short one and exit status 0.
    command = [program, "-nostdin", "-v", "error", "-xerror", "-y", "-i", str(source)]
    command += ["-map", "0:a:0", "-ac", "1", "-ar", str(_voxceleb.SAMPLE_RATE), "-threads", "1"]
    run = subprocess.run(  # noqa: S603 (no shell; the program was looked up)
        [*command, "-c:a", codec, str(target)],
        capture_output=True,
        check=False,
        text=True,
        errors="replace",
    )
    if run.returncode:
        msg = (run.stderr.strip() or f"exit status {run.returncode}").splitlines()[0]
        raise DataError(msg)


def prepare_voxceleb2(
    source: Path,
    output: Path,
    *,
    lists: Path | None = None,
    sets: Collection[str] = ("train", "test"),
    jobs: int = _corpus.JOBS,
) -> None:
    """Make the Kaldi data directories.

    Args:
        source: The converted files.
        output: Folder that gets the sets.
        lists: Folder of ``vox2_meta.csv``; ``source`` when None.
        sets: Which of "train" and "test".
        jobs: Number of threads that read headers.

    Raises:
        DataError: With everything that is wrong, before anything is written.
        FormatError: If the table of speakers has another form; names file and line.
    """  # noqa: DOC502 (raised by the parts)
    faults = _corpus.Faults(source)
    people = _voxceleb.read_people(CORPUS, lists or source, (), faults, "voxceleb2.py")
    splits = {SETS[name] for name in sets}
    files = _voxceleb.find_utterances(CORPUS, source.resolve(), people, splits, faults)
    if not files and next(iter(source.rglob("*.m4a")), None):
        msg = (
            f"{source}: m4a files, which bbb cannot read; decode them first: python "
            f"data_prep/voxceleb2.py convert --source {source} --output {source}_wav"
        )
        raise DataError(msg)
    seconds = _corpus.durations(files, jobs, sample_rate=_voxceleb.SAMPLE_RATE, faults=faults)
    faults.check()
    rows = []
    for name in sets:
        chosen = _voxceleb.of_splits(files, people, {SETS[name]})
        data = _voxceleb.write_set(output / name, chosen, seconds, people)
        rows += _voxceleb.count_rows(data, _PUBLISHED[name])
    _corpus.count_table(rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and do it.

    Args:
        argv: Arguments; those of the process when None.
    """
    parser = argparse.ArgumentParser(description="VoxCeleb2")
    verbs = parser.add_subparsers(dest="verb", required=True)
    _voxceleb_download.add_options(verbs.add_parser("download", help="fetch and unpack (160 GB)"))
    convert = verbs.add_parser("convert", help="decode m4a (281 GB of WAV)")
    convert.add_argument("--source", type=Path, required=True, help="folder of the m4a files")
    convert.add_argument("--output", type=Path, required=True, help="folder of what they become")
    convert.add_argument("--format", dest="audio_format", choices=CODECS, default="wav")
    convert.add_argument("--ffmpeg", default="ffmpeg", help="the program (default: %(default)s)")
    convert.add_argument("--jobs", type=int, default=os.cpu_count(), help="programs at once")
    prepare = verbs.add_parser("prepare", help="make Kaldi data directories")
    _voxceleb.add_options(prepare, SETS, tuple(SETS))
    arguments = parser.parse_args(argv)
    options = vars(arguments)
    verb = options.pop("verb")
    if verb == "download":
        _voxceleb_download.run(CORPUS, arguments)
    elif verb == "convert":
        convert_voxceleb2(**options)
    else:
        prepare_voxceleb2(**options)


if __name__ == "__main__":
    sys.exit(_script.run(main))
