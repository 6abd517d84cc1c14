import copy
import dataclasses
import math
import pickle
from collections import Counter

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from bbb.audio.augment import AugmentConfig, change_speed
from bbb.audio.balance import SpeakerBalance
from bbb.audio.datadir import DataDir, Segment
from bbb.audio.dataset import ChunkBatches, ChunkConfig
from bbb.audio.features import FeatureConfig, utterance_features
from bbb.audio.specaugment import SpecAugmentConfig
from bbb.audio.utterances import Utterances
from bbb.audio.waveform import load_utterance
from bbb.errors import ConfigError, DataError

# Two workers on one core, and forks beside torch's threads (Python 3.12), are meant here.
WORKERS = (
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
)
RATE = 16000
FEATURES = FeatureConfig(num_mels=12, num_ceps=8)
CHUNKS = ChunkConfig(batch_size=4, min_frames=20, max_frames=40, batches_per_epoch=6)


@pytest.fixture
def augment(tmp_path):
    """Noise, a room and three speeds."""
    rng = np.random.default_rng(0)
    for name, size in (("noise", 20000), ("rir", 800)):
        (tmp_path / name).mkdir()
        decay = np.exp(-np.arange(size) / (size if name == "noise" else 100))
        soundfile.write(tmp_path / name / "x.wav", 0.1 * decay * rng.standard_normal(size), RATE)
    return AugmentConfig(
        noise_dir=str(tmp_path / "noise"),
        rir_dir=str(tmp_path / "rir"),
        noise_prob=0.5,
        rir_prob=0.5,
        speeds=(1.0, 0.9, 1.1),
    )


def all_batches(batches: ChunkBatches) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [batches[index] for index in range(len(batches))]


def same(one, two) -> bool:
    pairs = zip(one, two, strict=True)
    return all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)


def test_a_batch_is_features_and_classes(make_corpus):
    batches = ChunkBatches(make_corpus(), FEATURES, CHUNKS)
    lengths = set()
    for features, labels in all_batches(batches):
        assert features.shape == (4, features.shape[1], 8)
        assert features.dtype == torch.float32
        assert labels.shape == (4,)
        assert labels.dtype == torch.int64
        assert 20 <= features.shape[1] <= 40
        assert torch.isfinite(features).all()
        lengths.add(features.shape[1])
    assert len(lengths) > 2


def test_classes_are_speakers_at_speeds(make_corpus, augment):
    batches = ChunkBatches(make_corpus(), FEATURES, CHUNKS, augment)
    assert batches.speakers == ["spk0", "spk1", "spk2"]
    assert batches.num_classes == 9
    chunks = dataclasses.replace(CHUNKS, batches_per_epoch=60)
    many = ChunkBatches(make_corpus(), FEATURES, chunks, AugmentConfig(speeds=(1.0, 0.9)))
    assert {int(label) for _, labels in all_batches(many) for label in labels} == set(range(6))


def test_chunks_come_from_the_features_of_their_speaker(make_corpus):
    data = make_corpus(utterances=1)
    whole = [
        utterance_features(load_utterance(data, utterance, RATE), FEATURES)
        for utterance in data.utterances
    ]
    for features, labels in all_batches(ChunkBatches(data, FEATURES, CHUNKS)):
        for chunk, label in zip(features, labels, strict=True):
            windows = whole[int(label)].unfold(0, len(chunk), 1).transpose(1, 2)
            assert any(torch.equal(window, chunk) for window in windows)


def test_speeds_are_played_at_their_class(make_corpus):
    data = make_corpus(speakers=2, utterances=1)
    batches = ChunkBatches(data, FEATURES, CHUNKS, AugmentConfig(speeds=(1.0, 0.9)))
    for features, labels in all_batches(batches):
        for chunk, label in zip(features, labels, strict=True):
            speed, speaker = divmod(int(label), 2)
            clean = load_utterance(data, data.utterances[speaker], RATE)
            whole = utterance_features(change_speed(clean, (1.0, 0.9)[speed]), FEATURES)
            windows = whole.unfold(0, len(chunk), 1).transpose(1, 2)
            assert any(torch.equal(window, chunk) for window in windows)


def test_augmented_features_stay_near_the_clean_ones(make_corpus, augment):
    gentle = dataclasses.replace(
        augment, min_snr_db=60.0, max_snr_db=60.0, rir_prob=0.0, speeds=(1.0,)
    )
    data = make_corpus(speakers=2, utterances=1)
    whole = [
        utterance_features(load_utterance(data, utterance, RATE), FEATURES)
        for utterance in data.utterances
    ]
    differ = False
    for features, labels in all_batches(ChunkBatches(data, FEATURES, CHUNKS, gentle)):
        for chunk, label in zip(features, labels, strict=True):
            windows = whole[int(label)].unfold(0, len(chunk), 1).transpose(1, 2)
            distance = (windows - chunk).abs().amax(dim=(1, 2)).min()
            assert distance < 2.0
            differ = differ or distance > 0
    assert differ


@WORKERS[0]
@WORKERS[1]
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_do_not_change_the_batches(make_corpus, augment, workers):
    data = make_corpus()
    for config in (None, augment):
        batches = ChunkBatches(data, FEATURES, CHUNKS, config, spec_augment=SpecAugmentConfig())
        loader = DataLoader(
            batches, batch_size=None, num_workers=workers, multiprocessing_context="fork"
        )
        assert same(list(loader), all_batches(batches))


def test_any_batch_alone_is_that_of_its_epoch(make_corpus, augment):
    data = make_corpus()
    whole = all_batches(ChunkBatches(data, FEATURES, CHUNKS, augment))
    fresh = ChunkBatches(data, FEATURES, CHUNKS, augment)
    assert same([fresh[4]], whole[4:5])


@pytest.mark.parametrize("rows", [slice(1), slice(1, 3), slice(3, None)])
def test_rows_can_be_made_alone(make_corpus, augment, rows):
    for config in (None, augment):
        batches = ChunkBatches(
            make_corpus(), FEATURES, CHUNKS, config, spec_augment=SpecAugmentConfig()
        )
        for epoch, index in ((0, 0), (0, 5), (2, 1)):
            features, labels = batches.batch(epoch, index)
            assert same([(features[rows], labels[rows])], [batches.batch(epoch, index, rows)])


def test_rows_have_random_numbers_of_their_own(make_corpus):
    # One utterance a speaker and room for 200 starts: no two of 200 rows agree for long.
    chunks = ChunkConfig(batch_size=2, min_frames=5, max_frames=5, batches_per_epoch=100)
    batches = ChunkBatches(make_corpus(2, 1, seconds=2.1), FEATURES, chunks)
    data = batches.utterances
    whole = [utterance_features(data.read(index), FEATURES) for index in range(len(data))]
    starts = []
    for features, labels in all_batches(batches):
        windows = [whole[label].unfold(0, 5, 1).transpose(1, 2) for label in labels.tolist()]
        starts += [
            (w == f).all(dim=(1, 2)).nonzero()[0].item() / len(w)
            for w, f in zip(windows, features, strict=True)
        ]
    first, second = np.array(starts).reshape(-1, 2).T
    # Standard errors for uniform numbers; false alarms 1 in 100,000 each.
    assert np.mean(starts) == pytest.approx(0.5, abs=4.5 * np.sqrt(1 / 12 / 200))
    assert abs(np.corrcoef(first, second)[0, 1]) < 4.5 / np.sqrt(100)


def test_cache_does_not_change_the_batches(make_corpus, augment):
    data = make_corpus(seconds=0.4)
    cached = ChunkBatches(data, FEATURES, CHUNKS, augment)
    assert same(
        all_batches(cached), all_batches(ChunkBatches(data, FEATURES, CHUNKS, augment, memory=0))
    )
    assert same(all_batches(cached), all_batches(cached))
    prepared = ChunkBatches(data, FEATURES, CHUNKS, augment)
    prepared.prepare()
    assert same(all_batches(cached), all_batches(prepared))


@pytest.mark.parametrize("noise", [False, True])
def test_without_memory_only_the_span_is_read(make_corpus, augment, monkeypatch, noise):
    data = make_corpus(seconds=12.0)
    config = dataclasses.replace(augment, speeds=(1.0, 1.1)) if noise else None
    batches = ChunkBatches(data, FEATURES, CHUNKS, config, memory=0)
    read, sizes = Utterances.read, []

    def spy(self, index, start=0, size=None):
        sizes.append(len(samples := read(self, index, start, size)))
        return samples

    monkeypatch.setattr(Utterances, "read", spy)
    batches.prepare()
    assert sizes == []
    all_batches(batches)
    # Three seconds, which the normalisation looks at, are longer than one and a half chunks.
    assert set(sizes) <= {3 * RATE, round(3.3 * RATE)}
    assert len(sizes) == 24


@pytest.mark.parametrize("noise", [False, True])
def test_speech_is_kept_where_it_fits(make_corpus, augment, caplog, noise):
    data, config = make_corpus(), augment if noise else None
    # Six utterances of a second: 16 bits a sample, or 8 numbers of 32 bits in 101 frames at most.
    needed = 6 * RATE * 2 if noise else 6 * 8 * 101 * 4
    assert ChunkBatches(data, FEATURES, CHUNKS, config, memory=needed).keeps
    assert not ChunkBatches(data, FEATURES, CHUNKS, config, memory=0).keeps
    assert not caplog.records
    batches = ChunkBatches(data, FEATURES, CHUNKS, config, memory=needed - 6 * 8 * 4)
    assert not batches.keeps
    assert len(all_batches(batches)) == 6
    [record] = caplog.records
    assert "0.0 GB of speech do not fit into the 0.0 GB of memory" in record.getMessage()


def test_utterances_are_drawn_as_by_choice(make_corpus, uneven):
    for data in (make_corpus(3, 4), uneven):
        for by_duration in (True, False):
            table = Utterances(data, RATE)
            balance = SpeakerBalance(table, 2, by_duration=by_duration, seed=0)
            for speaker, name in enumerate(table.speakers):
                own = [data.utterances.index(utterance) for utterance in data.spk2utt[name]]
                weights = table.samples[own] if by_duration else np.ones(len(own))
                one, two = (np.random.default_rng(speaker) for _ in range(2))
                drawn = [balance.utterance(speaker, one) for _ in range(50)]
                share = weights / weights.sum()
                assert drawn == [own[two.choice(len(own), p=share)] for _ in range(50)]


def test_progress_of_preparing_is_told(make_corpus):
    calls = []
    batches = ChunkBatches(make_corpus(), FEATURES, CHUNKS)
    batches.prepare(lambda done, total: calls.append((done, total)))
    assert calls == [(done, 6) for done in range(1, 7)]


@pytest.mark.parametrize("kind", ["plain", "speeds", "noise"])
def test_kept_data_need_no_files(make_corpus, augment, tmp_path, kind):
    configs = {"plain": None, "speeds": AugmentConfig(speeds=(0.9, 1.1)), "noise": augment}
    batches = ChunkBatches(make_corpus(), FEATURES, CHUNKS, configs[kind])
    batches.prepare()
    for path in (tmp_path / "wav").iterdir():
        path.unlink()
    assert len(all_batches(batches)) == 6


def test_any_epoch_can_be_asked_for(make_corpus):
    batches = ChunkBatches(make_corpus(), FEATURES, CHUNKS)
    direct = batches.batch(3, 2)
    batches.set_epoch(3)
    assert same([direct], [batches[2]])


def test_seeds_and_epochs_differ(make_corpus):
    data = make_corpus()
    batches = ChunkBatches(data, FEATURES, CHUNKS)
    first = all_batches(batches)
    batches.set_epoch(1)
    second = all_batches(batches)
    batches.set_epoch(0)
    assert same(all_batches(batches), first)
    other = ChunkBatches(data, FEATURES, CHUNKS, seed=1)
    assert not same(first, second)
    assert not same(first, all_batches(other))


@WORKERS[0]
@WORKERS[1]
def test_persistent_workers_see_the_epoch(make_corpus):
    batches = ChunkBatches(make_corpus(), FEATURES, CHUNKS)
    loader = DataLoader(
        batches,
        batch_size=None,
        num_workers=2,
        persistent_workers=True,
        multiprocessing_context="fork",
    )
    for epoch in range(3):
        batches.set_epoch(epoch)
        assert same(list(loader), all_batches(batches))


def test_a_copy_gives_the_same_batches(make_corpus, augment):
    batches = ChunkBatches(make_corpus(), FEATURES, CHUNKS, augment)
    batches.set_epoch(2)
    pickled = pickle.loads(pickle.dumps(batches))  # noqa: S301 (made here)
    assert same(all_batches(pickled), all_batches(batches))
    assert same(all_batches(copy.deepcopy(batches)), all_batches(batches))


@pytest.mark.parametrize(("speakers", "size"), [(7, 3), (4, 4), (5, 4), (9, 2)])
def test_speakers_of_a_batch_are_distinct_and_balanced(make_corpus, speakers, size):
    chunks = ChunkConfig(batch_size=size, min_frames=5, max_frames=5, batches_per_epoch=90)
    batches = ChunkBatches(make_corpus(speakers, 1, seconds=0.2), FEATURES, chunks)
    counts = Counter()
    for _, labels in all_batches(batches):
        assert len(set(labels.tolist())) == size
        counts.update(labels.tolist())
    mean = 90 * size / speakers
    # Each pass leaves out a random speaker or two: four standard deviations of that.
    passes = 90 / (speakers // size)
    left_out = (speakers % size) / speakers
    slack = 4 * np.sqrt(passes * left_out * (1 - left_out))
    assert all(abs(counts[k] - mean) <= slack for k in range(speakers))


def test_more_places_than_speakers(make_corpus):
    chunks = dataclasses.replace(CHUNKS, batch_size=8)
    for _, labels in all_batches(ChunkBatches(make_corpus(3), FEATURES, chunks)):
        counts = Counter(labels.tolist())
        assert max(counts.values()) - min(counts.values()) <= 1


def test_order_of_speakers_differs_between_passes(make_corpus):
    chunks = ChunkConfig(batch_size=6, min_frames=5, max_frames=5, batches_per_epoch=8)
    batches = ChunkBatches(make_corpus(6, 1, seconds=0.2), FEATURES, chunks)
    assert len({tuple(labels.tolist()) for _, labels in all_batches(batches)}) > 4


@pytest.fixture
def uneven(tmp_path, voice):
    """Two speakers; the first has an utterance of 0.3 s and one of 2.7 s, told apart by pitch."""
    for name, seconds in (("a-1", 0.3), ("a-2", 2.7), ("b-1", 0.5)):
        soundfile.write(tmp_path / f"{name}.wav", voice(seconds), RATE)
    wavs = {name: str(tmp_path / f"{name}.wav") for name in ("a-1", "a-2", "b-1")}
    return DataDir(tmp_path, wavs, {"a-1": "a", "a-2": "a", "b-1": "b"})


@pytest.mark.parametrize(("pick", "share"), [("duration", 0.9), ("uniform", 0.5)])
def test_utterances_are_picked_as_asked(uneven, pick, share, monkeypatch):
    chunks = ChunkConfig(batch_size=2, min_frames=5, max_frames=5, batches_per_epoch=400, pick=pick)
    batches = ChunkBatches(uneven, FEATURES, chunks)
    picked = Counter()
    chunk = batches._chunk

    def spy(utterance, *rest):
        picked[batches.utterances.names[utterance]] += 1
        return chunk(utterance, *rest)

    monkeypatch.setattr(batches, "_chunk", spy)
    all_batches(batches)
    assert picked["b-1"] == 400
    # Four standard deviations of a binomial: false alarms 1 in 16000.
    assert picked["a-2"] == pytest.approx(400 * share, abs=4 * np.sqrt(400 * share * (1 - share)))


def test_an_utterance_shorter_than_a_chunk_is_repeated(make_corpus, augment):
    data = make_corpus(seconds=0.1)
    chunks = dataclasses.replace(CHUNKS, min_frames=25, max_frames=25)
    for config in (None, dataclasses.replace(augment, speeds=(1.0,))):
        for features, _ in all_batches(ChunkBatches(data, FEATURES, chunks, config)):
            assert features.shape == (4, 25, 8)
            torch.testing.assert_close(features[:, :15], features[:, 10:])


def test_a_speaker_with_one_utterance_is_fine(uneven):
    batches = ChunkBatches(uneven.subset(["a-1", "b-1"]), FEATURES, CHUNKS)
    assert len(all_batches(batches)) == 6


def test_an_epoch_is_the_speech_once(make_corpus):
    chunks = ChunkConfig(batch_size=2, min_frames=20, max_frames=30)
    assert len(ChunkBatches(make_corpus(3, 5, seconds=1.0), FEATURES, chunks)) == 30
    tiny = ChunkConfig(batch_size=64, min_frames=200, max_frames=400)
    assert len(ChunkBatches(make_corpus(), FEATURES, tiny)) == 1


def test_segments(make_corpus):
    whole = make_corpus(2, 1, seconds=2.0)
    segments = {
        f"spk{s}-{k}": Segment(f"spk{s}-utt0", 0.5 * k, 0.5 * k + 0.5)
        for s in (0, 1)
        for k in range(4)
    }
    cut = DataDir(whole.path, whole.wavs, {u: u[:4] for u in segments}, segments)
    plain = ChunkBatches(cut, FEATURES, CHUNKS)
    assert len(all_batches(plain)) == 6
    assert plain.utterances.samples.tolist() == [8000] * 8


@pytest.mark.parametrize("level", [0, 8])
@pytest.mark.parametrize("memory", [math.inf, 0])
def test_a_silent_span_of_a_long_recording_is_avoided(tmp_path, voice, augment, level, memory):
    # A-law has no zero: where nothing is sent its decoder says 8 again and again.
    samples = np.full(20 * RATE, level / 32768, dtype=np.float32)
    samples[: RATE // 2] = voice(0.5)
    soundfile.write(tmp_path / "s.wav", samples, RATE)
    soundfile.write(tmp_path / "t.wav", voice(1.0), RATE)
    data = DataDir(tmp_path, {k: str(tmp_path / f"{k}.wav") for k in "st"}, {"s": "s", "t": "t"})
    chunks = dataclasses.replace(CHUNKS, batch_size=2, batches_per_epoch=10)
    for features, _ in all_batches(ChunkBatches(data, FEATURES, chunks, augment, memory=memory)):
        assert torch.isfinite(features).all()


def test_spec_augment_masks_the_batch(make_corpus):
    masks = SpecAugmentConfig(time_masks=0, freq_masks=2, freq_width=7)
    batches = ChunkBatches(make_corpus(), FEATURES, CHUNKS, spec_augment=masks)
    plain = ChunkBatches(make_corpus(), FEATURES, CHUNKS)
    masked, clean = all_batches(batches), all_batches(plain)
    assert any(bool((features == 0).all(dim=1).any()) for features, _ in masked)
    for (one, _), (two, _) in zip(masked, clean, strict=True):
        assert torch.equal(one[one != 0], two[one != 0])


def test_index_beyond_the_epoch(make_corpus):
    batches = ChunkBatches(make_corpus(), FEATURES, CHUNKS)
    for index in (-1, 6):
        with pytest.raises(IndexError, match=f"has 6 batches in an epoch, got index {index}"):
            batches[index]


def test_one_speaker_is_no_task(make_corpus):
    with pytest.raises(
        DataError, match=r"training needs at least 2 speakers, got 1; check utt2spk"
    ):
        ChunkBatches(make_corpus(speakers=1), FEATURES, CHUNKS)


def test_bad_files_show_before_training(make_corpus, tmp_path):
    data = make_corpus()
    wave = tmp_path / "wav" / "spk1-utt0.wav"
    content = wave.read_bytes()
    wave.write_bytes(content[:-100])
    with pytest.raises(DataError, match=r"spk1-utt0.wav: truncated, 100 bytes are missing"):
        ChunkBatches(data, FEATURES, CHUNKS)
    wave.unlink()
    with pytest.raises(DataError, match=r"spk1-utt0.wav: no such audio file"):
        ChunkBatches(data, FEATURES, CHUNKS)
    soundfile.write(wave, np.ones(300) * 0.1, RATE)
    with pytest.raises(
        DataError, match=r"'spk1-utt0' has 300 samples, a window needs 400 .* bbb data fix"
    ):
        ChunkBatches(data, FEATURES, CHUNKS)
    soundfile.write(wave, np.ones(500) * 0.1, RATE)
    with pytest.raises(DataError, match=r"has 500 samples, a window needs 600 .*_seconds 0.0375"):
        ChunkBatches(data, FEATURES, CHUNKS, AugmentConfig(speeds=(1.0, 1.5)))


def test_wrong_rate_shows_before_training(make_corpus):
    config = FeatureConfig(sample_rate=8000, high_freq=3800.0)
    with pytest.raises(DataError, match="expected 8000 Hz, got 16000 Hz"):
        ChunkBatches(make_corpus(), config, CHUNKS)


def test_silence_names_its_utterance(make_corpus, tmp_path, augment):
    data = make_corpus()
    soundfile.write(tmp_path / "wav" / "spk1-utt0.wav", np.zeros(RATE), RATE)
    for config in (None, augment):
        batches = ChunkBatches(data, FEATURES, CHUNKS, config)
        with pytest.raises(DataError, match=r"utterance 'spk1-utt0': every sample .* silence"):
            all_batches(batches)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_frames": 0}, "needs 1 <= min_frames <= max_frames, got 0"),
        ({"min_frames": 500}, "needs 1 <= min_frames <= max_frames, got 500 and 400"),
        ({"batch_size": 0}, "batch_size and batches_per_epoch are at least 1, got 0"),
        ({"batches_per_epoch": -1}, "batch_size and batches_per_epoch are at least 1"),
        ({"pick": "best"}, "pick is 'duration' or 'uniform', got 'best'"),
        ({"span_factor": 0.5}, "span_factor is at least 1, and finite, got 0.5"),
        ({"span_factor": math.inf}, "span_factor is at least 1, and finite, got inf"),
        ({"order": "any"}, "order is 'speakers' or 'sequence', got 'any'"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        ChunkConfig(**options)
