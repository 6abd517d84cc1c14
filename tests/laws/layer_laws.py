"""What every Bayesian layer must satisfy. A new layer subclasses the suite and fills in the facts.

The oracle is torch's own layer, called by ``torch.func.functional_call`` with the weights that the
Bayesian one must have had. What torch's layers must be able to do is in `TransformLaws`, what only
holds for one linear map in `tests.laws.linear_laws`.
"""

import copy
import io
import pickle
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import bbb
from bbb.layers import BayesianLayer, bayesian_layers
from tests.laws.transform_laws import TransformLaws


class LayerLaws(TransformLaws):
    """Subclass it, name the class ``Test...``, set ``layer`` and ``args``, and fill ``inputs``."""

    layer: type[BayesianLayer]
    args: tuple = ()
    kwargs: ClassVar[dict] = {}
    estimators: tuple[str, ...] = ("weight",)

    def inputs(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """A batched input, of few numbers."""
        raise NotImplementedError

    def arguments(self, x: Tensor) -> tuple:
        """What ``forward`` takes, made of an input."""
        return (x,)

    def output(self, result: Any) -> Tensor:
        """All that ``forward`` computes, as one tensor."""
        return result

    def run(self, layer: nn.Module, x: Tensor) -> Tensor:
        return self.output(layer(*self.arguments(x)))

    def make(self, **bayes) -> BayesianLayer:
        torch.manual_seed(0)
        bayes = {"sigma_init": 0.3, **bayes}
        layer = self.layer(*self.args, **self.kwargs, **bayes)
        with torch.no_grad():  # unequal sigmas, so that a mix-up of axes shows
            for _, rho in self.posteriors(layer).values():
                rho.add_(0.5 * torch.randn_like(rho))
        return layer

    def posteriors(self, layer: BayesianLayer) -> dict[str, tuple[Tensor, Tensor]]:
        """The parameters mean and rho by the twin's name of the weight, as noise is drawn."""
        return {
            f"{prefix}.{name}".strip("."): (
                getattr(sub, f"{name}_mu"),
                getattr(sub, f"{name}_rho"),
            )
            for prefix, sub in layer.named_modules()
            if isinstance(sub, BayesianLayer)
            for name in sub.bayesian_names
        }

    def twin(self, layer: BayesianLayer) -> nn.Module:
        """Torch's own layer at the posterior mean."""
        parameter = next(layer.parameters())
        with torch.device(parameter.device):
            plain = layer.twin(*self.args, **self.kwargs).to(parameter.dtype)
        state = {key.removesuffix("_mu"): value for key, value in layer.state_dict().items()}
        plain.load_state_dict({key: state[key] for key in plain.state_dict()})
        return plain

    def with_noise(self, layer: BayesianLayer, eps: dict[str, Tensor], x: Tensor) -> Tensor:
        """Torch's own layer with weights ``mu + softplus(rho) eps``."""
        weights = {
            name: mu + nn.functional.softplus(rho) * eps[name]
            for name, (mu, rho) in self.posteriors(layer).items()
        }
        plain = self.twin(layer).train(layer.training)
        return self.output(torch.func.functional_call(plain, weights, self.arguments(x)))

    def variants(self) -> Iterator[BayesianLayer]:
        for estimator in self.estimators:
            for bias in (False, True):
                for tie in (False, True):
                    yield self.make(estimator=estimator, bayesian_bias=bias, tie_sigma=tie)

    # -- values ---------------------------------------------------------------------------

    def test_mean_is_the_twin_to_the_last_bit(self):
        for layer in self.variants():
            layer.eval()
            plain = self.twin(layer).eval()
            assert torch.equal(self.run(layer, self.inputs()), self.run(plain, self.inputs()))
            with torch.no_grad():  # where torch may choose another kernel
                assert torch.equal(self.run(layer, self.inputs()), self.run(plain, self.inputs()))

    def test_vanishing_sigma_is_the_twin(self):
        for layer in self.variants():
            with torch.no_grad():
                for _, rho in self.posteriors(layer).values():
                    rho.fill_(-30.0)
            assert layer.training
            torch.testing.assert_close(
                self.run(layer, self.inputs()), self.run(self.twin(layer), self.inputs())
            )

    def test_a_draw_is_the_twin_with_the_drawn_weights(self):
        for layer in self.variants():
            generator = torch.Generator().manual_seed(8)
            eps = {
                name: torch.randn(mu.shape, generator=generator)
                for name, (mu, _) in self.posteriors(layer).items()
            }
            for mode in (True, False):
                layer.train(mode)
                expected = self.with_noise(layer, eps, self.inputs())
                with bbb.fixed_sample(layer, seed=8):
                    torch.testing.assert_close(self.run(layer, self.inputs()), expected)
                plain = bbb.sample_deterministic(layer, generator=torch.Generator().manual_seed(8))
                assert type(plain) is layer.twin
                torch.testing.assert_close(self.run(plain, self.inputs()), expected)

    def test_one_draw_serves_a_whole_call(self):
        """A peer draws anew at every time step."""
        layer = self.make(estimator="weight")
        count = sum(mu.numel() for mu, _ in self.posteriors(layer).values())
        generator, other = (torch.Generator().manual_seed(1) for _ in range(2))
        with bbb.sampling(layer, generator=generator):
            self.run(layer, self.inputs())
        for mu, _ in self.posteriors(layer).values():
            torch.randn(mu.shape, generator=other)
        assert count > 0
        assert torch.equal(generator.get_state(), other.get_state())

    def test_eval_is_deterministic_and_train_is_not(self):
        for layer in self.variants():
            first, second = (self.run(layer, self.inputs()) for _ in range(2))
            assert not torch.equal(first, second)
            layer.eval()
            first, second = (self.run(layer, self.inputs()) for _ in range(2))
            assert torch.equal(first, second)

    def test_contexts_override_the_mode(self):
        for layer in self.variants():
            mean = self.run(layer.eval(), self.inputs())
            for grad in (True, False):  # without gradients torch may choose another kernel
                with torch.set_grad_enabled(grad):
                    with bbb.sampling(layer, generator=torch.Generator().manual_seed(1)):
                        first = self.run(layer, self.inputs())
                    with bbb.sampling(layer, generator=torch.Generator().manual_seed(1)):
                        assert torch.equal(self.run(layer, self.inputs()), first)
                        assert not torch.equal(self.run(layer, self.inputs()), first)
                    assert not torch.allclose(first, mean)
            with bbb.posterior_mean(layer.train()):
                assert torch.equal(self.run(layer, self.inputs()), mean)
            with bbb.fixed_sample(layer, seed=2):
                first, second = (self.run(layer, self.inputs()) for _ in range(2))
                assert torch.equal(first, second)

    def test_kl_counts_each_weight_once(self):
        layer = self.make(bayesian_bias=True, prior=bbb.priors.Normal(0.1, 0.4))
        expected = sum(
            torch.distributions.kl_divergence(
                torch.distributions.Normal(mu.double(), nn.functional.softplus(rho.double())),
                torch.distributions.Normal(0.1, 0.4),
            ).sum()
            for mu, rho in self.posteriors(layer).values()
        )
        torch.testing.assert_close(bbb.kl_divergence(layer).double(), expected, rtol=1e-5, atol=0)

    # -- gradients ------------------------------------------------------------------------

    def test_gradients_of_a_draw_are_right(self):
        for layer in self.variants():
            layer.double()
            names = [n for n, _ in layer.named_parameters()]

            def run(*values, layer=layer, names=names):
                # The same noise in each call, whatever the estimator.
                with bbb.sampling(layer, generator=torch.Generator().manual_seed(0)):
                    state = dict(zip(names, values, strict=True))
                    arguments = self.arguments(self.inputs(torch.float64))
                    return self.output(torch.func.functional_call(layer, state, arguments))

            values = [p.detach().clone().requires_grad_() for p in layer.parameters()]
            assert torch.autograd.gradcheck(run, values, atol=1e-6, fast_mode=True)

    def test_two_forwards_then_one_backward(self):
        """Peers differentiate both draws with the noise of the last one."""
        for layer in self.variants():
            parameters = list(layer.parameters())
            with bbb.sampling(layer, generator=torch.Generator().manual_seed(5)):
                losses = [self.run(layer, self.inputs()).square().sum() for _ in range(2)]
            together = torch.autograd.grad(sum(losses), parameters)
            with bbb.sampling(layer, generator=torch.Generator().manual_seed(5)):
                apart = [
                    torch.autograd.grad(self.run(layer, self.inputs()).square().sum(), parameters)
                    for _ in range(2)
                ]
            for joint, first, second in zip(together, *apart, strict=True):
                torch.testing.assert_close(joint, first + second)

    def test_every_parameter_gets_a_gradient(self):
        for layer in self.variants():
            self.run(layer, self.inputs()).square().sum().backward()
            for name, parameter in layer.named_parameters():
                assert parameter.grad is not None, name
                assert parameter.grad.abs().sum() > 0, name

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("rho", [-100.0, -15.0, 0.0, 100.0])
    def test_is_finite_for_every_rho_and_dtype(self, dtype, rho):
        for layer in self.variants():
            layer.to(dtype)
            with torch.no_grad():
                for _, value in self.posteriors(layer).values():
                    value.fill_(rho)
            output = self.run(layer, self.inputs(dtype))
            kl = bbb.kl_divergence(layer)
            assert output.dtype == dtype
            assert kl.dtype == torch.float32
            (output.float().mean() + 1e-3 * kl).backward()
            for tensor in (output, kl, *(p.grad for p in layer.parameters())):
                assert torch.isfinite(tensor).all()
            for _, value in self.posteriors(layer).values():
                assert value.grad.any()

    # -- torch.nn manners -----------------------------------------------------------------

    def test_forward_writes_nothing(self):
        for layer in self.variants():
            before = {key: id(value) for key, value in vars(layer).items()}
            tensors = dict(layer.named_buffers()) | dict(layer.named_parameters())
            self.run(layer, self.inputs())
            assert {key: id(value) for key, value in vars(layer).items()} == before
            after = dict(layer.named_buffers()) | dict(layer.named_parameters())
            assert all(after[key] is value for key, value in tensors.items())
            assert after.keys() == tensors.keys()

    def test_state_dict_holds_posteriors_only(self):
        layer = self.make(bayesian_bias=True)
        plain = self.twin(layer).state_dict()
        assert list(layer.state_dict()) == [f"{key}_{part}" for key in plain for part in PARTS]
        for key in self.make().state_dict():
            assert "bias" in key or key.endswith(("weight_mu", "weight_rho")) or "weight_" in key

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
        rhos = [rho.detach().clone() for _, rho in self.posteriors(layer).values()]
        torch.manual_seed(9)
        plain = layer.twin(*self.args, **self.kwargs)
        layer.load_state_dict(plain.state_dict())
        for (name, (mu, rho)), before in zip(self.posteriors(layer).items(), rhos, strict=True):
            assert torch.equal(mu, plain.get_parameter(name))
            assert torch.equal(rho, before)
        output = self.run(layer.eval(), self.inputs())
        assert torch.equal(output, self.run(plain.eval(), self.inputs()))

    def test_round_trip_from_and_to_the_twin(self):
        torch.manual_seed(9)
        plain = self.layer.twin(*self.args, **self.kwargs)
        model = bbb.bayesianize(plain, bayesian_bias=True, prior=bbb.priors.Pretrained(0.1))
        assert type(model) is self.layer
        self.run(model, self.inputs()).sum().backward()
        again = bbb.to_deterministic(model)
        assert [type(m) for m in again.modules()] == [type(m) for m in plain.modules()]
        assert list(again.state_dict()) == list(plain.state_dict())
        assert vars(again).keys() == vars(plain).keys()
        assert repr(again) == repr(plain)
        for training in (True, False):
            outputs = []
            for layer in (plain, again):
                torch.manual_seed(0)
                outputs.append(self.run(layer.train(training), self.inputs()))
            assert torch.equal(*outputs)
        again.load_state_dict(plain.state_dict())
        plain.load_state_dict(again.state_dict())

    def test_frozen_twin_is_frozen(self):
        plain = self.layer.twin(*self.args, **self.kwargs).requires_grad_(False)
        model = bbb.bayesianize(plain, bayesian_bias=True)
        assert not any(p.requires_grad for p in model.parameters())
        assert not self.run(model, self.inputs()).requires_grad
        assert not any(p.requires_grad for p in bbb.to_deterministic(model).parameters())

    def test_pretrained_centre_survives_a_checkpoint(self):
        layer = self.make(prior=bbb.priors.Pretrained(0.1))
        centres = {name: mu.detach().clone() for name, (mu, _) in self.posteriors(layer).items()}
        with torch.no_grad():
            for mu, _ in self.posteriors(layer).values():
                mu.add_(1.0)
        other = self.layer(*self.args, **self.kwargs, prior=bbb.priors.Pretrained(0.1))
        other.load_state_dict(layer.state_dict())
        for name, centre in centres.items():  # a copy, not the mean itself
            assert torch.equal(layer.get_buffer(f"{name}_prior_loc"), centre)
            assert torch.equal(other.get_buffer(f"{name}_prior_loc"), centre)
        torch.testing.assert_close(bbb.kl_divergence(other), bbb.kl_divergence(layer))

    def test_twins_state_dict_sets_the_pretrained_centre(self):
        layer = self.make(prior=bbb.priors.Pretrained(0.1))
        torch.manual_seed(9)
        plain = layer.twin(*self.args, **self.kwargs)
        layer.load_state_dict(plain.state_dict())
        for name in self.posteriors(layer):
            assert torch.equal(layer.get_buffer(f"{name}_prior_loc"), plain.get_parameter(name))

    def test_copies_and_pickles_after_a_forward(self):
        for layer in self.variants():
            self.run(layer, self.inputs()).sum()
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
                assert not {id(p) for p in other.parameters()} & {id(p) for p in layer.parameters()}
                with torch.no_grad():  # and each follows its own parameters
                    for parameter in other.parameters():
                        parameter.mul_(2.0)
                output = self.run(other.eval(), self.inputs())
                assert torch.equal(output, self.run(self.twin(other).eval(), self.inputs()))

    def test_converted_is_never_stale(self):
        layer = self.make().eval()
        self.run(layer, self.inputs())
        layer.double()
        with torch.no_grad():
            for mu, _ in self.posteriors(layer).values():
                mu.mul_(2.0)
        x = self.inputs(torch.float64)
        assert torch.equal(self.run(layer, x), self.run(self.twin(layer).eval(), x))

    def reset(self, plain: nn.Module) -> None:
        """Give torch's layer new initial values."""
        plain.reset_parameters()

    def test_reset_parameters_is_the_twins(self):
        layer = self.make(sigma_init=0.05, bayesian_bias=True, prior=bbb.priors.Pretrained(0.1))
        torch.manual_seed(4)
        layer.reset_parameters()
        torch.manual_seed(4)
        plain = layer.twin(*self.args, **self.kwargs)
        torch.manual_seed(4)
        self.reset(plain)
        for name, (mu, rho) in self.posteriors(layer).items():
            assert torch.equal(mu, plain.get_parameter(name))
            assert torch.equal(layer.get_buffer(f"{name}_prior_loc"), mu)
            torch.testing.assert_close(nn.functional.softplus(rho), torch.full_like(rho, 0.05))

    def test_device_and_dtype_arguments(self):
        layer = self.layer(*self.args, **self.kwargs, device="meta", dtype=torch.float64)
        assert {p.device.type for p in layer.parameters()} == {"meta"}
        assert {p.dtype for p in layer.parameters()} == {torch.float64}
        layer = layer.to_empty(device="cpu")
        layer.reset_parameters()
        assert torch.isfinite(self.run(layer, self.inputs(torch.float64))).all()

    def test_repr_shows_sizes_prior_and_estimator(self):
        for layer in self.variants():
            plain = self.twin(layer)
            assert repr(layer).startswith(f"Bayes{type(plain).__name__}(")
            assert plain.extra_repr() in repr(layer)
            assert "prior=Normal(loc=0.0, scale=0.1)" in repr(layer)
            assert f"estimator={layer.options.estimator!r}" in repr(layer)
            assert ("tie_sigma=True" in repr(layer)) == layer.options.tie_sigma

    def test_unknown_estimator_is_refused(self):
        with pytest.raises(bbb.errors.ConfigError, match=r"needs one of 'auto'"):
            self.make(estimator="loca")

    def test_estimator_that_the_layer_lacks_is_refused_and_auto_works(self):
        for estimator in {"local", "flipout"} - set(self.estimators):
            with pytest.raises(bbb.errors.ConfigError, match=rf"got '{estimator}', which is for"):
                self.make(estimator=estimator)
        assert torch.isfinite(self.run(self.make(estimator="auto"), self.inputs())).all()

    # -- code that reads weights around forward -------------------------------------------

    def test_weight_reads_as_the_mean_where_forward_takes_the_mean(self):
        layer = self.make().eval()
        for sub in bayesian_layers(layer, "test"):
            for name in sub.bayesian_names:
                assert getattr(sub, name) is sub.mean_parameter(name)

    def test_weight_reads_as_the_draw_where_it_is_fixed(self):
        layer = self.make()
        with bbb.fixed_sample(layer, seed=8):
            for sub in bayesian_layers(layer, "test"):
                for name in sub.bayesian_names:
                    weight, mu = getattr(sub, name), sub.mean_parameter(name)
                    assert type(weight) is Tensor
                    assert not torch.equal(weight, mu)
                    assert torch.equal(weight, getattr(sub, name))

    def test_weight_has_no_value_where_each_forward_draws(self):
        layer = self.make()
        for sub in bayesian_layers(layer, "test"):
            for name in sub.bayesian_names:
                weight, mu = getattr(sub, name), sub.mean_parameter(name)
                assert (weight.shape, weight.dtype, weight.device) == (
                    mu.shape,
                    mu.dtype,
                    mu.device,
                )
                assert weight.requires_grad
                assert repr(weight).startswith("UndrawnWeight(shape=(")
                with pytest.raises(bbb.errors.ConfigError, match="mul needs the value"):
                    weight * 2


PARTS = ("mu", "rho")
