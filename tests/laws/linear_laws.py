"""What holds beside `LayerLaws` for a layer whose output is linear in its weights.

Moments are compared with the exact ones: with the Jacobian J of torch's own layer (by torch.func)
the covariance of the output is ``J diag(sigma^2) J^T``.

Statistical tests use fixed seeds and bounds of five standard errors: one false alarm in 10^6 per
number, should a seed ever change.
"""

import torch
from torch import Tensor

from bbb.layers import BayesianLayer
from tests.laws.layer_laws import LayerLaws

REPLICAS = 1500


class LinearMapLaws(LayerLaws):
    """`LayerLaws`, and exact moments."""

    def covariance(self, layer: BayesianLayer, x: Tensor) -> tuple[Tensor, Tensor]:
        """Exact mean (outputs,) and covariance (outputs, outputs) of the flattened output."""
        plain = self.twin(layer).double()
        parameters = {name: p.detach() for name, p in plain.named_parameters()}
        names = layer.bayesian_names

        def output(bayesian):
            state = {**parameters, **bayesian}
            result = torch.func.functional_call(plain, state, self.arguments(x))
            return self.output(result).flatten()

        jacobian = torch.func.jacrev(output)({name: parameters[name] for name in names})
        mean = output({})
        total = torch.zeros(mean.numel(), mean.numel(), dtype=torch.float64)
        for name in names:
            mu, sigma = layer.posterior(name).mu, layer.posterior(name).sigma
            rows = jacobian[name].flatten(1) * sigma.double().expand_as(mu).flatten()
            total += rows @ rows.T
        return mean, total

    @torch.no_grad()
    def draws(self, layer: BayesianLayer) -> Tensor:
        """Outputs of many forwards, shape (replicas, outputs)."""
        x = self.inputs()
        mapped = torch.vmap(lambda _: self.run(layer, x).flatten(), randomness="different")
        return mapped(torch.zeros(REPLICAS))

    def test_moments_of_each_output_are_exact(self):
        for layer in self.variants():
            outputs = self.draws(layer)
            mean, covariance = self.covariance(layer, self.inputs(torch.float64))
            var = covariance.diagonal()
            random = var > 0  # what a transposed convolution does not reach is its bias
            torch.testing.assert_close(outputs[0, ~random], mean[~random].float())
            outputs, mean, var = outputs[:, random], mean[random], var[random]
            z = (outputs.mean(0) - mean) / (var / REPLICAS).sqrt()
            assert z.abs().max() < 5, layer
            z = (outputs.var(0) / var - 1) / (2 / REPLICAS) ** 0.5
            assert z.abs().max() < 5, layer

    def test_weight_estimator_uses_one_weight_for_all_outputs(self):
        layer = self.make(estimator="weight")
        _, covariance = self.covariance(layer, self.inputs(torch.float64))
        random = covariance.diagonal() > 0
        covariance = covariance[random][:, random]
        scale = covariance.diagonal().outer(covariance.diagonal()).sqrt()
        error = (self.draws(layer)[:, random].T.double().cov() - covariance) / scale
        # The standard error of a sample correlation is at most sqrt(2 / n).
        assert error.abs().max() < 5 * (2 / REPLICAS) ** 0.5


class LinearInputLaws(LinearMapLaws):
    """`LinearMapLaws`, for a layer that is linear in its input too."""

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
