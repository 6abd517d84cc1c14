"""Training in two processes: one training as ever, whatever the number of processes."""

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bbb.audio.datadir import DataDir
from bbb.audio.dataset import ChunkConfig
from bbb.audio.specaugment import SpecAugmentConfig
from bbb.errors import ConfigError
from bbb.speaker._sync_norm import SyncBatchNorm1d, SyncNorms
from bbb.speaker.checkpoint import load_network, read_checkpoint
from bbb.speaker.config import BayesConfig, NetworkConfig, OptimConfig, TrainConfig
from bbb.speaker.module import SpeakerModule
from bbb.speaker.provenance import plain
from bbb.speaker.ranks import launched_rank
from bbb.speaker.train import train

Make = Callable[..., TrainConfig]
Weights = Callable[[Path], dict[str, Tensor]]
Gradients = list[dict[str, Tensor]]

CHUNKS = ChunkConfig(batch_size=4, min_frames=32, max_frames=40, batches_per_epoch=4)
NETWORK = {"channels": 6, "pooled_channels": 8, "embed_dim": 6}
# Adam would make steps of the rounding errors of gradients that are 0.
SHORT = {"max_steps": 3, "chunks": CHUNKS, "optim": OptimConfig(name="sgd", lr=0.01)}
RANDOM: dict[str, Any] = {
    "chunks": CHUNKS,
    "network": NetworkConfig(**NETWORK, dropout=0.3),
    "bayes": BayesConfig(layers=("frame*",), sigma_init=0.1, prior="scale_mixture", draws=2),
    "spec_augment": SpecAugmentConfig(freq_width=2),
    "checkpoint_every": 4,
    "average": 2,
}
# A posterior so narrow that its draws are its means.
NARROW = BayesConfig(layers=("frame*",), sigma_init=1e-8, kl_weight=1.0)
JOBS: dict[str, dict[str, Any]] = {
    "plain": SHORT,
    "margin": SHORT | {"network": NetworkConfig(**NETWORK, embed_from="segment6_norm", head="am")},
    "narrow": SHORT | {"bayes": NARROW},
    "random": RANDOM,
    "whole": RANDOM | {"accumulate": 2},
    "stopped": RANDOM | {"accumulate": 2},
    "twice": RANDOM | {"accumulate": 2},
    "again": RANDOM | {"accumulate": 2},
    "fails": SHORT,
}
# One import for both processes, which then are what torchrun's would be.
PAIR = """
import json, os, signal, sys, torch
import bbb.speaker.train
from bbb.speaker.checkpoint import unpack_config
from bbb.speaker.module import SpeakerModule
from bbb.speaker.train import train

jobs, out, port = json.load(sys.stdin), sys.argv[1], sys.argv[2]
step = SpeakerModule.training_step
gradients, place = [], ["", 0]
STOPPED = ("stopped", "twice")

def record(self, optimizer):
    gradients.append({n: p.grad.clone() for n, p in self.named_parameters()})

def act(self, batch, index):
    name, rank = place
    if rank == 1 and self.global_step == 1 and name == "fails":
        raise RuntimeError("rank 1 is no more")
    if rank == 1 and self.global_step == 5 and name in STOPPED and index % 2 == 0:
        os.kill(os.getpid(), signal.SIGTERM)
    return step(self, batch, index)

def work(rank):
    signal.alarm(180)  # two that wait for each other
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_PORT": port,
        "MASTER_ADDR": "127.0.0.1", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test",
    }
    SpeakerModule.training_step, SpeakerModule.on_before_optimizer_step = act, record
    for name, packed in jobs.items():
        gradients.clear()
        place[:] = name, rank
        try:
            train(unpack_config(packed))
        except (KeyboardInterrupt, SystemExit) as error:
            with open(f"{out}/told-{rank}.txt", "a") as file:
                print(name, repr(error), file=file)
        torch.save(gradients, f"{out}/{name}-{rank}.pt")

children = []
for rank in range(2):
    child = os.fork()
    if child == 0:
        try:
            work(rank)
        finally:
            os._exit(int(place[0] == "fails"))
    children.append(child)
for child in children:
    print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclasses.dataclass
class Pair:
    """What two processes left."""

    configs: dict[str, TrainConfig]
    folder: Path
    lines: list[str]
    errors: str

    def gradients(self, name: str, rank: int = 0) -> Gradients:
        """Of every step, by parameter."""
        return torch.load(self.folder / f"{name}-{rank}.pt", weights_only=True)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def pair(corpus: DataDir, tmp_path_factory: pytest.TempPathFactory, tiny: Make) -> Pair:
    """All of ``JOBS``, by two processes with gloo."""
    folder = tmp_path_factory.mktemp("pair")
    configs = {
        name: tiny(corpus.path, folder / name, devices=2, **changes)
        for name, changes in JOBS.items()
    }
    configs["again"] = dataclasses.replace(configs["again"], output=str(folder / "twice"))
    packed = {name: {"format": 1, "config": plain(config)} for name, config in configs.items()}
    run = subprocess.run(
        [sys.executable, "-c", PAIR, str(folder), str(free_port())],
        input=json.dumps(packed),
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return Pair(configs, folder, run.stdout.splitlines(), run.stderr)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Callable[[TrainConfig], Gradients]:
    """A function that trains in this process and gives the gradients of every step."""
    gradients: Gradients = []

    def record(module: SpeakerModule, _optimizer: object) -> None:
        named = module.named_parameters()
        gradients.append({n: p.grad.clone() for n, p in named if p.grad is not None})

    monkeypatch.setattr(SpeakerModule, "on_before_optimizer_step", record)

    def run(config: TrainConfig) -> Gradients:
        gradients.clear()
        train(config)
        return list(gradients)

    return run


def logged(config: TrainConfig) -> list[float]:
    """The last line of a training's metrics."""
    (file,) = Path(config.output).rglob("metrics.csv")
    header, *_, last = [line.split(",") for line in file.read_text().splitlines()]
    row = dict(zip(header, last, strict=True))
    return [float(row[name]) for name in ("loss", "accuracy", "kl")]


@pytest.mark.parametrize("name", ["plain", "margin", "narrow"])
def test_gradients_and_metrics_are_those_of_one_process(
    pair: Pair,
    make_config: Make,
    alone: Callable[[TrainConfig], Gradients],
    weights: Weights,
    name: str,
) -> None:
    config = make_config(**JOBS[name])
    expected = alone(config)
    for rank in (0, 1):
        found = pair.gradients(name, rank)
        assert len(found) == len(expected) == 3
        for step in range(3):
            # Some gradients are 0 but for rounding: those of what a normalisation takes away.
            rounding = 1e-5 * max(float(each.abs().max()) for each in expected[step].values())
            for key, gradient in expected[step].items():
                slack = 1e-3 * float(gradient.abs().max()) + rounding
                error = float((found[step][key] - gradient).abs().max())
                assert error < slack, (step, key, error, slack)
    assert logged(pair.configs[name]) == pytest.approx(logged(config), rel=1e-4)
    best, own = (weights(Path(c.output) / "best.ckpt") for c in (pair.configs[name], config))
    assert best.keys() == own.keys()
    norms = [key for key in own if "running" in key or "tracked" in key]
    assert len(norms) == 3 * (7 if name != "margin" else 6)
    for key in norms:
        torch.testing.assert_close(best[key], own[key], rtol=1e-4, atol=1e-5, msg=key)


def test_each_process_draws_its_own_weights(pair: Pair) -> None:
    states = read_checkpoint(pair.folder / "random" / "last.ckpt")["random"]
    assert len(states) == 2
    assert not torch.equal(states[0]["cpu"], states[1]["cpu"])
    # Gradients are shared, so the weights are the same for both.
    for first, second in zip(pair.gradients("random", 0), pair.gradients("random", 1), strict=True):
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_signal_to_one_ends_both_after_the_step(pair: Pair) -> None:
    first, second = ((pair.folder / f"told-{rank}.txt").read_text() for rank in (0, 1))
    told = first.splitlines()
    assert [line.split(" ")[0] for line in told] == ["stopped", "twice"], first
    for line in told:
        assert "stopped by SIGTERM after step 6 of 12, which is in" in line
        assert "give the same command again" in line
    assert second == "stopped SystemExit(0)\ntwice SystemExit(0)\n"
    folder = Path(pair.configs["stopped"].output)
    assert not (folder / "best.ckpt").exists()
    assert read_checkpoint(folder / "last.ckpt")["global_step"] == 6


def test_a_resumed_pair_ends_with_the_same_weights(pair: Pair, weights: Weights) -> None:
    whole, again = (weights(pair.folder / name / "best.ckpt") for name in ("whole", "twice"))
    assert whole.keys() == again.keys()
    assert all(torch.equal(value, again[key]) for key, value in whole.items())
    # The same batches, and as many updates, but each part has draws of its own.
    other = weights(pair.folder / "random" / "best.ckpt")
    assert not torch.equal(other["head.weight"], whole["head.weight"])


def test_the_failure_of_one_ends_the_other(pair: Pair) -> None:
    assert pair.lines[-2:] == ["ended 1", "ended 1"]
    assert not (pair.folder / "fails" / "best.ckpt").exists()


def test_the_first_process_alone_writes_and_reports(pair: Pair) -> None:
    for name in ("plain", "random", "whole"):
        folder = Path(pair.configs[name].output)
        assert [path.name for path in (folder / "metrics").iterdir()] == ["version_0"]
        assert not list(folder.glob(".*"))
    assert pair.errors.count("step 3/3: ") == 3  # plain, margin, narrow
    assert pair.errors.count("step 12/12: ") == 3  # random, whole, again


def test_one_process_can_go_on(pair: Pair, tmp_path: Path) -> None:
    config = dataclasses.replace(pair.configs["stopped"], output=str(tmp_path / "exp"), devices=1)
    shutil.copytree(pair.folder / "stopped", tmp_path / "exp")
    network, _ = load_network(train(config))
    assert all(value.isfinite().all() for value in network.state_dict().values())


# -- without other processes ------------------------------------------------------------------


def test_the_gradient_of_accumulated_parts_is_that_of_the_batch(
    make_config: Make, alone: Callable[[TrainConfig], Gradients], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Batch normalisation would see smaller batches.
    monkeypatch.setattr(nn, "BatchNorm1d", lambda _size: nn.Identity())
    whole = alone(make_config("whole", **SHORT))
    parts = alone(make_config("parts", **SHORT, accumulate=2))
    assert len(whole) == len(parts) == 3
    for step in range(3):
        for key, gradient in whole[step].items():
            torch.testing.assert_close(parts[step][key], gradient, rtol=1e-4, atol=1e-6)


def test_synchronised_norms_are_torchs_own_in_one_process() -> None:
    torch.manual_seed(0)
    own, ours = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    assert type(SyncNorms().apply(ours)) is SyncBatchNorm1d
    for x in (torch.randn(4, 3, 5), torch.randn(4, 3)):
        assert torch.equal(own(x), ours(x))
    assert ours.state_dict().keys() == own.state_dict().keys()
    assert all(
        torch.equal(value, ours.state_dict()[key]) for key, value in own.state_dict().items()
    )
    assert type(SyncNorms().revert(ours)) is nn.BatchNorm1d


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"RANK": "3", "WORLD_SIZE": "4"}, (3, 4)),
        ({"WORLD_SIZE": "4", "LOCAL_RANK": "1"}, None),  # Lightning's own start
        ({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, (1, 2)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, None),  # a batch script outside of srun
        ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_JOB_NAME": "bash"}, None),
        ({"SLURM_JOB_NAME": "bash", "RANK": "0", "WORLD_SIZE": "2"}, (0, 2)),
    ],
)
def test_ranks_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: tuple[int, int] | None
) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert launched_rank() == expected


def test_other_numbers_of_processes_than_configured_are_an_error(
    make_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    message = "started 2 processes, but devices is 1 and nodes 1; set devices to"
    with pytest.raises(ConfigError, match=message):
        train(make_config())


# -- as a user starts it ----------------------------------------------------------------------

TORCHRUN = ["torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m"]


def command(config: TrainConfig, *start: str) -> list[str]:
    """A command line of ``bbb train``."""
    file = Path(f"{config.output}.yaml")
    file.write_text(json.dumps(plain(config)))
    return [sys.executable, "-m", *start, "bbb.cli.main", "train", "--config", str(file)]


def slurm_task(rank: int) -> dict[str, str]:
    """What srun tells one of two tasks on one machine."""
    return {
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NAME": "train",
        "SLURM_LOCALID": str(rank),
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_PROCID": str(rank),
        "SLURM_STEP_NUM_TASKS": "2",
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_way_to_start_ends_with_the_same_weights(
    make_config: Make, weights: Weights, tmp_path: Path
) -> None:
    random = RANDOM | {"max_steps": 60, "checkpoint_every": 5, "devices": 2}
    names = ("plain", "torchrun", "srun", "stopped")
    configs = {name: make_config(name, **random) for name in names}
    run = subprocess.run(command(configs["plain"]), capture_output=True, text=True, check=True)
    assert run.stdout == f"wrote {configs['plain'].output}/best.ckpt\n"
    subprocess.run(command(configs["torchrun"], *TORCHRUN), capture_output=True, check=True)
    words = command(configs["srun"])
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    environments = [os.environ | address | slurm_task(rank) for rank in range(2)]
    tasks = [subprocess.Popen(words, env=environment) for environment in environments]
    assert [task.wait(120) for task in tasks] == [0, 0]
    words = command(configs["stopped"])
    stopped = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "stopped" / "last.ckpt").exists():
        time.sleep(0.05)
    stopped.terminate()
    _, errors = stopped.communicate(timeout=120)
    assert stopped.returncode == 130
    assert errors.count("stopped by SIGTERM after step") == 1
    assert not (tmp_path / "stopped" / "best.ckpt").exists()
    subprocess.run(words, capture_output=True, check=True)
    first, *others = (weights(Path(config.output) / "best.ckpt") for config in configs.values())
    for other in others:
        assert all(torch.equal(value, other[key]) for key, value in first.items())
