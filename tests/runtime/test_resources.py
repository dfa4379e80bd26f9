"""Resources: deadlines, and what is current where."""

from threading import Thread
from time import monotonic

import pytest

import graphprune as gp
from graphprune.runtime.resources import Resources, current, using


def test_a_shorter_limit_never_outlasts_the_deadline() -> None:
    resources = Resources(deadline=monotonic() + 100.0)
    assert resources.within(1000.0).deadline == resources.deadline
    assert 9.0 < resources.within(10.0).remaining() <= 10.0
    assert not resources.over
    assert resources.within(0.0).over


def test_resources_are_current_until_their_block_ends() -> None:
    assert current() == Resources()
    with using(Resources(threads=2)) as outer:
        with using(Resources(threads=3)) as inner:
            assert current() is inner
        assert current() is outer
        seen: list[Resources] = []
        thread = Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
        assert seen == [Resources()]
    assert current() == Resources()
    with pytest.raises(KeyError), using(Resources(threads=2)):
        raise KeyError
    assert current() == Resources()


def test_sessions_are_kept_by_device_and_threads(
    tiny: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    from graphprune.runtime import session
    from graphprune.transforms import forward

    network = gp.load(str(tiny.source.path))
    made: list[int] = []

    class Noted(session.Executable):
        def __init__(self, model: object) -> None:
            made.append(current().threads)
            super().__init__(model)  # type: ignore[arg-type]

    monkeypatch.setattr(session, "Executable", Noted)
    for threads in (1, 2, 1, 2):
        with using(Resources(threads=threads)):
            session.compiled(network, "test", lambda: forward(network, "float32"))
    assert made == [1, 2]


def test_unknown_keywords_are_refused_by_name(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    with pytest.raises(TypeError, match=r"attack\(\) got an unexpected keyword argument 'tmie_lim"):
        gp.attack(tiny, images[0], tmie_limit=1.0)  # type: ignore[call-arg]
