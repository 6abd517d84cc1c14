"""Files compressed by shorten, made by an encoder of its simplest kind of block."""

import sys

import numpy as np
import pytest
import soundfile
from _corpus import Faults
from _sphere import CallSide, Options, decode_shorten, read_lengths

from bbb.errors import ConfigError, DataError

RATE = 8000
BLOCK = 256


def _bits_uvar(value, size):
    """A number in ``size`` low bits behind its higher part in unary (Robinson 1994, section 3)."""
    low = f"{value & ((1 << size) - 1):0{size}b}" if size else ""
    return "0" * (value >> size) + "1" + low


def _bits_ulong(value):
    size = value.bit_length()
    return _bits_uvar(size, 2) + _bits_uvar(value, size)


def shorten(samples):
    """Compress int16 samples, shape (samples, channels), with blocks of raw residuals only."""
    channels = samples.shape[1]
    # Type 5 is 16 bit, low byte first; no linear prediction, no running means, nothing skipped.
    bits = "".join(map(_bits_ulong, (5, channels, BLOCK, 0, 0, 0)))
    for start in range(0, len(samples), BLOCK):
        for channel in range(channels):
            block = samples[start : start + BLOCK, channel].tolist()
            bits += _bits_uvar(0, 2) + _bits_uvar(11, 3)  # DIFF0, residuals of 12 low bits
            bits += "".join(_bits_uvar(2 * v if v >= 0 else -2 * v - 1, 12) for v in block)
    bits += _bits_uvar(4, 2)
    bits += "0" * (-len(bits) % 32)
    return b"ajkg\x02" + int(bits, 2).to_bytes(len(bits) // 8, "big")


def write_compressed(file, samples):
    fields = (
        f"sample_count -i {len(samples)}\nsample_rate -i {RATE}\nchannel_count -i 2\n"
        "sample_n_bytes -i 2\nsample_byte_format -s2 01\nsample_sig_bits -i 16\n"
        "sample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n"
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(f"NIST_1A\n   1024\n{fields}".encode().ljust(1024) + shorten(samples))


@pytest.fixture
def samples():
    return np.random.default_rng(0).integers(-3000, 3000, (4 * BLOCK, 2), dtype=np.int16)


@pytest.fixture
def call(tmp_path, samples):
    file = tmp_path / "corpus" / "call.sph"
    write_compressed(file, samples)
    return file


@pytest.fixture
def sides(call):
    return [
        CallSide(name=f"s-{channel}", speaker="s", gender="f", file=call, channel=channel)
        for channel in "AB"
    ]


def test_compressed_files_are_refused(sides):
    faults = Faults("x")
    rest, seconds = read_lengths(sides, faults, Options())
    assert (rest, seconds) == ([], {})
    with pytest.raises(DataError, match=r"1 files that are compressed by shorten: .*add --decode"):
        faults.check()


def test_without_the_decoder_the_remedy_is_named(call, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "desphere", None)
    with pytest.raises(ConfigError, match=r"1 files .* pip install 'desphere\[fast\]'"):
        decode_shorten([call], tmp_path / "flac", Faults("x"))


def test_nothing_to_decode_needs_no_decoder(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "desphere", None)
    assert decode_shorten([], tmp_path / "flac", Faults("x")) == {}


class TestDecoded:
    @pytest.fixture(autouse=True)
    def decoder(self):
        pytest.importorskip("desphere")

    def test_both_channels_bit_by_bit(self, sides, samples, tmp_path):
        faults = Faults("x")
        options = Options(decode=tmp_path / "flac")
        found, seconds = read_lengths(sides, faults, options)
        faults.check()
        assert seconds == {"s-A": 0.128, "s-B": 0.128}
        assert {side.file.suffix for side in found} == {".flac"}
        decoded, rate = soundfile.read(found[0].file, dtype="int16")
        assert rate == RATE
        np.testing.assert_array_equal(decoded, samples)

    def test_files_of_one_name_stay_apart(self, call, samples, tmp_path):
        other = tmp_path / "other" / "call.sph"
        write_compressed(other, samples[: 2 * BLOCK])
        found = decode_shorten([call, other], tmp_path / "flac", Faults("x"))
        assert [soundfile.info(found[file]).frames for file in (call, other)] == [1024, 512]

    def test_an_earlier_run_is_continued(self, call, tmp_path):
        faults = Faults("x")
        (file,) = decode_shorten([call], tmp_path / "flac", faults).values()
        written = file.stat().st_mtime_ns
        decode_shorten([call], tmp_path / "flac", faults)
        assert file.stat().st_mtime_ns == written

    def test_cut_files_are_told(self, call, tmp_path):
        call.write_bytes(call.read_bytes()[:-200])
        faults = Faults("x")
        assert decode_shorten([call], tmp_path / "flac", faults) == {}
        with pytest.raises(DataError, match=r"1 files that cannot be decoded: .*call\.sph"):
            faults.check()
        assert not [*(tmp_path / "flac").rglob("*.flac")]
