"""What was measured as Markdown, for people, and as JSON, for whoever wants to compute with it."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from sapiens_demo.bench.decoding import DecodingRow
from sapiens_demo.bench.forward import NOT_MEASURED, ForwardRow
from sapiens_demo.bench.requests import STAGES, RequestRow
from sapiens_demo.bench.starts import RestartRow
from sapiens_demo.bench.work import Limit

_BASELINE = "baseline"
_BUSY = 0.2  # spread of a median's rounds from which on the machine was not alone with it


@dataclass(frozen=True)
class Machine:
    """Say where it was measured.

    Args:
        device: title of the device.
        processor: of the host.
        cores: that torch computes with on the host.
        torch: version.
        tf32: whether float32 matrices were multiplied with TF32, as torch was set.
        tf32_convolutions: the same of convolutions, which torch computes so unless told otherwise.
    """

    device: str
    processor: str
    cores: int
    torch: str
    tf32: bool
    tf32_convolutions: bool = False


@dataclass
class Findings:
    """Hold all that was measured; None and empty is what was not.

    Args:
        machine: where.
        quick: whether it was a quick run.
        matrix_tflops: precision to TFLOP per second, median of what was seen beside the forwards.
        memory_tbs: terabytes per second of a copy, read and written.
        forwards: every way to run a network.
        requests: a photo from file to page.
        decoding: of heatmaps.
        import_seconds: of `import sapiens_demo`.
        restart: with kept compile artefacts.
        rooflines: "task size" to what the machine's rates allow, kind by kind.
        seconds: that the whole run took.
    """

    machine: Machine
    quick: bool
    matrix_tflops: dict[str, float] = field(default_factory=dict)
    memory_tbs: float | None = None
    forwards: list[ForwardRow] = field(default_factory=list)
    requests: list[RequestRow] = field(default_factory=list)
    decoding: DecodingRow | None = None
    import_seconds: float | None = None
    restart: RestartRow | None = None
    rooflines: dict[str, list[Limit]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def busy(self) -> bool:
        """Tell whether the rounds spread so much that others must have used the machine too."""
        spreads = [row.spread for row in self.forwards if row.spread is not None]
        return bool(spreads) and sorted(spreads)[len(spreads) // 2] > _BUSY


def this_machine(device_title: str) -> Machine:
    """Describe this machine.

    Args:
        device_title: of the device that was measured.
    """
    return Machine(
        device=device_title,
        processor=_processor(),
        cores=torch.get_num_threads(),
        torch=torch.__version__,
        tf32=torch.backends.cuda.matmul.allow_tf32,
        tf32_convolutions=torch.cuda.is_available() and torch.backends.cudnn.allow_tf32,
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def as_json(findings: Findings) -> str:
    """Write everything as JSON.

    Args:
        findings: what was measured.
    """
    return json.dumps(_plain(dataclasses.asdict(findings)), indent=1) + "\n"


def _plain(value: Any) -> Any:
    """Replace what JSON has no word for."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_markdown(findings: Findings) -> str:
    """Write everything as tables.

    Args:
        findings: what was measured.
    """
    parts = [_heading(findings), _bars_part(findings), _forwards_part(findings)]
    if findings.requests:
        parts.append(_requests_part(findings))
    if findings.rooflines:
        parts.append(_rooflines_part(findings))
    return "\n\n".join(parts) + "\n"


def _heading(findings: Findings) -> str:
    machine = findings.machine
    rates = [f"{tflops:.3g} TFLOP/s in {name}" for name, tflops in findings.matrix_tflops.items()]
    if findings.memory_tbs is not None:
        rates.append(f"{findings.memory_tbs:.3g} TB/s copied")
    lines = [
        f"# Speed on {machine.device}",
        "",
        f"{machine.processor}, {machine.cores} threads, torch {machine.torch}; "
        f"measured here: {', '.join(rates) or NOT_MEASURED}. The baseline is the same network as TorchScript "
        f"in float32 {_tf32_words(machine)}, attention spelled out, fed and decoded "
        f"the official way. All take turns; figures are medians. It took {findings.seconds:.0f} s in all.",
    ]
    if findings.busy:
        lines.append("**Others used this machine at the same time: trust the ratios, not the milliseconds.**")
    return "\n".join(lines)


def _tf32_words(machine: Machine) -> str:
    """Say what torch's settings make of float32."""
    kinds = {"matrices": machine.tf32, "convolutions": machine.tf32_convolutions}
    if len(set(kinds.values())) == 1:
        return "with TF32" if machine.tf32 else "without TF32"
    return " and ".join(f"{kind} {'with' if used else 'without'} TF32" for kind, used in kinds.items())


# ---- Bars -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bar:
    """Hold one thing that is to be shown.

    Args:
        measure: what.
        bar: how much it must be.
        value: how much it is, or NOT_MEASURED.
        reached: None where it was not measured.
    """

    measure: str
    bar: str
    value: str
    reached: bool | None


def bars(findings: Findings) -> list[Bar]:
    """Hold what was measured against what is wanted.

    Args:
        findings: what was measured.

    Returns:
        Every bar, also those that were not measured.
    """
    on_gpu = any(row.ms is not None and row.size != "mini" for row in findings.forwards)
    gpu = [
        *_gpu_bars(findings.forwards if on_gpu else ()),
        _agreement_bar(findings.forwards),
        _restart_bar(findings.restart),
    ]
    return [*gpu, _mini_bar(findings.forwards), *_decoding_bars(findings.decoding), *_host_bars(findings)]


def _fastest(rows: Iterable[ForwardRow]) -> list[ForwardRow]:
    """Return of every model the variant that is fastest with one image, of those that agree."""
    best: dict[tuple[str, str], ForwardRow] = {}
    for row in rows:
        usable = row.variant is not None and row.batch == 1 and row.ms is not None
        if usable and row.agreement is not None and row.agreement.holds:
            kept = best.get((row.task, row.size))
            best[row.task, row.size] = row if kept is None or row.ms < kept.ms else kept
    return list(best.values())


def _gpu_bars(rows: Sequence[ForwardRow]) -> list[Bar]:
    """Compare the fastest variants on a GPU with what is expected; without rows nothing was measured."""
    fastest = _fastest(rows)
    return [
        _least_bar(
            f"forward, {name}, one image: {of_what}",
            least,
            [getattr(row, column) for row in fastest if row.size in sizes],
            form,
        )
        for name, sizes, of_what, column, least, form in (
            ("0.3b", ("0.3b",), "share of the matrix rate", "share", 0.5, "{:.0%}"),
            ("0.6b to 2b", ("0.6b", "1b", "2b"), "share of the matrix rate", "share", 0.6, "{:.0%}"),
            ("0.3b", ("0.3b",), "against the baseline", "speedup", 6.0, "{:.1f} x"),
            ("1b and 2b", ("1b", "2b"), "against the baseline", "speedup", 8.0, "{:.1f} x"),
        )
    ]


def _mini_bar(rows: Sequence[ForwardRow]) -> Bar:
    found = [row.speedup for row in _fastest(rows) if row.size == "mini"]
    return _least_bar("forward, Mini: against the baseline", 1.5, found, "{:.2f} x")


def _least_bar(measure: str, least: float, found: Sequence[float | None], form: str) -> Bar:
    values = [value for value in found if value is not None]
    bar = f">= {form.format(least)}"
    if not values:
        return Bar(measure, bar, NOT_MEASURED, None)
    low, high = form.format(min(values)), form.format(max(values))
    return Bar(measure, bar, low if low == high else f"{low} to {high}", min(values) >= least)


def _most_bar(measure: str, most: float, value: float | None, form: str) -> Bar:
    bar = f"<= {form.format(most)}"
    if value is None:
        return Bar(measure, bar, NOT_MEASURED, None)
    return Bar(measure, bar, form.format(value), value <= most)


def _agreement_bar(rows: Sequence[ForwardRow]) -> Bar:
    judged = [row for row in rows if row.agreement is not None and row.variant.precision != "float32"]
    faults = [row for row in judged if not row.agreement.holds]
    value = f"{len(judged) - len(faults)} of {len(judged)} rows agree" if judged else NOT_MEASURED
    bar = "within the tolerances of the table"
    return Bar("narrow precisions say what float32 says", bar, value, not faults if judged else None)


def _restart_bar(row: RestartRow | None) -> Bar:
    seconds = None if row is None else row.warm_seconds
    return _most_bar("restart with kept compile artefacts, 0.3b, until compiled", 20.0, seconds, "{:.1f} s")


def _decoding_bars(row: DecodingRow | None) -> list[Bar]:
    speedups = [] if row is None else [row.loop_speedup]
    return [
        _least_bar("decoding 308 x 256 x 192 heatmaps: against the loop", 5.0, speedups, "{:.1f} x"),
        _most_bar("the same: time of one plain argmax", 2.0, row and row.argmax_share, "{:.2f} x"),
        _most_bar("the same: difference from the loop", 1e-3, row and row.largest_difference, "{:.1g} px"),
    ]


def _host_bars(findings: Findings) -> list[Bar]:
    own = [
        bar
        for row in findings.requests
        for bar in (
            _most_bar(f"12-megapixel photo, {row.task}: all but forwards", 350, row.rest_ms, "{:.0f} ms"),
            _most_bar(f"12-megapixel photo, {row.task}: memory peak", 400, row.peak_bytes / 1e6, "{:.0f} MB"),
        )
    ]
    return [*own, _most_bar("import sapiens_demo", 0.2, findings.import_seconds, "{:.3f} s")]


def _bars_part(findings: Findings) -> str:
    words = {True: "yes", False: "no", None: NOT_MEASURED}
    rows = [(bar.measure, bar.bar, bar.value, words[bar.reached]) for bar in bars(findings)]
    return "## Bars\n\n" + _table(("measure", "bar", "measured", "reached"), rows)


# ---- Tables -----------------------------------------------------------------------------------------------


def _forwards_part(findings: Findings) -> str:
    header = (
        "task", "size", "precision", "compile", "batch", "TFLOP", "ms", "of matrix rate", "against baseline",
        "peak MB", "load s", "compile s", "agrees with the baseline",
    )  # fmt: skip
    rows = [_forward_cells(row) for row in findings.forwards]
    origins = sorted({f"{row.size}: {row.weights}" for row in findings.forwards if row.weights})
    return f"## Forward\n\nWeights: {', '.join(origins) or NOT_MEASURED}.\n\n" + _table(header, rows)


def _forward_cells(row: ForwardRow) -> tuple[str, ...]:
    way = row.variant
    named = (_BASELINE, "-") if way is None else (way.precision, way.compile)
    head = (row.task, row.size, *named, str(row.batch))
    if row.ms is None:
        return (*head, "", row.note or NOT_MEASURED, "", "", "", "", "", "")
    return (
        *head,
        f"{row.tflop:.3g}",
        f"{row.ms:.3g}",
        f"{row.share:.0%}",
        "" if way is None else f"{row.speedup:.2f} x",
        f"{row.peak_bytes / 1e6:.0f}",
        _optional(row.load_seconds, "{:.2f}"),
        _optional(row.compile_seconds, "{:.1f}"),
        "" if row.agreement is None else _agreement_words(row),
    )


def _optional(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _agreement_words(row: ForwardRow) -> str:
    verdict = "yes" if row.agreement.holds else "**no**"
    words = f"{verdict}: {row.agreement.value:.5g} ({row.agreement.measure})"
    return f"{words}; {row.note}" if row.note else words


def _requests_part(findings: Findings) -> str:
    header = (
        "task", "size", "megapixels", *(f"{stage} ms" for stage in STAGES), "all but forward",
        "CPU time of that", "peak MB", "official: prepare, forward, decode ms", "its peak MB",
    )  # fmt: skip
    rows = [
        (
            row.task,
            row.size,
            f"{row.megapixels:.1f}",
            *(f"{row.stages[stage]:.0f}" for stage in STAGES),
            f"{row.rest_ms:.0f}",
            f"{row.rest_cpu_ms:.0f}",
            f"{row.peak_bytes / 1e6:.0f}",
            ", ".join(f"{value:.0f}" for value in row.official.values()) or NOT_MEASURED,
            f"{row.official_peak_bytes / 1e6:.0f}" if row.official else NOT_MEASURED,
        )
        for row in findings.requests
    ]
    return "## A photo, from its file to the pictures of the page\n\n" + _table(header, rows)


def _rooflines_part(findings: Findings) -> str:
    header = ("task, size", "operations", "TFLOP", "GB", "ms at the machine's rates", "bound by")
    rows = []
    for name, limits in findings.rooflines.items():
        rows += [
            (name, limit.kind, f"{limit.tflop:.3g}", f"{limit.gigabytes:.3g}", f"{limit.ms:.3g}", limit.bound)
            for limit in limits
        ]
        rows.append((name, "all", *_sums(limits), ""))
    title = "## What the machine's rates allow"
    words = "Each operation, of one image, reads and writes memory once; fusing them saves some of that."
    return f"{title}\n\n{words}\n\n{_table(header, rows)}"


def _sums(limits: Sequence[Limit]) -> tuple[str, str, str]:
    columns = zip(*((limit.tflop, limit.gigabytes, limit.ms) for limit in limits), strict=True)
    tflop, gigabytes, ms = (f"{sum(column):.3g}" for column in columns)
    return tflop, gigabytes, ms


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
