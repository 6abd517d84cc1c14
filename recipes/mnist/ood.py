"""Digits that the net was not trained on: turned, noisy, or no digits at all.

For turned and noisy test digits: error, NLL, calibration and uncertainty over the strength. For
Fashion-MNIST, noise and quarter-turned digits: how well uncertainty tells them from test digits
(area under the ROC curve, 0.5 is chance). Writes OOD.md, ood.json and ood_*.png to --exp-dir.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import NonNegativeInt, PositiveInt
from rich.console import Console
from rich.progress import track
from torch import Tensor

from bbb.files import write_text
from bbb.uncertainty import mutual_information, predictive_entropy
from recipes.common import script
from recipes.common.statistics import interval_text, t_interval
from recipes.common.tables import markdown_table, print_markdown
from recipes.mnist.corruptions import LEVELS, corrupt, noise_images
from recipes.mnist.data import read_arrays, scale
from recipes.mnist.evaluate import dropout_outputs, figures, outputs
from recipes.mnist.ood_figures import draw
from recipes.mnist.runs import Run, load_model, read_runs, settings_of

Predict = Callable[[Tensor], Tensor]
Values = dict[str, dict[str, Any]]
SCORES = {"entropy": predictive_entropy, "mutual information": mutual_information}


@dataclasses.dataclass(frozen=True)
class Images:
    """Grey values, uint8 of (images, 28, 28).

    Attributes:
        test: Test digits.
        labels: Their digits.
        foreign: Images of other kinds, by name.
    """

    test: Tensor
    labels: Tensor
    foreign: dict[str, Tensor]


def load_images(data: str, fashion: str | None, count: int) -> Images:
    """Load and make what is looked at.

    Args:
        data: As of the trainings.
        fashion: Fashion-MNIST's .npz; None: leave it out.
        count: Images of each kind; 0: all.

    Returns:
        The images.

    Raises:
        ConfigError: If there is no such file.
    """  # noqa: DOC502 (by read_arrays)
    rows = slice(count or None)
    arrays = read_arrays(data)
    test = torch.from_numpy(arrays["x_test"])[rows]
    foreign = {"quarter turn": corrupt("rotation", test, 90.0), "noise": noise_images(len(test))}
    if fashion:
        foreign["Fashion-MNIST"] = torch.from_numpy(read_arrays(fashion)["x_test"])[rows]
    return Images(test, torch.from_numpy(arrays["y_test"]).long()[rows], foreign)


def predictors(run: Run, num_samples: int) -> Iterator[tuple[str, Predict]]:
    """Yield the ways in which a net can be asked: images to logits (samples, images, 10)."""
    settings, model, name = settings_of(run), load_model(run), Path(run["folder"]).parent.name

    def ready(images: Tensor) -> Tensor:
        """Scale as in the training."""
        return scale(images, settings.pixel_scale)

    yield (
        f"{name}, mean" if settings.bayesian else name,
        lambda images: outputs(model, ready(images)),
    )
    if settings.bayesian:
        yield f"{name}, draws", lambda images: outputs(model, ready(images), num_samples)
    elif settings.system == "dropout":
        yield f"{name}, draws", lambda images: dropout_outputs(model, ready(images), num_samples)


def area_under_roc(inside: Tensor, outside: Tensor) -> float:
    """Probability that a score of ``outside`` is above one of ``inside``, ties counted half.

    Args:
        inside: Scores of images of the known kind, shape (images,).
        outside: Scores of others, shape (others,).

    Returns:
        The area, in [0, 1].
    """
    ordered = inside.sort().values
    below = torch.searchsorted(ordered, outside, right=False)
    not_above = torch.searchsorted(ordered, outside, right=True)
    return (below + not_above).double().mean().item() / 2 / len(inside)


def judge(predict: Predict, images: Images) -> Values:
    """Ask a net about all images.

    Args:
        predict: From images to logits.
        images: The images.

    Returns:
        "levels": for each corruption and level error, NLL, ECE and mean uncertainties, in nats;
        "auroc": for each other kind and score the area under the ROC curve.
    """
    levels: Values = {}
    for kind, strengths in LEVELS.items():
        levels[kind] = {}
        for strength in strengths:
            logits = predict(corrupt(kind, images.test, strength))
            means = {name: score(logits).mean().item() for name, score in SCORES.items()}
            levels[kind][f"{strength:g}"] = figures(logits, images.labels) | means
    inside = predict(images.test)
    auroc: Values = {}
    for kind, others in images.foreign.items():
        outside = predict(others)
        auroc[kind] = {
            name: area_under_roc(score(inside), score(outside))
            for name, score in SCORES.items()
            # One sample has no mutual information: all are tied at 0.
            if name == "entropy" or len(inside) > 1
        }
    return {"levels": levels, "auroc": auroc}


def gather(values: list[Any]) -> Any:  # noqa: ANN401 (trees of numbers)
    """Turn trees of numbers, one for each seed, into one tree of means and intervals."""
    if isinstance(values[0], dict):
        return {key: gather([value[key] for value in values]) for key in values[0]}
    return t_interval(values)


def markdown(found: Values) -> str:
    """Return the table of areas as Markdown."""
    kinds = list(next(iter(found.values()))["auroc"])
    header = ["net", *(f"{kind}: {name}" for kind in kinds for name in SCORES)]
    body = []
    for net, values in found.items():
        areas = [values["auroc"][kind].get(name) for kind in kinds for name in SCORES]
        body.append([net, *(interval_text(area, ".3f") if area else "" for area in areas)])
    lines = [
        "Area under the ROC curve of telling images of other kinds from test digits, by the",
        "prediction's entropy or its mutual information; means over seeds with 95 % t intervals.",
        "",
        *markdown_table(header, body),
        "",
    ]
    pictures = [f"ood_{kind}_{name}" for kind in LEVELS for name in ("error", "ece", "entropy")]
    return "\n".join([*lines, *(f"![{name}]({name}.png)" for name in pictures), ""])


def main(argv: Sequence[str]) -> None:
    """Ask all nets about all images, and write table and pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exp-dir", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--names", nargs="+", help="which trainings (default: all)")
    parser.add_argument("--fashion", help="Fashion-MNIST's .npz (default: left out)")
    parser.add_argument("--num-images", type=NonNegativeInt, default=0, help="a kind (0: all)")
    parser.add_argument("--num-samples", type=PositiveInt, default=20, help="draws (default: 20)")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    runs = [run for each in read_runs(args.exp_dir, args.names).values() for run in each]
    images = load_images(runs[0]["settings"]["data"], args.fashion, args.num_images)
    each: dict[str, list[Values]] = {}
    for run in track(runs, "asking the nets", console=Console(stderr=True)):
        for name, predict in predictors(run, args.num_samples):
            each.setdefault(name, []).append(judge(predict, images))
    found = {name: gather(values) for name, values in each.items()}
    write_text(args.exp_dir / "ood.json", json.dumps(found, indent=1) + "\n")
    write_text(args.exp_dir / "OOD.md", markdown(found))
    draw(each, args.exp_dir)
    print_markdown(markdown(found))


if __name__ == "__main__":
    script.run(main)
