"""Tables of what there is: tasks, sizes, checkpoints and detectors. No logic beyond look-ups."""

from __future__ import annotations

from dataclasses import dataclass

TASKS = ("pose", "segmentation", "depth", "normal")
SIZES = ("mini", "0.3b", "0.6b", "1b", "2b")

# What a network is given: as the photo asks for, all of the photo, or a crop of each person.
FRAMINGS = ("auto", "whole", "person")

# Files for other tools, written only where they are asked for, and the task that gives them.
FORMATS = {"coco": "pose", "wholebody": "pose", "openpose": "pose", "people": "segmentation"}

SIZE_TITLES = {"mini": "Mini", "0.3b": "0.3B", "0.6b": "0.6B", "1b": "1B", "2b": "2B"}

# What finds people has a name and sizes of its own: it is no task that a visitor chooses.
PEOPLE = "people"
DETECTOR_SIZES = ("small", "medium")

SAPIENS_LICENSE = "CC BY-NC 4.0"
MINI_LICENSE = "Apache-2.0"
DETECTOR_LICENSE = "Apache-2.0"


@dataclass(frozen=True)
class CheckpointFile:
    """Name one published file of a checkpoint.

    Args:
        kind: "bfloat16" (torch.export archive), "torchscript", "pth" or, by its exact name only, "part" of a
            repository whose files belong together.
        repository: Hub repository that holds it.
        name: file name in the repository.
        size: bytes, estimated from the parameter count; a download goes by what the Hub states.
        revision: commit to fetch, or None where none is known.
        sha256: hexadecimal digest, or None where none is known.
    """

    kind: str
    repository: str
    name: str
    size: int
    revision: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Checkpoint:
    """Describe the weights of one task at one size.

    Args:
        task: one of TASKS.
        size: one of SIZES.
        parameters: number of weights.
        files: published files, smallest first; empty for Mini, which ships in assets/.
        license: licence of the weights.
        score: published figure with its name, or "" where none is published.
        avoid: parts of file names in the same repositories that must not be used.
        companions: files of the same repository that must lie beside the one in files.
    """

    task: str
    size: str
    parameters: int
    files: tuple[CheckpointFile, ...]
    license: str
    score: str = ""
    avoid: tuple[str, ...] = ()
    companions: tuple[CheckpointFile, ...] = ()


_HUB_TASKS = {"pose": "pose", "segmentation": "seg", "depth": "depth", "normal": "normal"}

# The older pose files were trained with flip augmentation under a wrong left/right table for the face.
_OLD_POSE_SCORES = ("AP_575", "AP_600", "AP_640")

# task, size, parameters, file name after "sapiens_<size>_", published score
_OFFICIAL = (
    ("pose", "0.3b", 329_682_740, "goliath_best_goliath_AP_573", "57.3 AP"),
    ("pose", "0.6b", 661_180_980, "goliath_best_goliath_AP_609", "60.9 AP"),
    ("pose", "1b", 1_168_893_236, "goliath_best_goliath_AP_639", "63.9 AP"),
    ("segmentation", "0.3b", 339_495_196, "goliath_best_goliath_mIoU_7673_epoch_194", "76.7 mIoU"),
    ("segmentation", "0.6b", 670_993_436, "goliath_best_goliath_mIoU_7777_epoch_178", "77.8 mIoU"),
    ("segmentation", "1b", 1_178_705_692, "goliath_best_goliath_mIoU_7994_epoch_151", "79.9 mIoU"),
    ("depth", "0.3b", 319_910_017, "render_people_epoch_100", ""),
    ("depth", "0.6b", 649_835_393, "render_people_epoch_70", ""),
    ("depth", "1b", 1_155_974_785, "render_people_epoch_88", ""),
    ("depth", "2b", 2_151_113_473, "render_people_epoch_25", ""),
    ("normal", "0.3b", 339_475_971, "normal_render_people_epoch_66", ""),
    ("normal", "0.6b", 670_974_211, "normal_render_people_epoch_200", ""),
    ("normal", "1b", 1_178_686_467, "normal_render_people_epoch_115", ""),
    ("normal", "2b", 2_176_184_451, "normal_render_people_epoch_70", ""),
)

# repository to the SHA-256 of its file, where one is publicly known
_SHA256 = {
    "sapiens-pose-0.3b": "7b65f896508346f8b8fa7f82449082fcf801c811b8b122cf9fc446f6125a4ec0",
    "sapiens-pose-0.6b-torchscript": "7d5407351b9f20dddea72cfa7be26783835f58d4d565e3aaf4746cccce9b677a",
}

# kind: how names of its files end, smallest files first
KIND_ENDINGS = {"bfloat16": "_bfloat16.pt2", "torchscript": "_torchscript.pt2", "pth": ".pth"}

# kind: (repository suffix, bytes per weight)
_KINDS = {"bfloat16": ("-bfloat16", 2), "torchscript": ("-torchscript", 4), "pth": ("", 4)}

# D-FINE trained on Objects365, then COCO; size: (parameters, bytes, published score on COCO)
_DETECTORS = {"small": (10_309_605, 41_497_620, "50.7 AP"), "medium": (19_563_368, 78_700_000, "55.1 AP")}

# task: parameters
_MINI = {"pose": 4_211_444, "segmentation": 4_064_316, "depth": 4_029_657, "normal": 4_063_491}


def _official_checkpoint(task: str, size: str, parameters: int, stem: str, score: str) -> Checkpoint:
    files = []
    for kind, ending in KIND_ENDINGS.items():
        suffix, width = _KINDS[kind]
        repository = f"sapiens-{_HUB_TASKS[task]}-{size}{suffix}"
        name = f"sapiens_{size}_{stem}{ending}"
        bytes_about = parameters * width
        files.append(
            CheckpointFile(kind, f"facebook/{repository}", name, bytes_about, sha256=_SHA256.get(repository))
        )
    avoid = _OLD_POSE_SCORES if task == "pose" else ()
    return Checkpoint(task, size, parameters, tuple(files), SAPIENS_LICENSE, score, avoid)


def _detector(size: str, parameters: int, bytes_about: int, score: str) -> Checkpoint:
    repository = f"ustc-community/dfine-{size}-obj2coco"
    weights = CheckpointFile("part", repository, "model.safetensors", bytes_about)
    settings = CheckpointFile("part", repository, "config.json", 7_000)
    preparation = CheckpointFile("part", repository, "preprocessor_config.json", 500)
    return Checkpoint(
        PEOPLE, size, parameters, (weights,), DETECTOR_LICENSE, score, companions=(settings, preparation)
    )


CHECKPOINTS: dict[tuple[str, str], Checkpoint] = {
    **{(task, "mini"): Checkpoint(task, "mini", count, (), MINI_LICENSE) for task, count in _MINI.items()},
    **{row[:2]: _official_checkpoint(*row) for row in _OFFICIAL},
}

DETECTORS: dict[tuple[str, str], Checkpoint] = {
    (PEOPLE, size): _detector(size, *_DETECTORS[size]) for size in DETECTOR_SIZES
}


def has_checkpoint(task: str, size: str) -> bool:
    """Tell whether a task is published at a size.

    Args:
        task: one of TASKS.
        size: one of SIZES.

    Returns:
        True where CHECKPOINTS has a row.
    """
    return (task, size) in CHECKPOINTS


def find_checkpoint(task: str, size: str) -> Checkpoint | None:
    """Look up a checkpoint, those of the detectors included.

    Args:
        task: one of TASKS, or PEOPLE.
        size: one of SIZES, or of DETECTOR_SIZES.

    Returns:
        Its row, or None where there is none.
    """
    return CHECKPOINTS.get((task, size)) or DETECTORS.get((task, size))
