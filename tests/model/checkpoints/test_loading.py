"""Models that are loaded at the same time: one takes over while another is being loaded, too."""

from __future__ import annotations

import threading

from torch import nn

from model.checkpoints.loading import parameters_on_meta


def test_two_threads_build_at_once_and_leave_nothing_behind():
    """What one thread changes for itself is never taken for what was there before, by the other."""
    before = nn.Module.register_parameter
    begun = threading.Event()

    def build() -> None:
        begun.set()
        with parameters_on_meta():
            assert nn.Linear(2, 2).weight.is_meta

    other = threading.Thread(target=build)
    pause = threading.Event()
    with parameters_on_meta():
        other.start()
        begun.wait(60)
        pause.wait(0.2)  # until it waits for its turn
        assert nn.Linear(2, 2).weight.is_meta
    other.join()
    assert nn.Module.register_parameter is before
    assert not nn.Linear(2, 2).weight.is_meta
