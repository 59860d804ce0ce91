from __future__ import annotations

import time

from sapiens_demo.stages import Stages


def test_times_of_a_stage_add_up_in_the_order_of_their_beginning() -> None:
    stages = Stages()
    with stages.timed("prepare"), stages.timed("inner"):
        time.sleep(0.01)
    first = stages["prepare"]
    stages.add(load=5.0, forward=1.5)
    stages.add(forward=2.0)
    with stages.timed("prepare"):
        time.sleep(0.01)

    assert list(stages) == ["prepare", "inner", "load", "forward"]
    assert stages["load"] == 5.0 and stages["forward"] == 3.5
    assert stages["prepare"] >= first + 10 >= 20
