"""The exact distance: what is done, and said, around the backends."""

import pytest

import graphprune as gp
from graphprune.evaluate import distance


def test_only_an_open_interval_wants_for_memory(
    tiny: gp.Network,
    images: list[gp.Anchor],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where attack and certificate answer the question, no search is missed."""
    monkeypatch.setattr(distance, "matrices_fit", lambda *_: False)
    known = gp.attack(tiny, images[0], effort="fast")
    found = gp.distance(tiny, images[0], radius=1e-3, known_attack=known)
    assert found.status == "robust"
    assert not caplog.text
    assert gp.distance(tiny, images[0], known_attack=known).status == "interval"
    assert "the interval is that of attack and certificate" in caplog.text
