from __future__ import annotations

import subprocess
import sys

import pytest

import sapiens_demo

PROBE = """
import sys
import sapiens_demo
print(*sorted({name.split('.')[0] for name in sys.modules}))
"""


def test_the_import_brings_nothing_heavy_along() -> None:
    answer = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True).stdout

    assert not {"torch", "cv2", "numpy", "PIL", "gradio", "huggingface_hub"} & set(answer.split())


def test_the_public_name_is_there_and_no_other() -> None:
    from sapiens_demo.estimator import Sapiens

    assert sapiens_demo.Sapiens is Sapiens
    assert sapiens_demo.__all__ == ["Sapiens"]
    assert "Sapiens" in dir(sapiens_demo)
    with pytest.raises(AttributeError, match="Sapience"):
        sapiens_demo.Sapience  # noqa: B018
