from __future__ import annotations

from pathlib import Path

import pytest

from sapiens_demo.cgroups import cores_allowed, memory_left

GB = 10**9


def _system(folder: Path, membership: str, groups: dict[str, dict[str, object]]) -> tuple[Path, Path]:
    """Write the files that Linux would show; return where membership and groups are."""
    (folder / "membership").write_text(membership)
    for name, files in groups.items():
        (folder / "root" / name).mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            (folder / "root" / name / file).write_text(f"{content}\n")
    return folder / "membership", folder / "root"


def _memory(limit: object, usage: int) -> dict[str, object]:
    return {"memory.max": limit, "memory.current": usage, "memory.stat": f"anon 5\ninactive_file {GB}"}


@pytest.mark.parametrize(
    ("membership", "groups", "expected"),
    [
        pytest.param("", {}, None, id="no control groups"),
        pytest.param("0::/\n", {}, None, id="no memory controller"),
        pytest.param("0::/\n", {"": _memory("max", 5 * GB)}, None, id="no limit"),
        pytest.param("0::/\n", {"": _memory(16 * GB, 6 * GB)}, 11 * GB, id="in a container"),
        pytest.param(
            "0::/a/b\n",
            {"a": _memory(9 * GB, 6 * GB), "a/b": _memory(8 * GB, 6 * GB)},
            3 * GB,
            id="own group",
        ),
        pytest.param(
            "0::/a/b\n", {"a": _memory(7 * GB, 6 * GB), "a/b": _memory("max", 6 * GB)}, 2 * GB, id="one above"
        ),
        pytest.param("0::/../x\n", {"": _memory(16 * GB, 6 * GB)}, 11 * GB, id="another name space"),
        pytest.param(
            "9:name=systemd:/\n4:cpu,memory:/job\n1:cpu:/other\n0::/\n",
            {
                "memory/job": {
                    "memory.limit_in_bytes": 8 * GB,
                    "memory.usage_in_bytes": 6 * GB,
                    "memory.stat": f"total_cache 1\ntotal_inactive_file {GB}",
                }
            },
            3 * GB,
            id="version 1",
        ),
    ],
)
def test_the_memory_that_is_left(
    membership: str, groups: dict[str, dict[str, object]], expected: int | None, tmp_path: Path
) -> None:
    assert memory_left(*_system(tmp_path, membership, groups)) == expected


@pytest.mark.parametrize(
    ("membership", "groups", "expected"),
    [
        pytest.param("", {}, None, id="no control groups"),
        pytest.param("0::/\n", {"": {"cpu.max": "max 100000"}}, None, id="no limit"),
        pytest.param("0::/\n", {"": {"cpu.max": "200000 100000"}}, 2, id="two cores"),
        pytest.param("0::/\n", {"": {"cpu.max": "150000 100000"}}, 2, id="one and a half"),
        pytest.param("0::/\n", {"": {"cpu.max": "10000 100000"}}, 1, id="a tenth"),
        pytest.param(
            "0::/a/b\n", {"a": {"cpu.max": "300000 100000"}, "a/b": {"cpu.max": "max 100000"}}, 3, id="above"
        ),
        pytest.param(
            "1:cpu:/job\n0::/\n",
            {"cpu/job": {"cpu.cfs_quota_us": 400000, "cpu.cfs_period_us": 100000}},
            4,
            id="version 1",
        ),
        pytest.param(
            "1:cpu:/\n",
            {"cpu": {"cpu.cfs_quota_us": -1, "cpu.cfs_period_us": 100000}},
            None,
            id="1, no limit",
        ),
    ],
)
def test_the_cores_that_are_allowed(
    membership: str, groups: dict[str, dict[str, object]], expected: int | None, tmp_path: Path
) -> None:
    assert cores_allowed(*_system(tmp_path, membership, groups)) == expected


def test_this_machine_has_an_answer() -> None:
    assert memory_left() is None or memory_left() > 0
    assert cores_allowed() is None or cores_allowed() >= 1
