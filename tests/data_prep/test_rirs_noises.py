import hashlib
import zipfile

import _script
import numpy as np
import pytest
import rirs_noises as rirs
import soundfile

from bbb.audio.augment import AugmentConfig, Augmenter
from bbb.audio.datadir import DataDir
from bbb.audio.validate import validate_data_dir
from bbb.errors import ConfigError, DataError

RATE = 16_000
REAL = "real_rirs_isotropic_noises"
POINT = "pointsource_noises"


def write_audio(file, seed, *, channels=1):
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    samples = rng.uniform(-0.5, 0.5, (800, channels)) * np.exp(-np.arange(800) / 100)[:, None]
    soundfile.write(file, samples, RATE, subtype="PCM_16")


def write_list(root, table, rows):
    """Lines of options, and the path as it is in the archive."""
    (root / table).write_text("".join(f"{options} RIRS_NOISES/{path}\n" for options, path in rows))


@pytest.fixture
def source(tmp_path):
    """Three simulated rooms a size, 2 responses each; real ones of 1, 2, 8 channels; noises."""
    root, seed = tmp_path / "RIRS_NOISES", 0
    for size in ("small", "medium", "large"):
        rows = []
        for room in ("Room001", "Room002", "Room003"):
            for take in ("00001", "00002"):
                path = f"simulated_rirs/{size}room/{room}/{room}-{take}.wav"
                write_audio(root / path, seed := seed + 1)
                rows.append((f"--rir-id {size}-{room}-{take} --room-id {size}-{room}", path))
        write_list(root, f"simulated_rirs/{size}room/rir_list", rows)
        (root / f"simulated_rirs/{size}room/room_info").write_text("Room001 5.2 3.1 2.9\n")
    names = ("RVB2014_type1_rir_largeroom1_far_angla", "air_type1_air_phone_bt_corridor_hhp",
             "RWCP_type4_rir_p30r")  # fmt: skip
    rows = []
    for number, (name, channels) in enumerate(zip(names, (8, 1, 2), strict=True), 1):
        write_audio(root / REAL / f"{name}.wav", seed := seed + 1, channels=channels)
        rows.append((f"--rir-id {number:05d} --room-id {name[:7]}", f"{REAL}/{name}.wav"))
    write_list(root, f"{REAL}/rir_list", rows)
    rows = []
    for number in (1, 2):
        path = f"{REAL}/RVB2014_type1_noise_largeroom1_{number}.wav"
        write_audio(root / path, seed := seed + 1, channels=8)
        options = (
            f"--noise-id {number:05d} --noise-type isotropic --room-linkage RVB2014_largeroom1"
        )
        rows.append((options, path))
    write_list(root, f"{REAL}/noise_list", rows)
    rows = []
    for number in range(2):
        path = f"{POINT}/noise-free-sound-{number:04d}.wav"
        write_audio(root / path, seed := seed + 1)
        options = f"--noise-id {number:05d} --noise-type point-source --bg-fg-type foreground"
        rows.append((options, path))
    write_list(root, f"{POINT}/noise_list", rows)
    return root


def prepare(source, **options):
    output = source.parent / "data"
    rirs.prepare_rirs_noises(source, output, **options)
    return output


class TestPrepare:
    @pytest.mark.parametrize("name", rirs.SETS)
    def test_result_is_valid(self, source, name):
        output = prepare(source, sets=[name])
        folder = output / rirs.SETS[name].kind / name
        faults = validate_data_dir(folder, sample_rate=RATE)
        assert [str(fault) for fault in faults] == []

    def test_kaldis_sets_by_default(self, source):
        output = prepare(source)
        assert [folder.name for folder in output.iterdir()] == ["rir"]
        assert {folder.name for folder in (output / "rir").iterdir()} == {"smallroom", "mediumroom"}
        data = DataDir.read(output / "rir/smallroom")
        rooms = ("Room001", "Room002", "Room003")
        assert list(data.wavs) == [f"{room}-0000{take}" for room in rooms for take in (1, 2)]
        assert data.durations["Room001-00001"] == 0.05

    def test_all_sets(self, source):
        output = prepare(source, sets=[*rirs.SETS])
        counts = {
            name: len(DataDir.read(output / one.kind / name)) for name, one in rirs.SETS.items()
        }
        assert list(counts.values()) == [6, 6, 6, 3, 2, 2]

    def test_of_several_channels_the_first(self, source):
        audio = prepare(source, sets=["real"]) / "rir/real/audio"
        for file in audio.iterdir():
            original = soundfile.read(source / REAL / file.name, always_2d=True)[0]
            np.testing.assert_array_equal(soundfile.read(file)[0], original[:, 0])
            assert file.is_symlink() == (original.shape[1] == 1)

    def test_a_draw_of_each_set(self, source):
        def drawn(seed):
            output = prepare(source, count=2, seed=seed)
            return [*DataDir.read(output / "rir/smallroom").wavs]

        assert len(drawn(0)) == 2
        assert drawn(0) == drawn(0)
        assert len({tuple(drawn(seed)) for seed in range(5)}) > 1
        assert len(DataDir.read(prepare(source, count=99) / "rir/mediumroom")) == 6

    def test_folder_under_another_name(self, source):
        source.rename(source.parent / "slr28")
        output = prepare(source.parent / "slr28", sets=["pointsource"])
        assert len(DataDir.read(output / "noise/pointsource")) == 2

    def test_folder_above(self, source):
        rirs.prepare_rirs_noises(source.parent, source.parent / "data", sets=["isotropic"])
        assert len(DataDir.read(source.parent / "data/noise/isotropic")) == 2

    def test_counts_and_memory(self, source, capsys):
        prepare(source, sets=["smallroom", "real", "pointsource"], count=1)
        out = capsys.readouterr().out
        rows = [line.split() for line in out.splitlines()]
        assert ["smallroom", "6", "20,000", "differs"] in rows
        assert ["real", "3", "325", "differs"] in rows
        assert ["pointsource", "2", "843", "differs"] in rows
        assert "data/rir: 0.0 hours, 0.0 GB of memory while training" in out
        assert "data/noise: 0.0 hours" in out


def test_augmentation_takes_the_folders(source):
    output = prepare(source, sets=["smallroom", "mediumroom", "real", "pointsource"])
    config = AugmentConfig(
        rir_dir=str(output / "rir"), rir_prob=1.0, noise_dir=str(output / "noise"), noise_prob=1.0
    )
    augmenter = Augmenter(config, RATE)
    assert (len(augmenter.rirs), len(augmenter.noises)) == (6 + 6 + 3, 2)
    speech = np.sin(np.arange(4000) / 20).astype(np.float32)
    changed = augmenter(speech, np.random.default_rng(0))
    assert changed.shape == speech.shape
    assert np.isfinite(changed).all()
    assert not np.array_equal(changed, speech)


SMALL = "simulated_rirs/smallroom"


def edit(root, change):
    file = root / SMALL / "rir_list"
    file.write_text("\n".join(change(file.read_text().splitlines())) + "\n")


class TestBadInput:
    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda root: (root / SMALL / "rir_list").unlink(),
             r"1 lists that are missing: .*smallroom/rir_list; unpack .* or choose with --sets"),
            (lambda root: (root / SMALL / "rir_list").write_text("\n"), "1 lists that are empty"),
            (lambda root: edit(root, lambda rows: [*rows, rows[0]]),
             r"1 lines that name a file for the second time: .*rir_list:7 \(Room001-00001\)"),
            (lambda root: edit(root, lambda rows: [*rows, "--rir-id 7 RIRS_NOISES/x.wav"]),
             r"1 lines that are not '--rir-id ID --room-id ... RIRS_NOISES/FILE': .*rir_list:7"),
            (lambda root: edit(root, lambda rows: [*rows, "--rir-id 7 --room-id 1 data/x.wav"]),
             r"1 lines that are not .*rir_list:7"),
            (lambda root: edit(root, lambda rows: [*rows, rows[0].replace("--rir-id", "rir")]),
             r"1 lines that are not .*rir_list:7"),
            (lambda root: edit(root, lambda rows: [*rows, rows[0].replace(" RIRS", " odd RIRS")]),
             r"1 lines that are not .*rir_list:7"),
            (lambda root: (root / SMALL / "Room002").rename(root / "Room002"),
             r"2 audio files that cannot be used: .*Room002-00001.wav: no such file, .*; restore"),
            (lambda root: (root / SMALL / "Room002/Room002-00001.wav").write_bytes(b"<html>"),
             r"1 audio files that cannot be used: .*Room002-00001.wav: no audio"),
            (lambda root: soundfile.write(root / SMALL / "Room002/Room002-00001.wav",
                                          np.zeros(80), 8000),
             r"1 audio files that cannot be used: .*80 samples at 8000 Hz, not 16000 Hz"),
        ],
    )  # fmt: skip
    def test_named_before_anything_is_written(self, source, damage, message):
        damage(source)
        with pytest.raises(DataError, match=message):
            prepare(source)
        assert not (source.parent / "data").exists()

    def test_all_at_once(self, source):
        (source / SMALL / "rir_list").unlink()
        (source / "simulated_rirs/mediumroom/Room001/Room001-00001.wav").unlink()
        with pytest.raises(DataError, match="2 kinds of faults, nothing was written"):
            prepare(source)

    def test_left_from_another_run(self, source):
        prepare(source)
        with pytest.raises(DataError, match=r"1 folders that are left .*rir/mediumroom; remove"):
            prepare(source, sets=["smallroom"])

    def test_unknown_set(self, source):
        with pytest.raises(ConfigError, match="--sets hall: unknown; RIRS_NOISES has smallroom"):
            prepare(source, sets=["hall", "real"])

    def test_no_count(self, source):
        with pytest.raises(ConfigError, match="--count must be at least 1, got 0"):
            prepare(source, count=0)

    def test_another_folder(self, tmp_path):
        with pytest.raises(DataError, match=r"none of its lists is there, .*; check --source"):
            rirs.prepare_rirs_noises(tmp_path, tmp_path / "data")


class TestDownload:
    @pytest.fixture
    def checksum(self, source, breaking_mirror):
        packed = breaking_mirror.folder / "rirs_noises.zip"
        with zipfile.ZipFile(packed, "w") as archive:
            for file in sorted(source.rglob("*")):
                archive.write(file, file.relative_to(source.parent))
        return "md5:" + hashlib.md5(packed.read_bytes(), usedforsecurity=False).hexdigest()

    def test_resumes_unpacks_and_can_be_prepared(self, breaking_mirror, checksum, tmp_path, capsys):
        url = f"{breaking_mirror.url}/rirs_noises.zip"
        folder = rirs.download_rirs_noises(tmp_path / "c", url=url, checksum=checksum)
        assert [start > 0 for _, start in breaking_mirror.asked] == [False, True]
        rirs.prepare_rirs_noises(folder, tmp_path / "data")
        assert len(DataDir.read(tmp_path / "data/rir/smallroom")) == 6
        rirs.download_rirs_noises(tmp_path / "c", url="http://127.0.0.1:9/gone")
        assert "is there already" in capsys.readouterr().out

    def test_published_checksum_guards(self, breaking_mirror, checksum, tmp_path, capsys):  # noqa: ARG002
        url = f"{breaking_mirror.url}/rirs_noises.zip"
        argv = ["download", "--output", str(tmp_path / "c"), "--url", url]
        assert _script.run(rirs.main, argv) == 1
        assert f"expected {rirs.CHECKSUM[4:]}" in capsys.readouterr().err


def test_command_line(source, tmp_path):
    argv = ["prepare", "--source", str(source), "--output", str(tmp_path / "d")]
    assert _script.run(rirs.main, [*argv, "--sets", "real", "--count", "2"]) == 0
    assert len(DataDir.read(tmp_path / "d/rir/real")) == 2
