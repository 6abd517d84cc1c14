"""A data directory at another sample rate: wide-band speech for a model of telephone speech.

    python data_prep/resample.py data/vox16k/test --output data/vox8k/test --sample-rate 8000

Training and extraction read audio as it is, so it is resampled once, beforehand: every recording
becomes a 16-bit FLAC file of one channel in ``OUTPUT/audio``; about 2.5 GB per 100 hours at 8 kHz.
Lists that lie beside the tables (``trials`` and the like) are copied. An interrupted run continues.

This limits the band (windowed sinc, as everywhere in ``bbb``) and adds no line or codec.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import _corpus  # noqa: PLC2701 (beside this file)
import _script  # noqa: PLC2701 (beside this file)
import soundfile
import torch
from torchaudio.functional import resample

from bbb.audio.datadir import TABLES, DataDir
from bbb.audio.waveform import audio_info, read_waveform
from bbb.errors import ConfigError, DataError
from bbb.files import atomic_path


def resample_data_dir(
    folder: Path, output: Path, sample_rate: int, *, jobs: int | None = None
) -> DataDir:
    """Make the data directory.

    Args:
        folder: Data directory to read.
        output: Data directory to write.
        sample_rate: Of the new files, in Hz.
        jobs: Threads; all cores by default.

    Returns:
        What was written.

    Raises:
        ConfigError: If the rate is not positive, or the output is the input.
        DataError: With all recordings that cannot be read; no table is written then.
    """  # noqa: DOC502 (raised by the collector)
    if sample_rate < 1 or output.resolve() == folder.resolve():
        msg = f"expected a rate above 0 Hz and another --output, got {sample_rate} and {output}"
        raise ConfigError(msg)
    data = DataDir.read(folder)
    speakers = {data.recording(utt): speaker for utt, speaker in data.utt2spk.items()}
    audio = output.absolute() / "audio"

    def convert(recording: str) -> Path | str:
        """The new file, or what is wrong with the old one."""
        target = audio / speakers[recording] / f"{recording}.flac"
        if target.is_file():
            return target
        source, channel = data.wavs[recording], data.channel(recording)
        try:
            rate = audio_info(source, channel=channel).sample_rate
            samples = read_waveform(source, sample_rate=rate, channel=channel)
        except DataError as error:
            return str(error)
        made = resample(torch.from_numpy(samples), rate, sample_rate).numpy()
        with atomic_path(target) as temporary:
            soundfile.write(temporary, made, sample_rate, "PCM_16", format="FLAC")
        return target

    names = [*speakers]
    count = jobs or os.cpu_count() or 1
    made = dict(zip(names, _corpus.parallel(convert, names, "resampling", jobs=count), strict=True))
    faults = _corpus.Faults(folder)
    faults.add(
        "recordings that cannot be read",
        [found for found in made.values() if isinstance(found, str)],
        "restore or remove them",
    )
    faults.check()
    for file in folder.iterdir():
        if file.is_file() and file.name not in {*TABLES, "spk2utt"} and file.name[0] != ".":
            with atomic_path(output / file.name) as temporary:
                shutil.copyfile(file, temporary)
    wavs = {name: str(file) for name, file in made.items()}
    return replace(data, path=output, wavs=wavs, sides={}).write()


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and do it.

    Args:
        argv: Arguments; those of the process when None.
    """
    parser = argparse.ArgumentParser(description="a data directory at another sample rate")
    parser.add_argument("folder", type=Path, metavar="DIR", help="data directory")
    parser.add_argument("--output", type=Path, required=True, help="data directory to write")
    parser.add_argument("--sample-rate", type=int, required=True, help="in Hz")
    parser.add_argument("--jobs", type=int, help="threads (default: all cores)")
    args = parser.parse_args(argv)
    # Each thread resamples a file of its own.
    torch.set_num_threads(1)
    data = resample_data_dir(args.folder, args.output, args.sample_rate, jobs=args.jobs)
    print(f"{args.output}: {len(data)} utterances at {args.sample_rate} Hz")


if __name__ == "__main__":
    sys.exit(_script.run(main))
