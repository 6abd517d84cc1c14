"""Training on the features that Kaldi, or ``bbb data feats``, wrote."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bbb.audio.archives import write_features
from bbb.audio.augment import AugmentConfig
from bbb.audio.datadir import DataDir
from bbb.errors import ConfigError, DataError
from bbb.speaker.config import TrainConfig
from bbb.speaker.train import train

Make = Callable[..., TrainConfig]
Weights = Callable[[Path], dict[str, Tensor]]


@pytest.fixture
def feats(corpus: DataDir, make_config: Make, tmp_path: Path) -> Path:
    """A data directory with features and without audio."""
    write_features(corpus, tmp_path / "feats", make_config().features)
    (tmp_path / "feats" / "wav.scp").unlink()
    return tmp_path / "feats"


def test_weights_are_those_of_a_training_on_the_audio(
    feats: Path, make_config: Make, weights: Weights
) -> None:
    expected = weights(train(make_config("audio")))
    found = weights(train(make_config("kept", data=feats, source="feats")))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_stretches_are_read_where_nothing_is_kept(feats: Path, make_config: Make) -> None:
    assert train(make_config(data=feats, source="feats", cache_gb=0.0)).is_file()


@pytest.mark.parametrize("augment", [AugmentConfig(speeds=(0.9, 1.0))])
def test_features_are_not_augmented(feats: Path, make_config: Make, augment: AugmentConfig) -> None:
    with pytest.raises(ConfigError, match="features cannot get noise, rooms or speeds"):
        train(make_config(data=feats, source="feats", augment=augment))


def test_missing_features(feats: Path, make_config: Make) -> None:
    with (feats / "utt2spk").open("a") as table:
        table.write("spk9-utt9 spk9\n")
    with pytest.raises(DataError, match=r"feats.scp: 1 of 14 utterances are not there, first spk9"):
        train(make_config(data=feats, source="feats"))
