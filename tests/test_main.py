from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sapiens_demo import __main__ as shell
from sapiens_demo import hub
from sapiens_demo.catalog import CHECKPOINTS, DETECTORS, TASKS
from sapiens_demo.errors import CheckpointError
from sapiens_demo.estimator import Estimator
from sapiens_demo.masks import MaskFinder, PersonMask
from sapiens_demo.people import PeopleFinder

pytest_plugins = ["tests.mini_weights"]

HEIGHT, WIDTH = 80, 60


@pytest.fixture(autouse=True)
def _cpu(random_mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPIENS_DEVICE", "cpu")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return _photo(tmp_path / "ann.png")


def _photo(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 6, 3), np.uint8)
    Image.fromarray(coarse).resize((WIDTH, HEIGHT)).save(path)
    return path


def _run(*words: object) -> int:
    return shell.main([str(word) for word in words])


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


PROMISED = {
    "pose": {"ann_pose.json", "ann_pose.png"},
    "segmentation": {"ann_segmentation.png", "ann_segmentation_labels.png"},
    "depth": {"ann_depth.png", "ann_depth.npy"},
    "normal": {"ann_normal.png", "ann_normal.npy"},
}


@pytest.mark.parametrize("task", TASKS)
def test_a_task_writes_its_files(
    task: str, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"

    assert _run("predict", photo, "--task", task, "--size", "mini", "--out", out) == 0

    written = _names(out)
    assert written >= PROMISED[task]
    assert all(name.startswith(f"ann_{task}") for name in written)
    assert {Path(line).name for line in capsys.readouterr().out.splitlines()} == written


def test_all_tasks_are_done_for_all_photos(photo: Path, tmp_path: Path) -> None:
    bob, out = _photo(tmp_path / "bob.jpg", seed=1), tmp_path / "results"

    assert _run("predict", photo, bob, "--task", "all", "--out", out) == 0

    promised = set().union(*PROMISED.values())
    assert _names(out) >= promised | {name.replace("ann_", "bob_") for name in promised}


def test_the_files_hold_what_is_promised(photo: Path, tmp_path: Path) -> None:
    assert _run("predict", photo, "--out", tmp_path) == 0

    pose = json.loads((tmp_path / "ann_pose.json").read_text())
    labels = np.array(Image.open(tmp_path / "ann_segmentation_labels.png"))
    depth, normals = np.load(tmp_path / "ann_depth.npy"), np.load(tmp_path / "ann_normal.npy")

    assert pose["image"] == {"width": WIDTH, "height": HEIGHT}
    assert pose["model"]["size"] == "mini"
    assert {len(person["keypoints"]) for person in pose["people"]} == {308}
    assert set(pose["people"][0]["keypoints"][0]) == {"id", "name", "x", "y", "score"}
    assert (labels.shape, labels.dtype) == ((HEIGHT, WIDTH), np.uint8) and labels.max() < 28
    assert (depth.shape, depth.dtype) == ((HEIGHT, WIDTH), np.float32)
    assert (normals.shape, normals.dtype) == ((HEIGHT, WIDTH, 3), np.float32)


@pytest.mark.parametrize("task", TASKS)
def test_people_may_be_given_as_boxes(task: str, photo: Path, tmp_path: Path) -> None:
    boxes = ["--box", "5,10,30,70", "--box=-3,0,60.5,80"]

    assert _run("predict", photo, "--task", task, *boxes, "--out", tmp_path) == 0

    document = json.loads((tmp_path / f"ann_{task}.json").read_text())
    assert (document["framing"], document["people_finder"]) == ("person", "given")
    if task == "pose":
        people = [(person["box"], person["score"]) for person in document["people"]]
        assert people == [([5, 10, 30, 70], 1), ([0, 0, 60, 80], 1)]


def test_the_whole_photo_may_be_taken(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PeopleFinder, "find", lambda *_: pytest.fail("nobody is to be looked for"))

    assert _run("predict", photo, "--framing", "whole", "--out", tmp_path) == 0

    pose = json.loads((tmp_path / "ann_pose.json").read_text())
    assert (pose["framing"], pose["people_finder"]) == ("whole", None)
    assert [(person["box"], person["score"]) for person in pose["people"]] == [([0, 0, WIDTH, HEIGHT], None)]


@pytest.mark.parametrize(
    ("box", "words"), [("200,200,300,300", "covers nothing"), ("nan,0,9,9", "A box is four numbers")]
)
def test_a_box_that_means_nothing_is_one_line_a_task(
    box: str, words: str, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("predict", photo, "--task", "pose", "--box", box, "--out", tmp_path / "results") == 1

    err = capsys.readouterr().err
    assert err.startswith(f"{photo}, pose: ") and words in err and len(err.splitlines()) == 1


def test_files_for_other_tools_are_written_where_they_are_asked_for(photo: Path, tmp_path: Path) -> None:
    boxes, out = ["--box", "5,10,30,70", "--box", "30,0,60,80"], tmp_path / "results"

    assert _run("predict", photo, *boxes, "--formats", "coco,people,openpose,coco", "--out", out) == 0

    extra = {"ann_pose_coco.json", "ann_pose_openpose.json", "ann_segmentation_people.png"}
    assert {name for name in _names(out) if "coco" in name or "open" in name or "people" in name} == extra
    coco = json.loads((out / "ann_pose_coco.json").read_text())
    assert coco["images"] == [{"id": 1, "file_name": "ann.png", "width": WIDTH, "height": HEIGHT}]
    people = np.array(Image.open(out / "ann_segmentation_people.png"))
    assert (people.shape, people.dtype) == ((HEIGHT, WIDTH), np.uint8) and people.max() <= 2


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--formats", "coco,voc"], "'voc' is none of coco, wholebody, openpose, people"),
        (["--formats", ""], "'' is none of"),
    ],
)
def test_a_format_that_does_not_exist_is_wrong_usage(
    words: list[str], complaint: str, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        _run("predict", photo, *words)
    assert caught.value.code == 2 and complaint in capsys.readouterr().err


@pytest.mark.parametrize(("task", "name"), [("depth", "coco"), ("pose", "people")])
def test_a_format_needs_its_task(
    task: str, name: str, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("predict", photo, "--task", task, "--formats", name, "--out", tmp_path / "results") == 2
    assert f"The format {name} comes with the task" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_bad_photo_does_not_stop_the_others(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, missing = tmp_path / "bad.jpg", tmp_path / "missing.jpg"
    bad.write_text("<html>not a photo</html>")
    out = tmp_path / "results"

    code = _run("predict", bad, missing, photo, "--task", "segmentation", "--out", out)

    errors = capsys.readouterr().err.splitlines()
    assert code == 1
    assert _names(out) >= PROMISED["segmentation"]
    assert len(errors) == 2
    assert errors[0].startswith(f"{bad}: ") and errors[1].startswith(f"{missing}: ")


def test_a_fault_of_the_program_is_one_line_and_the_other_tasks_go_on(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    estimate = Estimator.estimate

    def fail(self, photo, task, *arguments, **options):
        if task == "pose":
            raise ZeroDivisionError("a\nb")
        return estimate(self, photo, task, *arguments, **options)

    monkeypatch.setattr(Estimator, "estimate", fail)
    out = tmp_path / "results"

    code = _run("predict", photo, "--out", out)

    err = capsys.readouterr().err
    assert code == 1
    assert _names(out) >= PROMISED["depth"] and not _names(out) & PROMISED["pose"]
    assert f"{photo}, pose: this should not happen, please report it: ZeroDivisionError: a b\n" in err
    assert "Traceback" not in err


def test_photos_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    photos = [_photo(tmp_path / "a" / "ann.png"), _photo(tmp_path / "b" / "ann.jpg", seed=1)]

    assert _run("predict", *photos, "--task", "pose", "--out", tmp_path / "results") == 0

    assert _names(tmp_path / "results") == {
        f"ann{n}_pose.{end}" for n in ("", "-2") for end in ("json", "png")
    }


@pytest.mark.parametrize(("variable", "mode"), [(None, "off"), ("", "off"), ("default", "default")])
def test_a_command_compiles_only_where_it_is_asked_to(
    variable: str | None, mode: str, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes, estimate = [], Estimator.estimate

    def look(self, *arguments, **options):
        modes.append(self.models._strategy.mode)
        return estimate(self, *arguments, **options)

    monkeypatch.setattr(Estimator, "estimate", look)
    if variable is not None:
        monkeypatch.setenv("SAPIENS_COMPILE", variable)

    assert _run("predict", photo, "--task", "pose", "--out", tmp_path) == 0
    assert modes == [mode]


@pytest.mark.parametrize(
    ("photos", "expected"),
    [
        (["a/x.png", "b/x.jpg", "x.gif"], ["x", "x-2", "x-3"]),
        (["x-2.png", "x.png", "a/x.png"], ["x-2", "x", "x-3"]),
        (["x.y.png", "x.z.png"], ["x.y", "x.z"]),
    ],
)
def test_results_are_named_after_photos(photos: list[str], expected: list[str]) -> None:
    assert list(shell._stems([Path(photo) for photo in photos])) == expected


def test_results_that_cannot_be_written_are_said(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").write_text("a file")

    assert _run("predict", photo, "--task", "pose", "--out", tmp_path / "results") == 1

    assert f"{photo}, pose: " in capsys.readouterr().err


def test_notes_are_told(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MaskFinder, "find", lambda *_: PersonMask(None, ("Nobody is here.",)))

    words = ("--task", "depth", "--framing", "whole")

    assert _run("predict", photo, *words, "--out", tmp_path) == 0

    assert f"{photo}, depth: Nobody is here.\n" in capsys.readouterr().err
    assert json.loads((tmp_path / "ann_depth.json").read_text())["notes"] == ["Nobody is here."]


def test_a_checkpoint_of_ones_own_is_used(photo: Path, tmp_path: Path, random_mini: Path) -> None:
    own = tmp_path / "mine.safetensors"
    shutil.copy(random_mini / "mini" / "sapiens_mini_depth.safetensors", own)

    assert _run("predict", photo, "--task", "depth", "--checkpoint", own, "--out", tmp_path) == 0

    assert json.loads((tmp_path / "ann_depth.json").read_text())["model"]["file"] == own.name


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["--task", "pose", "--size", "2b"],
            "Size 2b is not published for pose. Choose one of mini, 0.3b, 0.6b, 1b.",
        ),
        (["--size", "2b"], "Size 2b is not published for pose."),
        (["--checkpoint", "x.pth"], "A checkpoint is made for one task: say which with --task."),
        (["--device", "mps"], "The device mps cannot be used"),
        (["other.png", "--box", "1,2,3,4"], "Boxes belong to one photo: give one photo with --box."),
    ],
)
def test_wrong_usage_is_one_line(
    words: list[str], expected: str, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("predict", photo, *words, "--out", tmp_path / "results") == 2

    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {expected}") and len(captured.err.splitlines()) == 1
    assert captured.out == "" and not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["paint"],
        ["predict"],
        ["predict", "x.png", "--task", "poses"],
        ["predict", "x.png", "--size", "3b"],
        ["predict", "x.png", "--device", "tpu"],
        ["predict", "x.png", "--framing", "half"],
        ["predict", "x.png", "--box", "1,2,3"],
        ["predict", "x.png", "--box", "1,2,3,x"],
        ["download"],
        ["download", "--task", "pose"],
        ["download", "--task", "heads", "--size", "mini"],
        ["download", "--task", "people", "--size", "large"],
    ],
)
def test_words_that_mean_nothing_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        shell.main(words)

    assert caught.value.code == 2
    assert "usage: python -m sapiens_demo" in capsys.readouterr().err


def test_a_model_that_cannot_be_had_fails_for_each_photo(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("predict", photo, "--task", "normal", "--size", "1b", "--out", tmp_path / "results") == 1

    err = capsys.readouterr().err
    assert "HF_HUB_OFFLINE" in err and "Traceback" not in err
    assert _names(tmp_path / "results") == set()


def test_the_models_are_listed(capsys: pytest.CaptureFixture[str], random_mini: Path) -> None:
    assert _run("models") == 0

    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["TASK", "SIZE", "PARAMETERS", "LICENCE", "SCORE", "DOWNLOAD", "WHERE"]
    assert len(rows) == len(CHECKPOINTS) + len(DETECTORS)
    assert rows[0].split()[:2] == ["pose", "mini"]
    assert str(random_mini / "mini" / "sapiens_mini_pose.safetensors") in rows[0]
    large = next(row for row in rows if row.split()[:2] == ["segmentation", "1b"])
    assert all(
        text in large for text in ("1,178.7 M", "CC BY-NC 4.0", "79.9 mIoU", "2.4 GB", "cannot be had now")
    )
    assert [row.split()[:2] for row in rows[-2:]] == [["people", "small"], ["people", "medium"]]
    assert all(text in rows[-2] for text in ("10.3 M", "Apache-2.0", "50.7 AP", "41 MB", "cannot be had now"))


def test_a_download_is_told_and_goes_where_locate_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    seconds = itertools.count(0, 4)

    def locate(task: str, size: str, *, progress) -> Path:
        asked.append((task, size))
        for share in (0.1, 0.2, 0.3, 0.4):
            progress(f"Downloading {task}.pt2: {share * 2:.1f} of 2.0 GB", share)
        if task == "depth":
            raise CheckpointError("The connection broke off.\nTry again.")
        return Path(f"/cache/{task}")

    monkeypatch.setattr(hub, "locate", locate)
    monkeypatch.setattr(shell, "time", SimpleNamespace(monotonic=lambda: next(seconds)))

    assert _run("download", "--task", "all", "--size", "2b") == 1

    out, err = capsys.readouterr()
    assert asked == [("depth", "2b"), ("normal", "2b")]
    assert out == "normal 2b: /cache/normal\n"
    assert err.splitlines() == [  # at intervals of 10 seconds or more
        "depth 2b: Downloading depth.pt2: 0.6 of 2.0 GB (30%)",
        "depth 2b: The connection broke off. Try again.",
        "normal 2b: Downloading normal.pt2: 0.6 of 2.0 GB (30%)",
    ]


@pytest.mark.parametrize(
    ("words", "sizes"),
    [
        ([], ["small"]),
        (["--size", "medium"], ["medium"]),
        (["--size", "all"], ["small", "medium"]),
    ],
)
def test_the_detector_is_downloaded_as_people(
    words: list[str], sizes: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "locate", lambda task, size, *, progress: Path(f"/cache/{task}/{size}"))

    assert _run("download", "--task", "people", *words) == 0

    assert capsys.readouterr().out.splitlines() == [f"people {size}: /cache/people/{size}" for size in sizes]


def test_a_detector_that_cannot_be_had_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("download", "--task", "people") == 1

    err = capsys.readouterr().err
    assert err.startswith("people small: The Hugging Face Hub cannot be reached (HF_HUB_OFFLINE is set).")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("task", "size", "code", "choices"),
    [
        ("pose", "2b", 2, "mini, 0.3b, 0.6b, 1b"),
        ("pose", "small", 2, "mini, 0.3b, 0.6b, 1b"),
        ("all", "medium", 2, "mini, 0.3b, 0.6b, 1b, 2b"),
        ("people", "mini", 2, "small, medium"),
        ("pose", "mini", 0, None),
        ("all", "mini", 0, None),
    ],
)
def test_a_download_of_what_does_not_exist_is_refused(
    task: str, size: str, code: int, choices: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("download", "--task", task, "--size", size) == code

    refusal = f"error: Size {size} is not published for {task}. Choose one of {choices}.\n"
    assert capsys.readouterr().err == (refusal if choices else "")


def test_a_terminals_line_is_overwritten_and_cleared(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    with shell._ProgressLine("pose 1b") as line:
        line.tell("Downloading", 0.5)
        line.tell("Done", None)

    longer = "pose 1b: Downloading (50%)"
    shorter = "pose 1b: Done"
    assert capsys.readouterr().err == (f"\r{longer}\r{shorter.ljust(len(longer))}\r{' ' * len(shorter)}\r")


def test_leaving_is_quiet(
    photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def leave(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Estimator, "estimate", leave)

    assert _run("predict", photo) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_help_is_quick_and_needs_no_torch() -> None:
    probe = "import sys; sys.argv = ['x', '--help']\nfrom sapiens_demo.__main__ import main\n"
    probe += "try: main()\nfinally: print('torch' in sys.modules, 'cv2' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout

    assert "predict" in answer and "models" in answer and "download" in answer
    assert answer.splitlines()[-1] == "False False"
