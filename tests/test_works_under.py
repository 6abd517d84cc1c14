"""Whole Bayesian models under what torch offers: several processes, ONNX, compilers, dtypes.

What a single layer has to stand is in ``laws/transform_laws.py``.
"""

import contextlib
import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

import bbb

RANKS = 2
STEPS = 200


class Zoo(nn.Module):
    """A layer of each family, from tokens to three classes."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 8)
        self.conv = nn.Conv1d(8, 8, 3, padding=1)
        self.lstm = nn.LSTM(8, 4, batch_first=True, bidirectional=True)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens):
        x = self.conv(self.table(tokens).mT).mT
        return self.head(self.encoder(self.lstm(x)[0]).mean(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 5, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(10, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0].mean(1))


def mlp():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def convolutions():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 2, 2, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2, 3),
    )


def transformer():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    return nn.Sequential(nn.Embedding(10, 8), layer, nn.Flatten(), nn.Linear(40, 3))


INPUTS = {
    mlp: torch.linspace(-1, 1, 24).view(6, 4),
    convolutions: torch.linspace(-1, 1, 216).view(6, 1, 6, 6),
    Recurrent: torch.linspace(-1, 1, 168).view(6, 7, 4),
    transformer: torch.arange(30).view(6, 5) % 10,
    Zoo: torch.arange(30).view(6, 5) * 7 % 10,
}
LABELS = torch.arange(6) % 3


def make(net, prior=None, **options):
    torch.manual_seed(0)
    return bbb.bayesianize(net(), prior=prior, **options)


def assert_trained(model):
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


# -- several processes ----------------------------------------------------------------------

PRIORS = {
    "normal": bbb.priors.Normal(0.0, 0.1),
    "mixture": bbb.priors.ScaleMixture(0.5, 1.0, 0.01),
    "learned": bbb.priors.EmpiricalBayes("learned"),
}


def regression():
    """A linear regression: model, inputs, targets."""
    torch.manual_seed(0)
    x, y = torch.randn(8, 3), torch.randn(8, 1)
    options = {"sigma_init": 0.5, "prior": bbb.priors.Normal(0.0, 1.0), "estimator": "weight"}
    return bbb.bayesianize(nn.Linear(3, 1), **options), x, y


def half_mse(output, target):
    return 0.5 * F.mse_loss(output, target)


def flat_gradient(model):
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def own_noise():
    """A draw of N(0, sigma^2), with nothing seeded."""
    layer = bbb.layers.BayesLinear(4, 3, estimator="weight")
    with torch.no_grad():
        return layer(torch.eye(4)) - layer.eval()(torch.eye(4))


def step(model, ddp, part, criterion):
    """A training step on this rank's part of the data; returns the gradient."""
    model.zero_grad()
    with criterion.record() as draws:
        output = ddp(INPUTS[Zoo][part])
    criterion(output, LABELS[part], draws=draws).backward()
    return flat_gradient(model)


def gradients_at_the_mean(part):
    model = make(Zoo)
    ddp = DistributedDataParallel(model)
    with bbb.posterior_mean(model):
        return step(model, ddp, part, bbb.ELBO(model, num_train=6))


def gradients_of_draws(part, prior):
    model = make(Zoo, prior)
    ddp = DistributedDataParallel(model)
    # The second step would fail if a parameter had been left out of the first.
    return [step(model, ddp, part, bbb.ELBO(model, num_train=6)) for _ in range(2)]


def gradients_of_a_regression(rank):
    model, x, y = regression()
    ddp = DistributedDataParallel(model)
    criterion = bbb.ELBO(model, num_train=len(x), nll=half_mse)
    part = slice(rank * len(x) // RANKS, (rank + 1) * len(x) // RANKS)
    torch.manual_seed(1000 + rank)
    gradients = []
    for _ in range(STEPS):
        model.zero_grad()
        criterion(ddp(x[part]), y[part]).backward()
        gradients.append(flat_gradient(model))
    return torch.stack(gradients)


def run_rank(rank, folder):
    """What each process does; it leaves its results in a file."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = distributed.FileStore(str(folder / "store"), RANKS)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=RANKS)
    part = slice(rank * 6 // RANKS, (rank + 1) * 6 // RANKS)
    draw = own_noise()
    results = {
        "own noise": draw,
        "mean": gradients_at_the_mean(part),
        "draws": {name: gradients_of_draws(part, prior) for name, prior in PRIORS.items()},
        "regression": gradients_of_a_regression(rank),
    }
    torch.save(results, folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Results of two processes that train together."""
    folder: Path = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(run_rank, (folder,), nprocs=RANKS)
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


def test_each_rank_draws_its_own_noise(ranks):
    first, second = (rank["own noise"] for rank in ranks)
    assert not torch.equal(first, second)


def test_ranks_at_the_mean_have_the_gradient_of_one_process(ranks):
    model = make(Zoo)
    with bbb.posterior_mean(model):
        expected = step(model, model, slice(None), bbb.ELBO(model, num_train=6))
    for rank in ranks:
        torch.testing.assert_close(rank["mean"], expected)


@pytest.mark.parametrize("prior", PRIORS)
def test_no_parameter_is_unused_and_ranks_agree(ranks, prior):
    first, second = (rank["draws"][prior] for rank in ranks)
    for mine, theirs in zip(first, second, strict=True):
        assert torch.equal(mine, theirs)
        assert torch.isfinite(mine).all()
    assert not torch.equal(*first)


def test_ranks_have_the_expected_gradient_of_one_process(ranks):
    """Within five standard errors of the exact one: one false alarm in 10^6 per number."""
    model, x, y = regression()
    mu, rho, bias = model.weight_mu, model.weight_rho, model.bias
    variance = x.square() @ F.softplus(rho).square().T
    loss = 0.5 * ((x @ mu.T + bias - y).square() + variance).mean()
    (loss + bbb.kl_divergence(model) / len(x)).backward()
    found = ranks[0]["regression"]
    z = (found.mean(0) - flat_gradient(model)) / (found.std(0) / STEPS**0.5)
    assert z.abs().max() < 5
    assert found.std(0).min() > 0.01  # there is noise to average


# -- export ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")  # of nn.LSTM
@pytest.mark.parametrize("net", [mlp, convolutions, Recurrent, transformer])
def test_the_plain_copy_runs_under_onnx(net):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, x = make(net).eval(), INPUTS[net]
    program = torch.onnx.export(bbb.to_deterministic(model), (x,), dynamo=True, verbose=False)
    session = runtime.InferenceSession(
        program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    [output] = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(output), model(x).detach())


# -- compiler -------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize(
    ("net", "prior"),
    [(mlp, "normal"), (mlp, "mixture"), (mlp, "learned"), (transformer, "normal")],
)
def test_a_whole_step_compiles_without_graph_breaks(net, prior):
    torch.compiler.reset()
    model = make(net, PRIORS[prior], estimator="weight")
    criterion = bbb.ELBO(model, num_train=6)

    def loss(x, y):
        return criterion(model(x), y).loss

    gradients = []
    for run in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        torch.manual_seed(1)
        model.zero_grad()
        run(INPUTS[net], LABELS).backward()
        gradients.append(flat_gradient(model))
    torch.testing.assert_close(*gradients)


# -- dtypes and devices ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_step_in_half_precision(dtype):
    model = make(Zoo).to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    parts = bbb.ELBO(model, num_train=6)(model(INPUTS[Zoo]), LABELS)
    assert parts.nll.dtype == dtype
    assert parts.kl.dtype == parts.loss.dtype == torch.float32
    parts.backward()
    optimizer.step()
    assert_trained(model)
    for value in model.state_dict().values():
        assert value.dtype == dtype
        assert torch.isfinite(value).all()
    assert not torch.equal(model.head.weight_mu, before["head.weight_mu"])


def test_a_step_under_autocast():
    model = make(Zoo)
    criterion = bbb.ELBO(model, num_train=6)
    with torch.autocast("cpu", dtype=torch.bfloat16), criterion.record() as draws:
        output = model(INPUTS[Zoo])
        parts = criterion(output, LABELS, draws=draws)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(parts.kl, bbb.kl_divergence(model))
    parts.backward()
    assert_trained(model)
    assert {parameter.grad.dtype for parameter in model.parameters()} == {torch.float32}


def test_checkpointing_under_a_fixed_sample():
    model = bbb.bayesianize(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)))
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))

    def contexts():
        return contextlib.nullcontext(), bbb.fixed_sample(model, seed=2)

    gradients = []
    for run in (model, lambda x: checkpoint(model, x, use_reentrant=False, context_fn=contexts)):
        with bbb.fixed_sample(model, seed=2):
            loss = run(x).square().sum()
        # Outside of the context, where a training step has its backward.
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


def test_a_model_made_on_meta_takes_a_checkpoint():
    model = make(Zoo)
    with torch.device("meta"):
        other = bbb.bayesianize(Zoo())
    assert {parameter.device.type for parameter in other.parameters()} == {"meta"}
    other.load_state_dict(model.state_dict(), assign=True)
    with bbb.fixed_sample(model, seed=1), bbb.fixed_sample(other, seed=1):
        assert torch.equal(model(INPUTS[Zoo]), other(INPUTS[Zoo]))
    torch.testing.assert_close(bbb.kl_divergence(other), bbb.kl_divergence(model))


@pytest.mark.parametrize("prior", [bbb.priors.Normal(), bbb.priors.EmpiricalBayes("learned")])
def test_a_model_made_on_meta_takes_a_plain_checkpoint(prior):
    net = Zoo()
    with torch.device("meta"):
        model = bbb.bayesianize(Zoo(), prior=prior)
    model.load_state_dict(net.state_dict(), assign=True)
    expected = bbb.bayesianize(net, prior=prior).state_dict()
    assert model.state_dict().keys() == expected.keys()
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, expected[key])


def test_accumulated_gradients_are_those_of_the_whole_batch():
    model = make(Zoo)
    criterion = bbb.ELBO(model, num_train=6)
    gradients = []
    for parts in ([slice(None)], [slice(0, 3), slice(3, 6)]):
        model.zero_grad()
        for part in parts:
            with bbb.fixed_sample(model, seed=1):
                output = model(INPUTS[Zoo][part])
            (criterion(output, LABELS[part]).loss / len(parts)).backward()
        gradients.append(flat_gradient(model))
    torch.testing.assert_close(*gradients)
