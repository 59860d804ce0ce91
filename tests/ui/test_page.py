"""How the page is put together and what it leaves out."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import gradio as gr
import httpx
import pytest
from gradio.route_utils import delete_files_created_by_app

from sapiens_demo.ui import texts
from sapiens_demo.ui.page import build_page, launch_options
from sapiens_demo.ui.result_view import ResultView
from sapiens_demo.ui.segments import Segments
from sapiens_demo.ui.size_slider import SizeSlider
from tests.ui.conftest import launched
from tests.ui.standins import StandInService

UI = Path(texts.__file__).parent


def test_only_the_four_endpoints_are_public(examples_folder: Path, temporary_files: Path) -> None:
    page = build_page(StandInService(examples_folder))
    public = {
        call["api_name"]
        for call in page.get_config_file()["dependencies"]
        if call["api_visibility"] == "public"
    }
    assert public == {"pose", "segmentation", "depth", "normal"}


def test_temporary_files_and_visits_are_forgotten(examples_folder: Path, temporary_files: Path) -> None:
    page = build_page(StandInService(examples_folder))
    frequency, age = page.delete_cache
    assert frequency + age <= 3600 and f"{(frequency + age) // 60} minutes" in texts.footer(35)
    options = launch_options()
    assert options["run_history"] is False and options["show_error"] is False
    assert options["state_session_capacity"] <= 1000


def test_a_machine_too_busy_to_show_the_page_at_once_serves_it(
    examples_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gr.networking, "url_ok", lambda url: False)  # as after Gradio's three seconds
    service = StandInService(examples_folder)
    with launched(service) as address:
        assert httpx.get(address, timeout=30).status_code == 200


def test_pictures_of_results_go_by_themselves(
    examples_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    service = StandInService(examples_folder)
    page = build_page(service)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    with (
        launched(service, page) as address,
        httpx.Client(base_url=f"{address}gradio_api/", timeout=30) as client,
    ):
        open_every_tab(page, client)
        made = {path for path in tmp_path.rglob("*") if path.is_file()} - before
        assert len(made) >= 5
        delete_files_created_by_app(page, None)
    assert {path for path in made if path.exists()} == set()


def open_every_tab(page: gr.Blocks, client: httpx.Client) -> None:
    """Do what a browser does when somebody looks at the example's tabs."""
    calls = page.get_config_file()["dependencies"]
    for call in calls:
        if any(event == "select" for _, event in call["targets"]):
            data = [None, "mini", False, "auto", "auto", True, "auto", True]
            request = {"data": data, "fn_index": call["id"], "session_hash": "somebody"}
            client.post("queue/join", json=request).raise_for_status()
            with client.stream("GET", "queue/data", params={"session_hash": "somebody"}) as answer:
                messages = [json.loads(line[5:]) for line in answer.iter_lines() if line.startswith("data:")]
            assert any(message.get("success") for message in messages)


def test_a_page_is_built_without_engine_and_network() -> None:
    code = (
        "import sys; from sapiens_demo.ui.page import build_page, launch_options;"
        "build_page(); launch_options();"
        "print([name for name in ('torch', 'cv2', 'matplotlib', 'safetensors', 'sapiens_demo.hub')"
        " if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "path",
    sorted(path for path in UI.iterdir() if path.suffix in (".css", ".js", ".html")),
    ids=lambda path: path.name,
)
def test_no_part_of_the_page_comes_from_elsewhere(path: Path) -> None:
    assert re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "name", ["size_slider", "result_view", "example_strip", "people_editor", "run_all", "segments"]
)
def test_components_survive_gradios_template_engine(name: str) -> None:
    """Templates and styles pass through Handlebars and a JavaScript template string."""
    for ending in ("html", "css"):
        content = (UI / f"{name}.{ending}").read_text(encoding="utf-8")
        assert not re.search(r"\{\{|`|\$\{|\\", content)


@pytest.mark.parametrize("size", ["4b", "", None, 3, ["mini"]])
def test_the_slider_takes_no_size_that_does_not_exist(size: object) -> None:
    with pytest.raises(Exception, match="There is no size"):
        SizeSlider().preprocess(size)


@pytest.mark.parametrize("framing", ["crop", "", None, 3, ["auto"]])
def test_segments_take_no_choice_that_does_not_exist(framing: object) -> None:
    segments = Segments("auto", texts.FRAMINGS)
    assert segments.preprocess("person") == "person"
    with pytest.raises(Exception, match="There is no choice"):
        segments.preprocess(framing)


def test_a_component_begins_empty_or_with_its_value() -> None:
    assert ResultView("pose").props["status"]["state"] == "empty"
    assert ResultView("pose", {"photo": None}).props["status"]["state"] == "idle"
