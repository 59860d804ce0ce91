"""app.py: what a Space, or somebody with a shell, starts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_space_finds_its_demo() -> None:
    code = "import app, gradio; print(isinstance(app.demo, gradio.Blocks))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert answer.stdout.split()[-1:] == ["True"], answer.stderr


def test_the_page_is_built_without_the_engine() -> None:
    code = "import app, sys; print(*{name.split('.')[0] for name in sys.modules})"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert not {"torch", "cv2", "matplotlib", "safetensors"} & set(answer.stdout.split())


def test_it_serves_on_this_machine_alone_and_ends_when_told(tmp_path: Path) -> None:
    port = free_port()
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(tmp_path), "GRADIO_SERVER_PORT": str(port)}
    app = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell's background jobs ignore the signal and hand that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        page = _first_page(app, port)
        assert "Sapiens: people in photos" in page
        time.sleep(1)
        app.send_signal(signal.SIGINT)
        output = app.communicate(timeout=60)[0]
    finally:
        app.kill()
    assert f"http://127.0.0.1:{port}" in output and "Traceback" not in output


def _first_page(app: subprocess.Popen[str], port: int) -> str:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and app.poll() is None:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30).read().decode()
        except OSError:
            time.sleep(0.1)
    raise AssertionError(app.communicate()[0] if app.poll() is not None else "no page after two minutes")
