"""The VoxCeleb recipe on a miniature of the corpus."""

import shutil

import numpy as np
import pytest
import soundfile
import yaml

from bbb.audio.datadir import DataDir
from recipes.common import miniature
from tests.recipes.test_recipes import SYSTEMS, check_table, checkpoints, run

LISTS = ("trials_o", "trials_o_original")


def test_from_the_corpus_to_the_tables(tmp_path):
    first = run("voxceleb", "--smoke", "--exp-dir", "exp", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "exp"
    check_table(folder, SYSTEMS, LISTS)
    # One score file serves both lists, and each is evaluated on its own trials.
    assert len((folder / "baseline" / "cosine.scores").read_text().splitlines()) == 190
    text = (folder / "RESULTS.md").read_text()
    assert "trials_o: 29 target and 160 nontarget trials" in text
    assert "trials_o_original: 30 target and 160 nontarget trials" in text
    assert "| 6.52 | 0.5423 |" in text
    config = (folder / "bayesian_li2020" / "config.yaml").read_text()
    assert "tie_sigma: true" in config
    before = checkpoints(folder)
    assert len(before) == 6
    for stage, done in (("1", 2), ("2", 2), ("5", 4)):
        words = ("--stage", stage, "--stop-stage", stage)
        again = run("voxceleb", "--smoke", "--exp-dir", "exp", *words, folder=tmp_path)
        assert again.returncode == 0, again.stderr
        assert again.stdout.count("done already") == done
    assert checkpoints(folder) == before


def test_a_broken_corpus_is_refused_before_training(tmp_path):
    corpus = tmp_path / "vox1"
    miniature.make_voxceleb1(corpus)
    (corpus / "veri_test2.txt").unlink()
    (corpus / "vox1_dev_wav/wav/id10001").rename(corpus / "vox1_test_wav/wav/id10001")
    (corpus / "vox1_test_wav/wav/id10008/video-00000/00001.wav").unlink()
    result = run("voxceleb", "--source", "vox1", "--exp-dir", "exp", folder=tmp_path)
    assert result.returncode != 0
    for text in (
        "1 lists that are missing: vox1/veri_test2.txt",
        "1 speakers whose folder was moved: id10001 (lies in test, belongs to dev)",
        "1 utterances of veri_test.txt without audio: id10008-video-00000-00001",
    ):
        assert text in result.stderr
    assert not (tmp_path / "exp" / "baseline").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--lists", "o e"), "add --train-source"),
        (("--lists", "h_original"), "add --train-source"),
        (("--ood-data", "x"), "--ood-data is of 8 kHz; add --sample-rate 8000"),
        (("--ood-data", "x", "--sample-rate", "8000"), "x has no trials_core_c5"),
        (("--sample-rate", "44100"), "--sample-rate is 8000 or 16000, got 44100"),
        (("--config", "nope"), "no preset nope.yaml"),
        ((), "--source DIR is needed"),
    ],
)
def test_what_does_not_go_together_is_refused(words, message, tmp_path):
    result = run("voxceleb", *words, folder=tmp_path)
    assert result.returncode != 0
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


def test_lists_e_and_h_are_for_models_of_voxceleb2(tmp_path):
    vox1, vox2 = tmp_path / "vox1", tmp_path / "vox2"
    miniature.make_voxceleb1(vox1)
    for name in ("all", "hard"):
        for version in ("", "2"):
            shutil.copy(vox1 / "veri_test.txt", vox1 / f"list_test_{name}{version}.txt")
    meta = (vox1 / "vox1_meta.csv").read_text().replace("VoxCeleb1", "VoxCeleb2")
    for speaker in ("id10001", "id10002"):
        new = speaker.replace("id10", "id00")
        (vox2 / "dev").mkdir(parents=True, exist_ok=True)
        shutil.copytree(vox1 / "vox1_dev_wav/wav" / speaker, vox2 / "dev" / new)
    rows = meta.splitlines()
    (vox2 / "vox2_meta.csv").write_text("\n".join(rows[:3]).replace("id10", "id00") + "\n")
    words = ("--source", "vox1", "--train-source", "vox2", "--lists", "o e h_original")
    result = run("voxceleb", *words, "--exp-dir", "exp", "--stop-stage", "2", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert list(DataDir.read(tmp_path / "exp/data/train").spk2utt) == ["id00001", "id00002"]
    assert len(DataDir.read(tmp_path / "exp/data/all").spk2utt) == 11
    for name in ("test/trials_o", "all/trials_e", "all/trials_h_original"):
        assert (tmp_path / "exp/data" / name).is_file()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_domain_is_tested_on_the_other(tmp_path):
    sre = run("sre10", "--smoke", "--exp-dir", "sre", folder=tmp_path)
    assert sre.returncode == 0, sre.stderr
    conditions = ("trials_core_c5", "trials_core_c5_f", "trials_core_c5_m")
    check_table(tmp_path / "sre", SYSTEMS, conditions)
    words = ("--sample-rate", "8000", "--ood-data", "sre/data/sre10")
    vox = run("voxceleb", "--smoke", "--exp-dir", "vox", *words, folder=tmp_path)
    assert vox.returncode == 0, vox.stderr
    check_table(tmp_path / "vox", SYSTEMS, LISTS)
    check_table(tmp_path / "vox/ood", SYSTEMS, ("trials_core_c5",))
    assert DataDir.read(tmp_path / "vox/data/train").utterances
    before = checkpoints(tmp_path / "sre")
    words = ("--ood-data", "vox/data")
    sre = run("sre10", "--smoke", "--exp-dir", "sre", *words, folder=tmp_path)
    assert sre.returncode == 0, sre.stderr
    assert before.items() <= checkpoints(tmp_path / "sre").items()
    check_table(tmp_path / "sre/ood", SYSTEMS, ("trials_o",))


def make_sounds(folder):
    """Noise, music, speech and two rooms, in the layouts of MUSAN and RIRS_NOISES."""
    rng = np.random.default_rng(0)

    def write(path):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        samples = rng.normal(size=1600) * np.exp(-np.arange(1600) / 100)
        soundfile.write(folder / path, 0.1 * samples, 16_000)

    write("musan/noise/free-sound/noise-free-sound-0000.wav")
    write("musan/music/fma/music-fma-0000.wav")
    write("musan/speech/librivox/speech-librivox-0000.wav")
    (folder / "musan/music/fma/ANNOTATIONS").write_text("music-fma-0000 Pop N someone\n")
    for size in ("small", "medium"):
        path = f"RIRS_NOISES/simulated_rirs/{size}room"
        write(f"{path}/Room001-00001.wav")
        line = f"--rir-id {size}-1 --room-id {size} {path}/Room001-00001.wav\n"
        (folder / path / "rir_list").write_text(line)


@pytest.mark.slow
def test_modern_configuration_with_noise_and_rooms_at_8_khz(tmp_path):
    make_sounds(tmp_path)
    words = ("--smoke", "--exp-dir", "exp", "--config", "modern", "--sample-rate", "8000")
    sounds = ("--musan", "musan", "--rirs", "RIRS_NOISES")
    result = run("voxceleb", *words, *sounds, "--stop-stage", "4", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    config = yaml.safe_load((tmp_path / "exp/bayesian_li2020/config.yaml").read_text())
    assert all(
        config["augment"][f"{kind}_prob"] > 0 for kind in ("noise", "rir", "music", "babble")
    )
    assert config["features"]["sample_rate"] == 8000
    assert config["features"]["num_mels"] == 40
    assert config["network"]["head"] == "aam"
    assert config["bayes"]["layers"] == ["frame1"]
