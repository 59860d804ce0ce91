"""Commands to make pictures, train, evaluate and publish the Mini models."""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(prog="python -m sapiens_demo.training", description=__doc__)
    commands = parser.add_subparsers(required=True)
    _add_generate(commands)
    _add_train(commands)
    _add_publish(commands)
    _add_evaluate(commands)
    _add_people(commands)
    _add_examples(commands)
    arguments = vars(parser.parse_args())
    arguments.pop("run")(**arguments)


def _add_generate(commands) -> None:
    from sapiens_demo.training.generate import generate

    command = commands.add_parser("generate", help="make labelled pictures")
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--count", type=int, required=True)
    command.add_argument("--seed", type=int, required=True)
    command.add_argument("--backgrounds", type=Path)
    command.add_argument("--workers", type=int, default=1)
    command.set_defaults(run=generate)


def _add_train(commands) -> None:
    command = commands.add_parser("train", help="train tasks, each or several on one trunk, in turns")
    command.add_argument(
        "--trunks",
        nargs="+",
        choices=("joint", "dense", "pose", "segmentation", "depth", "normal"),
        default=("pose", "dense"),
    )
    command.add_argument("--data", type=Path, required=True)
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--minutes", type=float, required=True)
    command.add_argument("--image-size", type=int, nargs=2, default=(320, 240), metavar=("H", "W"))
    command.add_argument("--first-size", type=int, nargs=2, metavar=("H", "W"), help="of the first part")
    command.add_argument("--first-share", type=float, default=0.0, help="of the run, with views of that size")
    command.add_argument("--batch-size", type=int, default=16)
    command.add_argument("--learning-rate", type=float, default=1e-3)
    command.add_argument("--seed", type=int, default=1)
    command.add_argument(
        "--start", type=Path, help="folder of an earlier run, or of shipped files, to begin with"
    )
    command.add_argument("--workers", type=int, default=1)
    command.add_argument("--compile", action="store_true", help="a third less time; wants a C++ compiler")
    command.set_defaults(run=_train)


def _add_publish(commands) -> None:
    from sapiens_demo.training.publish import publish

    command = commands.add_parser("publish", help="write a run's weights as shipped files")
    command.add_argument("--state", type=Path, required=True, help="state.pt of a run")
    command.add_argument("--out", type=Path, default=Path("assets/mini"))
    command.set_defaults(run=publish)


def _add_evaluate(commands) -> None:
    command = commands.add_parser("evaluate", help="print the model card's table")
    command.add_argument("--weights", type=Path, default=Path("assets/mini"))
    command.add_argument(
        "--data", type=Path, required=True, help="pictures of the evaluation set (see generate)"
    )
    command.add_argument("--count", type=int, default=500)
    command.add_argument("--photos", type=Path, help="real photos with annotations.json")
    command.set_defaults(run=_evaluate)


def _add_people(commands) -> None:
    command = commands.add_parser(
        "people", help="measure how people are found, and whether to look at them one by one"
    )
    command.add_argument("--count", type=int, default=48, help="of rendered pictures, a third upright")
    command.add_argument(
        "--seed", type=int, default=20264, help="of the pictures; the finder was tuned on the default's"
    )
    command.add_argument("--data", type=Path, help="take the pictures of this folder (see generate) instead")
    command.add_argument("--backgrounds", type=Path, help="photos without people, to render on")
    command.add_argument("--photos", type=Path, help="real photos with annotations.json")
    command.set_defaults(run=_people)


def _add_examples(commands) -> None:
    command = commands.add_parser("examples", help="draw the example pictures of the page")
    command.add_argument("--out", type=Path, default=Path("assets/examples"))
    command.add_argument("--only", metavar="FILE", help="draw this picture alone")
    command.set_defaults(run=_examples)


def _examples(out: Path, only: str | None) -> None:
    from sapiens_demo.training.examples import write_examples

    write_examples(out, only)


def _evaluate(weights: Path, data: Path, count: int, photos: Path | None) -> None:
    from sapiens_demo.training.evaluate import as_table, evaluate_real, evaluate_rendered, load_networks

    networks = load_networks(weights)
    figures = evaluate_rendered(networks, data, count)
    if photos:
        figures += evaluate_real(networks, photos)
    print(as_table(figures))


def _people(count: int, seed: int, data: Path | None, backgrounds: Path | None, photos: Path | None) -> None:
    from sapiens_demo.estimator import Estimator
    from sapiens_demo.mini_finder import MiniFinder
    from sapiens_demo.training.people_evaluation import as_markdown, count_in_photos, measure, read_samples
    from sapiens_demo.training.people_scenes import people_samples

    estimator = Estimator()
    finder = MiniFinder(estimator.models)
    paths = sorted(backgrounds.glob("*.jpg")) if backgrounds else []
    samples = read_samples(data, count) if data else people_samples(count, paths, seed)
    people = measure(estimator, finder, samples)
    print(as_markdown(people, count_in_photos(finder, photos) if photos else ()))


def _train(**options) -> None:
    from sapiens_demo.training.train import Run, train

    lists = {name: tuple(value) for name, value in options.items() if isinstance(value, list)}
    train(Run(**{**options, **lists}))


if __name__ == "__main__":
    main()
