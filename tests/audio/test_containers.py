import numpy as np
import pytest
import soundfile

from bbb.audio.containers import missing_bytes


@pytest.fixture
def sound():
    return 0.1 * np.random.default_rng(0).standard_normal(20000)


def test_whole_files_lack_nothing(tmp_path, sound):
    for suffix, subtype in (("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", None), ("ogg", "OPUS")):
        path = tmp_path / f"{subtype}.{suffix}"
        soundfile.write(path, sound, 16000, subtype=subtype)
        assert missing_bytes(path) == 0


@pytest.mark.parametrize("cut", [1, 2, 1000, 39_990])
def test_wav_lacks_what_was_cut(tmp_path, sound, cut):
    path = tmp_path / "cut.wav"
    soundfile.write(path, sound, 16000, subtype="PCM_16")
    path.write_bytes(path.read_bytes()[:-cut])
    assert missing_bytes(path) == cut


def test_wav_cut_before_its_samples(tmp_path, sound):
    path = tmp_path / "cut.wav"
    soundfile.write(path, sound, 16000, subtype="PCM_16")
    path.write_bytes(path.read_bytes()[:30])
    assert missing_bytes(path) > 0


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_wav_of_a_streaming_writer_has_no_size(tmp_path, sound, size):
    path = tmp_path / "stream.wav"
    soundfile.write(path, sound, 16000, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)
    assert missing_bytes(path) == 0


def test_wav_with_chunks_before_its_samples(tmp_path, sound):
    path = tmp_path / "list.wav"
    soundfile.write(path, sound, 16000, subtype="PCM_16")
    content = path.read_bytes()
    # A chunk of odd length is followed by one byte of padding.
    chunk = b"LIST" + (3).to_bytes(4, "little") + b"abc\0"
    path.write_bytes(content[:36] + chunk + content[36:])
    assert missing_bytes(path) == 0
    path.write_bytes((content[:36] + chunk + content[36:])[:-10])
    assert missing_bytes(path) == 10


@pytest.mark.parametrize("cut", [1, 100, 1500])
def test_ogg_lacks_the_end_of_its_last_page(tmp_path, sound, cut):
    path = tmp_path / "cut.ogg"
    soundfile.write(path, sound, 16000, subtype="VORBIS")
    path.write_bytes(path.read_bytes()[:-cut])
    assert missing_bytes(path) == cut


def test_ogg_cut_inside_a_page_header(tmp_path, sound):
    path = tmp_path / "cut.ogg"
    soundfile.write(path, sound, 16000, subtype="VORBIS")
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"OggS") + 10])
    assert missing_bytes(path) == 17


def test_other_formats_are_left_to_their_decoder(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"fLaC")
    assert missing_bytes(path) == 0


def test_ogg_whose_end_was_never_written(tmp_path):
    path = tmp_path / "sparse.ogg"
    path.write_bytes(b"OggS" + bytes(200_000))
    assert missing_bytes(path) > 0


def test_files_shorter_than_any_header(tmp_path):
    path = tmp_path / "x"
    for content in (b"", b"R", b"RIFF"):
        path.write_bytes(content)
        assert missing_bytes(path) >= 0
