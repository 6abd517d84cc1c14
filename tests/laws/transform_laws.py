"""What every Bayesian layer must do under torch's transformations; part of `LayerLaws`."""

import copy
import warnings

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import bbb


def ignore_dynamo(test):
    """Let pass what Dynamo does to every autograd.Function, and to what crosses a graph break."""
    for warning in (
        "ignore:.*should not be instantiated:DeprecationWarning",
        "ignore:The .grad attribute of a Tensor:UserWarning",
    ):
        test = pytest.mark.filterwarnings(warning)(test)
    return test


class TransformLaws:
    """Facts and helpers are those of `LayerLaws`.

    Attributes:
        traceable: `torch.compile` traces torch's own layer.
        mappable: `torch.vmap` maps torch's own layer over examples.
        compiled: Estimators to compile, which takes seconds; all, where it is None. A suite that
            differs from another one in its facts only needs none.
    """

    traceable = True
    mappable = True
    compiled: tuple[str, ...] | None = None

    @ignore_dynamo
    def test_runs_under_compile_without_graph_breaks(self):
        if not self.traceable:
            pytest.skip("torch leaves its own layer out of the graph")
        for estimator in self.estimators if self.compiled is None else self.compiled:
            torch.compiler.reset()
            layer = self.make(estimator=estimator)
            compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
            first = self.run(compiled, self.inputs())
            assert not torch.equal(first, self.run(compiled, self.inputs()))
            first.square().sum().backward()
            for _, rho in self.posteriors(layer).values():
                assert rho.grad.any()
            layer.eval()
            expected = self.run(layer, self.inputs())
            assert torch.equal(self.run(compiled, self.inputs()), expected)

    @ignore_dynamo
    def test_compiled_forward_still_obeys_the_contexts(self):
        if self.compiled == ():
            pytest.skip("as of another suite")
        torch.compiler.reset()
        layer = self.make(estimator="weight").eval()
        compiled = torch.compile(layer, backend="aot_eager")
        mean = self.run(compiled, self.inputs())
        with bbb.fixed_sample(layer, seed=1):
            drawn = self.run(compiled, self.inputs())
            assert torch.equal(drawn, self.run(layer, self.inputs()))
        assert not torch.equal(drawn, mean)
        assert torch.equal(self.run(compiled, self.inputs()), mean)

    def test_vmap_draws_one_weight_per_example(self):
        if not self.mappable:
            with pytest.raises(RuntimeError):
                torch.vmap(lambda x: self.run(self.twin(self.make()), x))(self.inputs())
            pytest.skip("torch has no vmap rule for its own layer")
        for estimator in self.estimators:
            layer = self.make(estimator=estimator)
            x = self.inputs()
            same = x[:1].expand_as(x)
            with warnings.catch_warnings():
                # Torch's attention has no rule of its own on a CPU.
                warnings.filterwarnings("ignore", message="There is a performance drop")
                outputs = torch.vmap(lambda x, la=layer: self.run(la, x), randomness="different")(
                    same
                )
            assert len(outputs) == len(x)
            assert not torch.equal(outputs[0], outputs[1])

    def test_functional_call_and_functional_gradient(self):
        layer = self.make(estimator="weight")
        state = {key: value.detach() * 2 for key, value in layer.named_parameters()}

        def loss(state):
            with bbb.fixed_sample(layer, seed=1):
                result = torch.func.functional_call(layer, state, self.arguments(self.inputs()))
                return self.output(result).square().sum()

        gradient = torch.func.grad(loss)(state)
        other = copy.deepcopy(layer)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.mul_(2)
        with bbb.fixed_sample(other, seed=1):
            self.run(other, self.inputs()).square().sum().backward()
        for key, parameter in other.named_parameters():
            torch.testing.assert_close(gradient[key], parameter.grad)

    def test_autocast_keeps_the_kl_in_float32(self):
        for layer in self.variants():
            with torch.autocast("cpu", dtype=torch.bfloat16):
                output = self.run(layer, self.inputs())
                kl = bbb.kl_divergence(layer)
                assert output.dtype == self.run(self.twin(layer), self.inputs()).dtype
            torch.testing.assert_close(kl, bbb.kl_divergence(layer), rtol=0, atol=0)
            output.float().sum().backward()

    def test_gradient_checkpointing_draws_the_same_weights_again(self):
        for layer in self.variants():
            parameters = list(layer.parameters())
            gradients = []
            for run in (self.run, lambda *a: checkpoint(self.run, *a, use_reentrant=False)):
                torch.manual_seed(3)
                loss = run(layer, self.inputs()).square().sum()
                gradients.append(torch.autograd.grad(loss, parameters))
            for plain, again in zip(*gradients, strict=True):
                torch.testing.assert_close(plain, again)

    def test_plain_copy_exports(self):
        plain = bbb.to_deterministic(self.make()).eval()
        arguments = self.arguments(self.inputs())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, of its recurrent layers
            exported = torch.export.export(plain, arguments).module()
            output = self.output(exported(*arguments))
        torch.testing.assert_close(output, self.run(plain, self.inputs()))
