"""Speakers of utterances and of trials, and utterances of enrolled models."""

import contextlib
import gzip
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bbb.errors import DataError, FormatError
from bbb.scoring import Trials, read_enroll_map, read_utt2spk, trial_speakers
from bbb.scoring.speakers import speakers_of

UTT2SPK = {"u1": "a", "u2": "a", "u3": "b"}


def test_read(tmp_path: Path) -> None:
    path = tmp_path / "utt2spk"
    path.write_text("u1 a\nu2\ta\n\nu3 b\nu1 a\n")
    assert read_utt2spk(path) == UTT2SPK


def test_gzip(tmp_path: Path) -> None:
    (tmp_path / "map.gz").write_bytes(gzip.compress("\ufeffm u1 u2\r\nm u3\r\n".encode()))
    assert read_enroll_map(tmp_path / "map.gz") == {"m": ["u1", "u2", "u3"]}
    (tmp_path / "utt2spk.gz").write_bytes(gzip.compress(b"u1 a\n"))
    assert read_utt2spk(tmp_path / "utt2spk.gz") == {"u1": "a"}


@pytest.mark.parametrize("reader", [read_utt2spk, read_enroll_map])
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.one_of(st.binary(max_size=20), st.text("ab \t\n\r\0é", max_size=20).map(str.encode)))
def test_any_file_parses_or_names_a_line(
    reader: Callable[[Path], object], data: bytes, tmp_path: Path
) -> None:
    (tmp_path / "map").write_bytes(data)
    with contextlib.suppress(FormatError):
        assert reader(tmp_path / "map")


def test_large_models_are_read_in_linear_time(tmp_path: Path) -> None:
    names = [f"u{k}" for k in range(50_000)]
    (tmp_path / "map").write_text(f"cohort {' '.join(names)}\n")
    start = time.process_time()
    assert read_enroll_map(tmp_path / "map") == {"cohort": names}
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("u1 a\nu2\n", r"utt2spk:2: expected 'utterance speaker', got 1 fields"),
        ("u1 a\nu1 b\n", r"utt2spk:2: .* got 'b' after 'a' for 'u1'"),
        ("", r"utt2spk:0: expected at least one utterance"),
    ],
)
def test_faults(text: str, match: str, tmp_path: Path) -> None:
    path = tmp_path / "utt2spk"
    path.write_text(text)
    with pytest.raises(FormatError, match=match):
        read_utt2spk(path)


def test_models_named_by_their_speaker_are_understood() -> None:
    assert speakers_of(["u3", "b", "u1"], UTT2SPK) == ["b", "b", "a"]


def test_unknown_ids() -> None:
    with pytest.raises(DataError, match=r"no speaker for 6 of 7: 'x0', .*'x4'; add"):
        speakers_of(["u1", *(f"x{k}" for k in range(6))], UTT2SPK)


def test_codes_agree_across_sides() -> None:
    index = np.array([0, 1, 1], dtype=np.int32), np.array([0, 0, 1], dtype=np.int32)
    trials = Trials(("b", "u1"), ("u2", "u3"), *index, np.array([False, True, False]))
    enroll, test = trial_speakers(trials, UTT2SPK)
    assert (enroll == test).tolist() == [False, True, False]
