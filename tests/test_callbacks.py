"""The Lightning callback, in real trainings of a few updates."""

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import bbb
from bbb.callbacks import KLSchedule
from bbb.errors import ConfigError
from bbb.schedules import Warmup

X, Y = torch.randn(16, 3, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 2


class Classifier(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = bbb.bayesianize(nn.Linear(3, 2))
        self.criterion = bbb.ELBO(self.network, num_train=len(X), kl_weight=7.0)
        self.used = []

    def training_step(self, batch, _):
        self.used.append(self.criterion.kl_weight)
        return self.criterion(self.network(batch[0]), batch[1]).loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield X[0], Y[0]


def fit(module, *callbacks, data=None, checkpoint=None, **options):
    trainer = pl.Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 2, **options},
    )
    loader = DataLoader(data or TensorDataset(X, Y), batch_size=4)
    trainer.fit(module, loader, ckpt_path=checkpoint)
    return trainer


def test_follows_the_schedule_in_updates():
    module = Classifier()
    trainer = fit(module, KLSchedule(Warmup(share=0.5, final=2.0)))
    assert module.used == [0.0, 0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0]
    assert trainer.logged_metrics["kl_weight"] == 2.0


def test_accumulated_batches_count_once():
    module = Classifier()
    fit(module, KLSchedule(Warmup(share=1.0)), accumulate_grad_batches=2)
    assert module.used == [0.0, 0.0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75]


def test_goes_on_after_a_resume(tmp_path):
    fit(Classifier(), KLSchedule(Warmup(share=1.0)), max_epochs=1).save_checkpoint(tmp_path / "a")
    module = Classifier()
    fit(module, KLSchedule(Warmup(share=1.0)), checkpoint=tmp_path / "a")
    assert module.used == [0.5, 0.625, 0.75, 0.875]


def test_a_number_of_updates_overrides_the_trainers():
    module = Classifier()
    fit(module, KLSchedule(Warmup(share=1.0), num_steps=4), max_epochs=1)
    assert module.used == [0.0, 0.25, 0.5, 0.75]


def test_any_function_of_progress_will_do():
    module = Classifier()
    fit(module, KLSchedule(lambda done: 1.0 - done), max_epochs=1)
    assert module.used == [1.0, 0.75, 0.5, 0.25]


def test_an_endless_training_needs_a_number_of_updates():
    with pytest.raises(ConfigError, match="needs num_steps where the Trainer knows no end"):
        fit(Classifier(), KLSchedule(Warmup()), data=Endless())
    module = Classifier()
    fit(module, KLSchedule(Warmup(share=1.0)), data=Endless(), max_epochs=None, max_steps=2)
    assert module.used == [0.0, 0.5]


def test_a_module_without_criterion_is_an_error():
    module = Classifier()
    del module.criterion
    with pytest.raises(ConfigError, match=r"as an attribute of Classifier, got none; set self"):
        fit(module, KLSchedule(Warmup()))


def test_number_of_updates_out_of_range():
    with pytest.raises(ConfigError, match="num_steps >= 1, the updates of the training, got 0"):
        KLSchedule(Warmup(), num_steps=0)
