"""The bench command: measure as planned, print the tables and write them down."""

from __future__ import annotations

import argparse
import logging
import statistics
import subprocess
import time
from collections.abc import Callable

import numpy as np

from sapiens_demo.bench.baseline import trace_baseline
from sapiens_demo.bench.decoding import measure_decoding
from sapiens_demo.bench.forward import ForwardBench, weights_file
from sapiens_demo.bench.plan import Plan, make_plan
from sapiens_demo.bench.rate import memory_rate
from sapiens_demo.bench.report import Findings, as_json, as_markdown, this_machine
from sapiens_demo.bench.requests import RequestRow, encoded_photo, measure_requests
from sapiens_demo.bench.starts import RestartRow, import_seconds, measure_restart
from sapiens_demo.bench.weights import example_images, example_photos, find_weights, large_photo
from sapiens_demo.bench.work import roofline
from sapiens_demo.devices import device_title
from sapiens_demo.memory import release_memory
from sapiens_demo.network import NetworkConfig
from sapiens_demo.progress import Progress

_DECODING_SECONDS = 2.0
_RESTARTED = ("pose", "0.3b")
_RESTART_SECONDS = 90.0  # that must be left

_log = logging.getLogger(__name__)


def run_bench(chosen: argparse.Namespace, progress: Progress) -> str:
    """Measure and write bench.md and bench.json.

    Args:
        chosen: see options.add_options.
        progress: told what is being done.

    Returns:
        The Markdown.

    Raises:
        DemoError: nothing can be measured that way.
    """
    plan = make_plan(chosen)
    chosen.out.mkdir(parents=True, exist_ok=True)

    def keep(findings: Findings) -> None:
        (chosen.out / "bench.md").write_text(as_markdown(findings), encoding="utf-8")
        (chosen.out / "bench.json").write_text(as_json(findings), encoding="utf-8")

    return as_markdown(measure(plan, chosen.quick, progress, keep))


def measure(
    plan: Plan, quick: bool, progress: Progress, keep: Callable[[Findings], None] = lambda _: None
) -> Findings:
    """Measure everything that a plan names.

    Args:
        plan: what.
        quick: is noted down.
        progress: told what is being done.
        keep: given what was found so far, again and again, so that an end from outside loses little.

    Returns:
        What was found.
    """
    began = time.monotonic()
    photos = example_photos()
    findings = Findings(this_machine(device_title(plan.device)), quick)
    findings.memory_tbs = memory_rate(plan.device)
    if "host" in plan.parts:
        progress("import, decoding", None)
        findings.import_seconds = import_seconds()
        findings.decoding = measure_decoding(_DECODING_SECONDS)
    if "requests" in plan.parts:
        findings.requests = _requests(plan, photos[0], progress)
    if "restart" in plan.parts:
        findings.restart = _restart(plan, photos, progress)
    bench = ForwardBench(plan, photos, progress)
    for model in plan.models if "forward" in plan.parts else ():
        findings.forwards += bench.measure(*model)
        seen = bench.rates.tflops
        findings.matrix_tflops = {name: statistics.median(values) for name, values in seen.items()}
        findings.seconds = time.monotonic() - began
        keep(findings)
    if "rooflines" in plan.parts:
        findings.rooflines = _rooflines(plan, findings)
    findings.seconds = time.monotonic() - began
    keep(findings)
    return findings


def _requests(plan: Plan, photo: np.ndarray, progress: Progress) -> list[RequestRow]:
    """Measure a request of each task, at the first size of the plan that has it."""
    content = encoded_photo(large_photo(photo))
    first: dict[str, str] = {}
    for task, size in plan.models:
        first.setdefault(task, size)
    rows = []
    for task, size in first.items():
        progress(f"{task} {size}: a photo of 12 megapixels", None)
        rows.append(_with_baseline(plan, content, photo, task, size))
        release_memory(plan.device)
    return rows


def _with_baseline(plan: Plan, content: bytes, photo: np.ndarray, task: str, size: str) -> RequestRow:
    config = NetworkConfig.from_name(task, size)
    images = example_images([photo], config.image_size, 1).to(plan.device)
    weights = find_weights(task, size, plan.device, images)
    official = trace_baseline(config, weights.state_dict, images)
    with weights_file(task, size, weights) as path:
        own = path if weights.origin == "random" else None
        return measure_requests(
            content, task, size, plan.device, plan.repeats, official=official, checkpoint=own
        )


def _restart(plan: Plan, photos: list[np.ndarray], progress: Progress) -> RestartRow | None:
    modes = [variant.compile for variant in plan.variants if variant.compile != "off"]
    if not modes or _RESTARTED not in plan.models or plan.seconds_left < _RESTART_SECONDS:
        return None
    task, size = _RESTARTED
    progress(f"{task} {size}: two starts", None)
    images = example_images(photos, NetworkConfig.from_name(task, size).image_size, 1).to(plan.device)
    with weights_file(task, size, find_weights(task, size, plan.device, images)) as path:
        return _or_none(lambda: measure_restart(task, size, modes[0], path, plan.device))


def _or_none(work: Callable[[], RestartRow]) -> RestartRow | None:
    try:
        return work()
    except subprocess.SubprocessError as error:
        _log.warning("No restart was measured: %s %s", error, getattr(error, "stderr", None) or "")
        return None


def _rooflines(plan: Plan, findings: Findings) -> dict[str, list]:
    """Work out what the rates allow for each model that was measured."""
    variant = plan.variants[0]
    rate = findings.matrix_tflops.get(variant.precision)
    if rate is None or findings.memory_tbs is None:
        return {}
    measured = {(row.task, row.size) for row in findings.forwards if row.ms is not None}
    return {
        f"{task} {size}": roofline(
            NetworkConfig.from_name(task, size), 1, variant.dtype, rate, findings.memory_tbs
        )
        for task, size in plan.models
        if (task, size) in measured
    }
