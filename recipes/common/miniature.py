"""Corpora in miniature, in their published layouts, of synthetic voices: the smoke size of recipes.

They hold everything that a preparation looks for, and say nothing about people.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from bbb.audio.voices import synthesize
from bbb.files import write_text
from recipes.common import script
from recipes.common.options import read_options

SECONDS = 2.0
# Even voices are women.
VOX_DEV, VOX_TEST = range(6), range(6, 11)
# The first two also speak in SRE 2004 to 2008, and are to be left out there.
SRE10 = tuple((voice, voice + 1) for voice in range(104, 114, 2))
SWITCHBOARD = range(200, 204)
# Release, folder of its audio, year, calls: two voices each. In 2008 train and test are apart.
SRE = {
    "2004": ("LDC2006S44/r93_6_1/sp04-06/train/data", ((100, 101), (102, 103), (104, 105))),
    "2005": ("LDC2011S01/data/speech", ((100, 102), (101, 103))),
    "2006": ("LDC2011S09/sp06/data", ((102, 101), (103, 100), (105, 104))),
}
SRE08_TRAIN = ("LDC2011S05/data/train/data/short2", ((100, 103), (102, 105)))
SRE08_TEST = ("LDC2011S08/data/test/data/short3", ((103, 102), (101, 100)))
KEYS_2008 = "LDC2011S08/data/keys/NIST_SRE08_KEYS.v0.1"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Of the miniature.

    Attributes:
        corpus: "voxceleb1", or "sre": the releases of LDC side by side.
        output: Folder that gets it.
    """

    corpus: Literal["voxceleb1", "sre"]
    output: Path


def main(argv: Sequence[str]) -> None:
    """Make one."""
    options = read_options(Options, argv, __doc__)
    make = {"voxceleb1": make_voxceleb1, "sre": make_sre}[options.corpus]
    make(options.output)


# -- VoxCeleb1 -------------------------------------------------------------------------------


def make_voxceleb1(folder: Path) -> None:
    """Both archives as they are unpacked, the table of speakers, and the O lists."""
    names = {}
    meta = ["VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet"]
    for split, voices in (("dev", VOX_DEV), ("test", VOX_TEST)):
        names[split] = [*map(_vox_name, itertools.product(voices, range(2), range(2)))]
        meta += [f"{_vox_speaker(v)}\tA._B\t{_gender(v)}\tIreland\t{split}" for v in voices]
        for key in itertools.product(voices, range(2), range(2)):
            file = folder / f"vox1_{split}_wav" / "wav" / _vox_name(key)
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, _speech(*key, 16_000), 16_000)
    pairs = [
        f"{int(a[:7] == b[:7])} {a} {b}\n" for a, b in itertools.combinations(names["test"], 2)
    ]
    write_text(folder / "veri_test.txt", "".join(pairs))
    write_text(folder / "veri_test2.txt", "".join(pairs[1:]))
    write_text(folder / "vox1_meta.csv", "\n".join(meta) + "\n")


def _vox_speaker(voice: int) -> str:
    return f"id{10_001 + voice}"


def _vox_name(key: tuple[int, int, int]) -> str:
    voice, video, utterance = key
    return f"{_vox_speaker(voice)}/video-{video:05d}/{1 + utterance:05d}.wav"


# -- LDC -------------------------------------------------------------------------------------


def make_sre(folder: Path) -> None:
    """SRE 2004 to 2008, Switchboard-2 phase 1 and Cellular part 1, and SRE 2010 (core)."""
    _make_sre04_to_06(folder)
    _make_sre08(folder)
    _make_switchboard(folder)
    _make_sre10(folder / "LDC2017S06" / "data" / "eval")


def _make_sre04_to_06(folder: Path) -> None:
    rows = []
    for year, (below, calls) in SRE.items():
        for number, voices in enumerate(calls):
            call = f"t{year[3]}a{'abc'[number]}"
            _write_call(folder / below / f"{call}.sph", voices, int(year), number)
            rows += [
                f"{_mixer(v)} {_gender(v)} sre{year} {call} {side}"
                for v, side in zip(voices, "AB", strict=True)
            ]
    write_text(folder / "speaker_list", "\n".join(rows) + "\n")


def _make_sre08(folder: Path) -> None:
    models = ["modelid,gender,segment:channel,speaker"]
    trials = ["modelid,segment,channel,targettype"]
    numbers: dict[int, str] = {}
    for number, voices in enumerate(SRE08_TRAIN[1]):
        _write_call(folder / SRE08_TRAIN[0] / f"f8a{number}.sph", voices, 2008, number)
        for voice, side in zip(voices, "ab", strict=True):
            numbers[voice] = str(20_000 + len(numbers))
            models.append(f"{numbers[voice]},{_gender(voice)},f8a{number}:{side},{_mixer(voice)}")
    for number, voices in enumerate(SRE08_TEST[1]):
        _write_call(folder / SRE08_TEST[0] / f"t8a{number}.sph", voices, 2008, 10 + number)
        for voice, side in zip(voices, "ab", strict=True):
            if voice in numbers:
                trials.append(f"{numbers[voice]},t8a{number},{side},target")
    write_text(
        folder / KEYS_2008 / "model-keys/NIST_SRE08_short2.model.key", "\n".join(models) + "\n"
    )
    write_text(
        folder / KEYS_2008 / "trial-keys/NIST_SRE08_short2-short3.trial.key",
        "\n".join(trials) + "\n",
    )


def _make_switchboard(folder: Path) -> None:
    first, second, third, fourth = SWITCHBOARD
    calls, phase = [], folder / "LDC98S75"
    for number, voices in enumerate(((first, second), (second, first))):
        _write_call(phase / "data" / f"sw_1000{number}.sph", voices, 1998, number)
        calls += [
            f'sw_1000{number}.sph,960401,{pin},{side},0,0,0,""'
            for pin, side in zip(voices, "AB", strict=True)
        ]
    write_text(phase / "docs" / "callinfo.tbl", "\n".join(calls) + "\n")
    sexes = [f"{voice},{_gender(voice).upper()},21,16,PA" for voice in (first, second)]
    write_text(phase / "docs" / "spkrinfo.tbl", "\n".join(sexes) + "\n")
    cellular, rows = folder / "LDC2001S13", []
    for number, (a, b) in enumerate(((third, fourth), (fourth, third))):
        _write_call(cellular / "data" / f"sw_4000{number}.sph", (a, b), 2001, number)
        rows.append(f"4000{number},{a},{b},{_gender(a).upper()},{_gender(b).upper()},x")
    write_text(cellular / "doc" / "swb_callstats.tbl", "\n".join(rows) + "\n")


def _make_sre10(base: Path) -> None:
    """A model and a test side of each speaker; every trial within a gender is in condition 5."""
    header = "model,segment,side,targettype,is_scored," + ",".join(f"c{n}" for n in range(1, 10))
    train, models, key = [], ["model,speaker"], [header]
    tests = []
    for number, voices in enumerate(SRE10):
        _write_call(base / f"data/train/tel/taa{number}.sph", voices, 2010, number)
        _write_call(base / f"data/test/tel/xaa{number}.sph", voices, 2010, 10 + number)
        tests += [(voice, f"xaa{number}", side) for voice, side in zip(voices, "ab", strict=True)]
        for voice, side in zip(voices, "AB", strict=True):
            train.append(f"{voice} {_gender(voice)} train/tel/taa{number}.sph:{side}")
            models.append(f"{voice},{_mixer(voice)}")
    for model, (voice, segment, side) in itertools.product(itertools.chain(*SRE10), tests):
        if _gender(model) == _gender(voice):
            answer = "target" if model == voice else "nontarget"
            key.append(f"{model},{segment},{side},{answer},Y,N,N,N,N,Y,N,N,N,N")
    for name, lines in (
        ("train/core.trn", train),
        ("keys/core.modelkey.csv", models),
        ("keys/core-core.trialkey.csv", key),
    ):
        write_text(base / name, "\n".join(lines) + "\n")


def _write_call(file: Path, voices: Sequence[int], year: int, session: int) -> None:
    """A mu-law SPHERE file with a voice in each channel."""
    file.parent.mkdir(parents=True, exist_ok=True)
    sides = [_speech(voice, 100 * (year - 1990) + session, 0, 8000) for voice in voices]
    soundfile.write(file, np.stack(sides, axis=1), 8000, format="NIST", subtype="ULAW")


def _mixer(voice: int) -> int:
    """Number of a speaker in the Mixer collections."""
    return 1000 + voice


def _gender(voice: int) -> str:
    return "fm"[voice % 2]


def _speech(voice: int, session: int, utterance: int, rate: int) -> np.ndarray:
    return synthesize(0, 0, voice, session, utterance, seconds=(SECONDS, SECONDS), sample_rate=rate)


if __name__ == "__main__":
    script.run(main)
