"""From a configuration to modules: network, head, Bayesian layers."""

from collections.abc import Mapping

from torch import Tensor, nn

from bbb import priors
from bbb.convert import bayesianize_
from bbb.errors import ConfigError
from bbb.speaker.config import BayesConfig, NetworkConfig, TrainConfig
from bbb.speaker.heads import AAMSoftmax, AMSoftmax, Softmax
from bbb.speaker.xvector import XVector


def build_network(config: TrainConfig) -> XVector:
    """A plain extractor with random weights.

    Args:
        config: Features and network.

    Returns:
        The network, in train mode.
    """
    network = config.network
    return XVector(
        in_dim=config.features.dim,
        channels=network.channels,
        pooled_channels=network.pooled_channels,
        embed_dim=network.embed_dim,
        embed_from=network.embed_from,
        dropout=network.dropout,
    )


def build_head(config: NetworkConfig, num_classes: int) -> nn.Module:
    """A classification head with random weights.

    Args:
        config: Kind, margin and scale.
        num_classes: Training speakers (times speeds).

    Returns:
        A module that maps (embeddings, labels) to logits.
    """
    if config.head == "softmax":
        return Softmax(config.embed_dim, num_classes)
    kind = {"am": AMSoftmax, "aam": AAMSoftmax}[config.head]
    return kind(config.embed_dim, num_classes, margin=config.margin, scale=config.scale)


def build_prior(config: BayesConfig) -> priors.Prior:
    """The prior over the Bayesian weights.

    Args:
        config: Its kind and sizes.

    Returns:
        One prior for all layers; "pretrained" takes its centre when a layer is converted.
    """
    if config.prior == "scale_mixture":
        return priors.ScaleMixture(
            pi=config.mixture_pi, sigma1=config.mixture_sigma1, sigma2=config.mixture_sigma2
        )
    if config.prior == "pretrained":
        return priors.Pretrained(scale=config.prior_sigma)
    return priors.Normal(0.0, config.prior_sigma)


def make_bayesian(
    network: nn.Module, config: BayesConfig, centre: Mapping[str, Tensor] | None = None
) -> None:
    """Convert the chosen layers in place; the means keep the network's weights.

    Args:
        network: A plain extractor.
        config: Which layers, and how.
        centre: State dict of a trained plain extractor, where a "pretrained" prior is centred.

    Raises:
        ConfigError: If ``centre`` is of another shape, or a layer's name matches nothing.
    """  # noqa: DOC502 (raised by load_weights and bayesianize_)
    if not config.layers:
        return
    start = {name: value.clone() for name, value in network.state_dict().items()}
    if centre is not None:
        load_weights(network, centre, "bayes.baseline")
    bayesianize_(
        network,
        layers=list(config.layers),
        prior=build_prior(config),
        sigma_init=config.sigma_init,
        estimator=config.estimator,
        tie_sigma=config.tie_sigma,
    )
    if centre is not None:
        _restore_means(network, start)


def _restore_means(network: nn.Module, start: Mapping[str, Tensor]) -> None:
    """Put a plain state dict into the means, and leave the prior's centre where it is."""
    bayesian = network.state_dict().keys()
    means = {f"{name}_mu" if f"{name}_mu" in bayesian else name: start[name] for name in start}
    # Plain names would fill the centres as well; only rho and they may be missing.
    network.load_state_dict(means, strict=False)


def load_weights(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load a state dict of the very same architecture.

    Args:
        module: To fill.
        state: Names and tensors.
        source: Where the state is from, for the message.

    Raises:
        ConfigError: If a name is missing or unknown, or a shape differs; names the first.
    """
    mine = module.state_dict()
    for name, value in state.items():
        if name in mine and mine[name].shape != value.shape:
            msg = (
                f"{source}: checkpoint of another architecture: '{name}' is "
                f"{tuple(value.shape)} there and {tuple(mine[name].shape)} here; use the network "
                "settings that it was trained with"
            )
            raise ConfigError(msg)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        msg = (
            f"{source}: checkpoint of another architecture: {reason[:300]}; use the network "
            "settings that it was trained with"
        )
        raise ConfigError(msg) from error
