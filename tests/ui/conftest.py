"""Pages that run for the tests, and a browser to visit them."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gradio as gr
import pytest

from sapiens_demo.ui.page import build_page, launch_options
from sapiens_demo.ui.service import Service
from tests.ui.standins import StandInService, make_examples

_BROWSER_SETTINGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def launched(service: Service, page: gr.Blocks | None = None) -> Iterator[str]:
    """Serve a page, such as from build_page(service), on a free port of this machine; give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    page = page or build_page(service)
    page.launch(**launch_options(), prevent_thread_lock=True, server_port=port, quiet=True)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        page.close(verbose=False)


@pytest.fixture(scope="session")
def temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder that Gradio's temporary files go to."""
    folder = tmp_path_factory.mktemp("gradio")
    with patch.dict(os.environ, {"GRADIO_TEMP_DIR": str(folder)}):
        yield folder


@pytest.fixture(scope="session")
def examples_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder like assets/examples with two examples and their results."""
    return make_examples(tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="session")
def stand_in_page(examples_folder: Path, temporary_files: Path) -> Iterator[tuple[StandInService, str]]:
    """Serve a page with the stand-in engine; return its service and address."""
    service = StandInService(examples_folder)
    with launched(service) as address:
        yield service, address


@pytest.fixture
def stand_in(stand_in_page: tuple[StandInService, str]) -> Iterator[tuple[StandInService, str]]:
    """Return the page with the stand-in engine as if nobody had visited it yet."""
    service, address = stand_in_page
    service.forget()
    yield service, address
    service.gate.set()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return a browser, for one module: while it lives, nothing else may use asyncio in the main thread."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        reason = "there is no Chromium on this machine: apt-get install chromium"
        if os.environ.get("SAPIENS_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_BROWSER_SETTINGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that opens an address. At the end nothing may have gone wrong behind the scenes."""
    contexts, trouble = [], []

    def open_page(
        address: str,
        width: int = 1400,
        height: int = 900,
        known_noise: str | None = None,
        init: str = "",
        **options: Any,
    ) -> Any:
        def note(line: str) -> None:
            if known_noise is None or known_noise not in line:
                trouble.append(line)

        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.add_init_script(init)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda line: note(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        own = (address, "data:", "blob:")
        page.on("request", lambda asked: None if asked.url.startswith(own) else trouble.append(asked.url))
        page.goto(address)
        page.wait_for_selector("#size .here")  # the visit has begun: stops have been looked up
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []
