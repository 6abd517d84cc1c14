"""What every Bayesian layer must satisfy. A new layer subclasses the suite and fills in the facts.

Moments are compared with the exact ones: the output is linear in the weights, so that with its
Jacobian J (by torch.func, of torch's own layer) the covariance is ``J diag(sigma^2) J^T``.

Statistical tests use fixed seeds and bounds of five standard errors: one false alarm in 10^6 per
number, should a seed ever change.
"""

import copy
import io
import pickle
from collections.abc import Iterator
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import bbb
from bbb.layers import BayesianLayer

REPLICAS = 1500

# Dynamo itself instantiates every autograd.Function that it traces.
IGNORE_DYNAMO = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


class LayerLaws:
    """Subclass it, name the class ``Test...``, set ``layer`` and ``args``, and fill ``inputs``."""

    layer: type[BayesianLayer]
    args: tuple = ()
    kwargs: ClassVar[dict] = {}
    estimators: tuple[str, ...] = ("weight",)

    def inputs(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """A batched input, of few numbers."""
        raise NotImplementedError

    def make(self, **bayes) -> BayesianLayer:
        torch.manual_seed(0)
        bayes = {"sigma_init": 0.3, **bayes}
        layer = self.layer(*self.args, **self.kwargs, **bayes)
        with torch.no_grad():  # unequal sigmas, so that a mix-up of axes shows
            for name in layer.bayesian_names:
                layer.posterior(name).rho.add_(0.5 * torch.randn_like(layer.posterior(name).rho))
        return layer

    def twin(self, layer: BayesianLayer) -> nn.Module:
        """Torch's own layer at the posterior mean."""
        plain = layer.twin(*self.args, **self.kwargs).to(layer.posterior().mu.dtype)
        state = {key.removesuffix("_mu"): value for key, value in layer.state_dict().items()}
        plain.load_state_dict({key: state[key] for key in plain.state_dict()})
        return plain

    def variants(self) -> Iterator[BayesianLayer]:
        for estimator in self.estimators:
            for bias in (False, True):
                for tie in (False, True):
                    yield self.make(estimator=estimator, bayesian_bias=bias, tie_sigma=tie)

    def covariance(self, layer: BayesianLayer, x: Tensor) -> tuple[Tensor, Tensor]:
        """Exact mean (outputs,) and covariance (outputs, outputs) of the flattened output."""
        plain = self.twin(layer).double()
        parameters = {name: p.detach() for name, p in plain.named_parameters()}
        x = x.double()

        def output(bayesian):
            return torch.func.functional_call(plain, {**parameters, **bayesian}, (x,)).flatten()

        bayesian = {name: parameters[name] for name in layer.bayesian_names}
        jacobian = torch.func.jacrev(output)(bayesian)
        total = torch.zeros(output({}).numel(), output({}).numel(), dtype=torch.float64)
        for name in layer.bayesian_names:
            mu, sigma = layer.posterior(name).mu, layer.posterior(name).sigma
            rows = jacobian[name].flatten(1) * sigma.double().expand_as(mu).flatten()
            total += rows @ rows.T
        return output({}), total

    # -- values ---------------------------------------------------------------------------

    def test_mean_is_the_twin_to_the_last_bit(self):
        for layer in self.variants():
            layer.eval()
            assert torch.equal(layer(self.inputs()), self.twin(layer)(self.inputs()))

    def test_vanishing_sigma_is_the_twin(self):
        for layer in self.variants():
            with torch.no_grad():
                for name in layer.bayesian_names:
                    layer.posterior(name).rho.fill_(-30.0)
            assert layer.training
            torch.testing.assert_close(layer(self.inputs()), self.twin(layer)(self.inputs()))

    @torch.no_grad()
    def test_moments_of_each_output_are_exact(self):
        for layer in self.variants():
            outputs = torch.stack([layer(self.inputs()).flatten() for _ in range(REPLICAS)])
            mean, covariance = self.covariance(layer, self.inputs())
            var = covariance.diagonal()
            z = (outputs.mean(0) - mean) / (var / REPLICAS).sqrt()
            assert z.abs().max() < 5, layer
            z = (outputs.var(0) / var - 1) / (2 / REPLICAS) ** 0.5
            assert z.abs().max() < 5, layer

    @torch.no_grad()
    def test_weight_estimator_uses_one_weight_for_all_outputs(self):
        layer = self.make(estimator="weight")
        outputs = torch.stack([layer(self.inputs()).flatten() for _ in range(REPLICAS)])
        _, covariance = self.covariance(layer, self.inputs())
        scale = covariance.diagonal().outer(covariance.diagonal()).sqrt()
        error = (outputs.T.double().cov() - covariance) / scale
        # The standard error of a sample correlation is at most sqrt(2 / n).
        assert error.abs().max() < 5 * (2 / REPLICAS) ** 0.5

    def test_eval_is_deterministic_and_train_is_not(self):
        for layer in self.variants():
            assert not torch.equal(layer(self.inputs()), layer(self.inputs()))
            layer.eval()
            assert torch.equal(layer(self.inputs()), layer(self.inputs()))

    def test_contexts_override_the_mode(self):
        for layer in self.variants():
            mean = layer.eval()(self.inputs())
            with bbb.sampling(layer, generator=torch.Generator().manual_seed(1)):
                first = layer(self.inputs())
            with bbb.sampling(layer, generator=torch.Generator().manual_seed(1)):
                assert torch.equal(layer(self.inputs()), first)
                assert not torch.equal(layer(self.inputs()), first)
            assert not torch.equal(first, mean)
            with bbb.posterior_mean(layer.train()):
                assert torch.equal(layer(self.inputs()), mean)
            with bbb.fixed_sample(layer, seed=2):
                assert torch.equal(layer(self.inputs()), layer(self.inputs()))

    # -- gradients ------------------------------------------------------------------------

    def test_gradients_of_a_draw_are_right(self):
        for layer in self.variants():
            layer.double()
            x = self.inputs(torch.float64)
            names = [n for n, _ in layer.named_parameters()]

            def run(*values, layer=layer, x=x, names=names):
                # The same noise in each call, whatever the estimator.
                with bbb.sampling(layer, generator=torch.Generator().manual_seed(0)):
                    state = dict(zip(names, values, strict=True))
                    return torch.func.functional_call(layer, state, (x,))

            values = [p.detach().clone().requires_grad_() for p in layer.parameters()]
            assert torch.autograd.gradcheck(run, values, atol=1e-6, fast_mode=True)

    def test_two_forwards_then_one_backward(self):
        """Peers differentiate both draws with the noise of the last one."""
        for layer in self.variants():
            together, apart = [], []
            with bbb.sampling(layer, generator=torch.Generator().manual_seed(5)):
                losses = [layer(self.inputs()).square().sum() for _ in range(2)]
            together = torch.autograd.grad(sum(losses), list(layer.parameters()))
            with bbb.sampling(layer, generator=torch.Generator().manual_seed(5)):
                apart = [
                    torch.autograd.grad(
                        layer(self.inputs()).square().sum(), list(layer.parameters())
                    )
                    for _ in range(2)
                ]
            for joint, first, second in zip(together, *apart, strict=True):
                torch.testing.assert_close(joint, first + second)

    def test_every_parameter_gets_a_gradient(self):
        for layer in self.variants():
            layer(self.inputs()).square().sum().backward()
            for name, parameter in layer.named_parameters():
                assert parameter.grad is not None, name
                assert parameter.grad.abs().sum() > 0, name

    def test_zero_input_gives_the_bias_and_finite_gradients(self):
        """sqrt has an infinite slope at 0, and a variance floor would add noise."""
        for estimator in self.estimators:
            layer = self.make(estimator=estimator)
            x = torch.zeros_like(self.inputs()).requires_grad_()
            output = layer(x)
            assert torch.equal(output, self.twin(layer)(x))
            output.sum().backward()
            for tensor in (x, *layer.parameters()):
                assert torch.isfinite(tensor.grad).all()
            assert not layer.posterior().rho.grad.any()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("rho", [-100.0, -15.0, 0.0, 100.0])
    def test_is_finite_for_every_rho_and_dtype(self, dtype, rho):
        for layer in self.variants():
            layer.to(dtype)
            with torch.no_grad():
                for name in layer.bayesian_names:
                    layer.posterior(name).rho.fill_(rho)
            output = layer(self.inputs(dtype))
            kl = bbb.kl_divergence(layer)
            assert output.dtype == dtype
            assert kl.dtype == torch.float32
            (output.float().mean() + 1e-3 * kl).backward()
            for tensor in (output, kl, *(p.grad for p in layer.parameters())):
                assert torch.isfinite(tensor).all()
            assert layer.posterior().rho.grad.any()

    # -- torch.nn manners -----------------------------------------------------------------

    def test_forward_writes_nothing(self):
        for layer in self.variants():
            before = {key: id(value) for key, value in vars(layer).items()}
            buffers = dict(layer.named_buffers())
            layer(self.inputs())
            assert {key: id(value) for key, value in vars(layer).items()} == before
            assert dict(layer.named_buffers()) == buffers

    def test_state_dict_holds_posteriors_only(self):
        layer = self.make(bayesian_bias=True)
        plain = self.twin(layer).state_dict()
        expected = [f"{key}_{part}" for key in plain for part in ("mu", "rho")]
        assert list(layer.state_dict()) == expected
        assert list(self.make().state_dict())[:2] == expected[:2]

    def test_checkpoint_round_trip(self):
        for layer in self.variants():
            other = self.layer(
                *self.args,
                **self.kwargs,
                bayesian_bias=layer.options.bayesian_bias,
                tie_sigma=layer.options.tie_sigma,
            )
            other.load_state_dict(layer.state_dict())
            for key, value in other.state_dict().items():
                assert torch.equal(value, layer.state_dict()[key])

    def test_loads_the_twins_state_dict_as_means(self):
        layer = self.make(bayesian_bias=True)
        rho = layer.posterior().rho.detach().clone()
        torch.manual_seed(9)
        plain = layer.twin(*self.args, **self.kwargs)
        layer.load_state_dict(plain.state_dict())
        assert torch.equal(layer.posterior().mu, plain.weight)
        assert torch.equal(layer.posterior().rho, rho)
        assert torch.equal(layer.eval()(self.inputs()), plain(self.inputs()))

    def test_pretrained_centre_survives_a_checkpoint(self):
        layer = self.make(prior=bbb.priors.Pretrained(0.1))
        centre = layer.posterior().mu.detach().clone()
        with torch.no_grad():
            layer.posterior().mu.add_(1.0)
        assert torch.equal(layer.weight_prior_loc, centre)  # a copy, not the mean itself
        other = self.layer(*self.args, **self.kwargs, prior=bbb.priors.Pretrained(0.1))
        other.load_state_dict(layer.state_dict())
        assert torch.equal(other.weight_prior_loc, centre)
        torch.testing.assert_close(bbb.kl_divergence(other), bbb.kl_divergence(layer))

    def test_twins_state_dict_sets_the_pretrained_centre(self):
        layer = self.make(prior=bbb.priors.Pretrained(0.1))
        torch.manual_seed(9)
        plain = layer.twin(*self.args, **self.kwargs)
        layer.load_state_dict(plain.state_dict())
        assert torch.equal(layer.weight_prior_loc, plain.weight)

    def test_copies_and_pickles_after_a_forward(self):
        for layer in self.variants():
            layer(self.inputs()).sum()
            stream = io.BytesIO()
            torch.save(layer, stream)
            stream.seek(0)
            copies = (
                copy.deepcopy(layer),
                pickle.loads(pickle.dumps(layer)),  # noqa: S301
                torch.load(stream, weights_only=False),
            )
            for other in copies:
                assert repr(other) == repr(layer)
                assert torch.equal(other.eval()(self.inputs()), layer.eval()(self.inputs()))
                assert other.posterior().mu is not layer.posterior().mu
                layer.train()

    def test_converted_is_never_stale(self):
        layer = self.make().eval()
        layer(self.inputs())
        layer.double()
        with torch.no_grad():
            layer.posterior().mu.mul_(2.0)
        x = self.inputs(torch.float64)
        assert torch.equal(layer(x), self.twin(layer)(x))

    def test_reset_parameters_is_the_twins(self):
        layer = self.make(sigma_init=0.05, bayesian_bias=True, prior=bbb.priors.Pretrained(0.1))
        torch.manual_seed(4)
        layer.reset_parameters()
        torch.manual_seed(4)
        plain = layer.twin(*self.args, **self.kwargs)
        torch.manual_seed(4)
        plain.reset_parameters()
        assert torch.equal(layer.posterior().mu, plain.weight)
        assert torch.equal(layer.weight_prior_loc, plain.weight)
        torch.testing.assert_close(
            layer.posterior().sigma, torch.full_like(layer.posterior().rho, 0.05)
        )

    def test_device_and_dtype_arguments(self):
        layer = self.layer(*self.args, **self.kwargs, device="meta", dtype=torch.float64)
        assert {p.device.type for p in layer.parameters()} == {"meta"}
        assert {p.dtype for p in layer.parameters()} == {torch.float64}
        layer = layer.to_empty(device="cpu")
        layer.reset_parameters()
        assert torch.isfinite(layer(self.inputs(torch.float64))).all()

    def test_repr_shows_sizes_prior_and_estimator(self):
        for layer in self.variants():
            plain = repr(self.twin(layer)).removesuffix(")")
            assert repr(layer).startswith(f"Bayes{plain}, prior=Normal(loc=0.0, scale=0.1)")
            assert f"estimator={layer.options.estimator!r}" in repr(layer)
            assert ("tie_sigma=True" in repr(layer)) == layer.options.tie_sigma

    def test_unknown_estimator_is_refused(self):
        with pytest.raises(bbb.errors.ConfigError, match=r"needs one of 'auto'"):
            self.make(estimator="loca")

    # -- torch's transformations ------------------------------------------------------------

    @IGNORE_DYNAMO
    def test_runs_under_compile_without_graph_breaks(self):
        for estimator in self.estimators:
            torch.compiler.reset()
            layer = self.make(estimator=estimator)
            compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
            first = compiled(self.inputs())
            assert not torch.equal(first, compiled(self.inputs()))
            first.square().sum().backward()
            assert layer.posterior().rho.grad.any()
            layer.eval()
            assert torch.equal(compiled(self.inputs()), layer(self.inputs()))

    @IGNORE_DYNAMO
    def test_compiled_forward_still_obeys_the_contexts(self):
        torch.compiler.reset()
        layer = self.make(estimator="weight").eval()
        compiled = torch.compile(layer, backend="aot_eager")
        mean = compiled(self.inputs())
        with bbb.fixed_sample(layer, seed=1):
            drawn = compiled(self.inputs())
            assert torch.equal(drawn, layer(self.inputs()))
        assert not torch.equal(drawn, mean)
        assert torch.equal(compiled(self.inputs()), mean)

    def test_vmap_draws_one_weight_per_example(self):
        for estimator in self.estimators:
            layer = self.make(estimator=estimator)
            x = self.inputs()
            same = x[:1].expand_as(x)
            outputs = torch.vmap(layer, randomness="different")(same)
            torch.manual_seed(0)
            assert outputs.shape == layer(x).shape
            assert not torch.equal(outputs[0], outputs[1])

    def test_functional_call_and_functional_gradient(self):
        layer = self.make(estimator="weight")
        state = {key: value.detach() * 2 for key, value in layer.named_parameters()}

        def loss(state):
            with bbb.fixed_sample(layer, seed=1):
                return torch.func.functional_call(layer, state, (self.inputs(),)).square().sum()

        gradient = torch.func.grad(loss)(state)
        other = copy.deepcopy(layer)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.mul_(2)
        with bbb.fixed_sample(other, seed=1):
            other(self.inputs()).square().sum().backward()
        for key, parameter in other.named_parameters():
            torch.testing.assert_close(gradient[key], parameter.grad)

    def test_autocast_keeps_the_kl_in_float32(self):
        for layer in self.variants():
            with torch.autocast("cpu", dtype=torch.bfloat16):
                output = layer(self.inputs())
                kl = bbb.kl_divergence(layer)
            assert output.dtype == torch.bfloat16
            torch.testing.assert_close(kl, bbb.kl_divergence(layer), rtol=0, atol=0)
            output.float().sum().backward()

    def test_gradient_checkpointing_draws_the_same_weights_again(self):
        for layer in self.variants():
            x = self.inputs().requires_grad_()
            gradients = []
            for run in (layer, lambda x, layer=layer: checkpoint(layer, x, use_reentrant=False)):
                torch.manual_seed(3)
                gradients.append(torch.autograd.grad(run(x).square().sum(), [x, layer.weight_rho]))
            for plain, again in zip(*gradients, strict=True):
                torch.testing.assert_close(plain, again)
