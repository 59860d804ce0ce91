"""Every sentence a visitor reads, in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sapiens_demo.catalog import CHECKPOINTS, MINI_LICENSE, SAPIENS_LICENSE, SIZE_TITLES
from sapiens_demo.progress import size_text

if TYPE_CHECKING:
    from sapiens_demo.hub import Availability

TITLE = "Sapiens: people in photos"
NAME = "Sapiens"
PITCH = "Pose, body parts, depth and surface normals of the people in any photo."

PHOTO_LABEL = "Photo"
PHOTO_PLACEHOLDER = "# Drop a photo here\nor click to choose one"
PHOTO_ALT = "The photo that is looked at"
EXAMPLES_LABEL = "Examples"
SIZE_LABEL = "Model size"

TAB_TITLES = {"pose": "Pose", "segmentation": "Body parts", "depth": "Depth", "normal": "Normals"}
TASK_TITLES = {"pose": "pose", "segmentation": "body parts", "depth": "depth", "normal": "normals"}
TASK_LINES = {
    "pose": "308 keypoints: body, feet, hands and face.",
    "segmentation": "27 kinds of skin, hair and clothing, told apart pixel by pixel.",
    "depth": "How far each point is, compared with the others: near is bright.",
    "normal": "Which way the surface faces at each pixel.",
}
RESULT_ALTS = {
    "pose": "The photo with keypoints and skeleton drawn on it",
    "segmentation": "The photo with body parts tinted in their colours",
    "depth": "Depth in colours, near is bright",
    "depth_normals": "Surface normals computed from the depth, in colours",
    "normal": "Surface normals in colours",
}
LAYER_TITLES = {
    "pose": "Pose",
    "segmentation": "Body parts",
    "depth": "Depth",
    "depth_normals": "Normals from depth",
    "normal": "Normals",
}

OPTIONS = "Options"
FLIP_TEST = "Flip test"
FLIP_TEST_INFO = "Also looks at the mirrored photo and takes the mean: a little more exact, twice the time."
PERSON_ONLY = "Person only"
FRAMING_LABEL = "What the model is given"
FRAMINGS = {"auto": "Auto", "whole": "Whole photo", "person": "Per person"}
_AUTO = "Auto: so if the photo is wide or people are small."
FRAMING_INFO = {
    "segmentation": f"Per person: everybody is seen large. {_AUTO}",
    "depth": f"Per person: each seen large, all on one scale. {_AUTO}",
    "normal": f"Per person: everybody is seen large. {_AUTO}",
}

LEGEND_NEAR = "near"
LEGEND_FAR = "far"
LEGEND_SPHERE = "Each colour is a direction, as on this ball: red faces right, green up, blue the camera."

DOWNLOADS = {
    "pose": (
        ("png", "Picture", "PNG"),
        ("json", "Keypoints", "JSON"),
        ("coco", "COCO", "JSON"),
        ("wholebody", "COCO-WholeBody", "JSON"),
        ("openpose", "OpenPose", "JSON"),
    ),
    "segmentation": (
        ("png", "Picture", "PNG"),
        ("labels", "Labels", "PNG"),
        ("people", "People", "PNG"),
        ("json", "Facts", "JSON"),
    ),
    "depth": (
        ("png", "Picture", "PNG"),
        ("npy", "Depth", "NPY"),
        ("mask", "Mask", "PNG"),
        ("json", "Facts", "JSON"),
    ),
    "normal": (
        ("png", "Picture", "PNG"),
        ("npy", "Normals", "NPY"),
        ("mask", "Mask", "PNG"),
        ("json", "Facts", "JSON"),
    ),
}

# What the components' scripts put on the screen.
RESULT_WORDS = {
    "photo": "Photo",
    "divider": "Divider between the photo and the result",
    "dividerValue": "% photo",
    "opacity": "Opacity",
    "threshold": "Score threshold",
    "view": "View",
    "download": "Download",
    "done": "Result ready",
    "legend": "What the colours mean",
}
EXAMPLE_WORDS = {"choose": "Show the example"}
PEOPLE_WORDS = {
    "picture": "The photo, with a numbered box around each person",
    "reading": "Reading the photo…",
    "looking": "Looking for people…",
    "failed": "People could not be looked for",
    "nobody": "Nobody found; whole photo taken",
    "oneFound": "1 person found",
    "manyFound": "{count} people found",
    "none": "No boxes; whole photo taken",
    "oneDrawn": "1 box, set by hand",
    "manyDrawn": "{count} boxes, set by hand",
    "only": "Person {number} alone, in every tab; Whole photo shows all",
    "choose": "Which people are looked at",
    "all": "All",
    "person": "Person {number}",
    "edit": "Edit boxes",
    "draw": "Draw a box",
    "reset": "Reset",
    "resetLong": "Reset to the people that were found",
    "title": "People in the photo",
    "hint": "Drag across the photo to draw a box. Drag a box to move it, its edges to resize it.",
    "keys": "By keyboard: arrows move a box, with Shift they resize it, Delete removes it.",
    "new": "New box",
    "remove": "Delete",
    "cancel": "Cancel",
    "done": "Done",
    "box": "Box {number} of {count}: left {left}, top {top}, {width} wide, {height} high, in pixels",
    "added": "Box {number} added",
    "removed": "Box {number} deleted",
    "most": "There can be at most {count} boxes.",
}
RUN_ALL_WORDS = {
    "run": "Run all four",
    "hint": "Runs every task on this photo, one after the other; each tab shows its result when it is ready.",
    "running": "Running, {count} of {all} ready",
    "ready": "{count} of {all} ready",
    "all": "All four ready",
    "tabReady": "Result ready",
    "tabRunning": "Running",
}
SIZE_WORDS = {"off": "not available"}

EMPTY = "Add a photo to begin, or pick an example."
READING = "Reading the photo"
STARTING = "Starting"
WAITING = "Waiting: {count} before you"
DOWNLOAD_QUESTION = "{model} is not on this machine yet."
DOWNLOAD_ACTION = "Download {size} and run"
TRY_AGAIN = "Try again"
NO_FILE = "There is no such file for this result."

MINI_HINT = "Mini, for a first look; choose 0.3B or larger for Sapiens quality."
HINT_HERE = "on this machine"
HINT_DOWNLOAD = "{size} to download"
HINT_UNKNOWN = "looking…"

NOTE_HERE = "ready"
NOTE_UNPUBLISHED = "none"
NOTE_UNREACHABLE = "offline"
NOTE_UNKNOWN = "…"

BEFOREHAND = "computed beforehand"
COMPILED = "compiled"
NOT_COMPILED = "not compiled"
KEYPOINTS_SEEN = "{seen} of {all} keypoints score {threshold} or more"
NOBODY_SEEN = "Nobody found"
PEOPLE_SEEN = "{count} people"
FOUND_BY = {
    "detector": "{people}, found by the detector",
    "mini": "{people}, found in Mini's body parts",
    "given": "{people}, chosen by hand",
}
ONE_BY_ONE = "{who}; shown to the model one by one"
ALONE = "{who}; shown to the model alone"
WHOLE_PHOTO = "The photo was looked at as a whole"

UNEXPECTED = (
    "Something went wrong on our side. Try again; if it stays, choose another photo or a smaller model."
)
PHOTO_GONE = "The photo's temporary copy has been deleted by now. Add the photo again."
NO_PHOTO = "Add a photo first."
NO_RESULT = "There is no result to download yet. Run the model first."
BUSY = "Too many people are waiting at the moment. Try again in a minute."
UNKNOWN_CHOICE = {
    "size": "There is no size “{choice}” for this task. Choose one of: {choices}.",
    "framing": "There is no framing “{choice}”. Choose one of: {choices}.",
}
BOXES_WANTED = "Boxes are a list of [x1, y1, x2, y2], numbers in pixels of the photo."

FOOTER = (
    "<p>Sapiens models by Meta: {sapiens} (no commercial use). Mini: our own small models, {mini}.</p>"
    "<p>Your photo is looked at on the machine that serves this page and goes nowhere else. "
    "It is not kept: temporary copies are deleted within {minutes} minutes.</p>"
)

API_DESCRIPTIONS = {
    "pose": "Find 308 keypoints in a photo: body, feet, hands and face.",
    "segmentation": "Label every pixel of a photo with one of 28 body parts.",
    "depth": "Estimate relative depth per pixel; larger is farther.",
    "normal": "Estimate surface normals per pixel: x right, y up, z to the viewer.",
}


def header() -> str:
    """Return the head of the page as HTML."""
    return f'<div class="mark" aria-hidden="true"></div><div><h1>{NAME}</h1><p>{PITCH}</p></div>'


def task_line(task: str) -> str:
    """Return what a task does, and what its framing means, as HTML.

    Args:
        task: one of catalog.TASKS.
    """
    info = f'<p class="info">{FRAMING_INFO[task]}</p>' if task in FRAMING_INFO else ""
    return f"<p>{TASK_LINES[task]}</p>{info}"


def unknown_choice(name: str, choice: object, choices: list[str]) -> str:
    """Refuse a choice that there is not.

    Args:
        name: of what is chosen: size or framing.
        choice: what was asked for.
        choices: those there are.
    """
    return UNKNOWN_CHOICE[name].format(choice=str(choice)[:40], choices=", ".join(choices))


def found_by(count: int, finder: str) -> str:
    """Say how many people there are and who says so.

    Args:
        count: of people.
        finder: key of FOUND_BY.
    """
    people = "1 person" if count == 1 else PEOPLE_SEEN.format(count=count)
    return FOUND_BY[finder].format(people=people)


def one_by_one(who: str, count: int) -> str:
    """Say that the model was shown a crop of each person.

    Args:
        who: as from found_by.
        count: of people.
    """
    return (ALONE if count == 1 else ONE_BY_ONE).format(who=who)


def footer(minutes: int) -> str:
    """Return licences and privacy as HTML.

    Args:
        minutes: after which temporary files are gone.
    """
    return FOOTER.format(sapiens=SAPIENS_LICENSE, mini=MINI_LICENSE, minutes=minutes)


def model_title(size: str) -> str:
    """Name a model, "Mini" or "Sapiens 0.3B".

    Args:
        size: one of catalog.SIZES.
    """
    return SIZE_TITLES[size] if size == "mini" else f"Sapiens {SIZE_TITLES[size]}"


def parameter_count(task: str, size: str) -> str:
    """Write how large a model is, "4.5 million parameters" or "1.2 billion parameters".

    Args:
        task: one of catalog.TASKS.
        size: a size that the task has.
    """
    count = CHECKPOINTS[(task, size)].parameters
    if count >= 950_000_000:
        return f"{count / 1e9:.1f} billion parameters"
    if count >= 10_000_000:
        return f"{count / 1e6:.0f} million parameters"
    return f"{count / 1e6:.1f} million parameters"


def hint(task: str, size: str, place: str) -> str:
    """Describe the stop that is chosen.

    Args:
        task: one of catalog.TASKS.
        size: a size that the task has.
        place: where the model is.
    """
    if size == "mini":
        return MINI_HINT
    score = CHECKPOINTS[(task, size)].score
    return (
        ", ".join([model_title(size), parameter_count(task, size), *([score] if score else []), place]) + "."
    )


def unpublished(sizes: list[str], task: str) -> str:
    """Say that sizes were never published for a task.

    Args:
        sizes: of catalog.SIZES.
        task: one of catalog.TASKS.
    """
    return f"{_listed(sizes)}: never published for {TASK_TITLES[task]}."


def unreachable(sizes: list[str]) -> str:
    """Say that sizes cannot be had now.

    Args:
        sizes: of catalog.SIZES.
    """
    return f"{_listed(sizes)}: not on this machine, and the download site cannot be reached."


def off_sentence(task: str, size: str, there: Availability) -> str:
    """Say why a stop is off.

    Args:
        task: one of catalog.TASKS.
        size: one of catalog.SIZES.
        there: what the look-up said.
    """
    return unpublished([size], task) if there.state == "unpublished" else there.sentence


def download_question(size: str) -> str:
    """Say that a model is not on this machine.

    Args:
        size: one of catalog.SIZES.
    """
    return DOWNLOAD_QUESTION.format(model=model_title(size))


def download_action(count: int) -> str:
    """Offer to download a model.

    Args:
        count: bytes.
    """
    return DOWNLOAD_ACTION.format(size=size_text(count))


def _listed(sizes: list[str]) -> str:
    titles = [SIZE_TITLES[size] for size in sizes]
    return titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"


def milliseconds(value: float) -> str:
    """Write a duration, "12 ms" or "3.4 s".

    Args:
        value: milliseconds.
    """
    return f"{value / 1000:.1f} s" if value >= 10_000 else f"{value:.0f} ms"
