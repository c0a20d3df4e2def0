"""Where the time goes: stages are exclusive, nest, and cost nothing where nobody asks."""

from __future__ import annotations

import pytest

from interp.engine.profile import REST, Profile, add, profiling, recording, stage


@pytest.fixture
def clock(monkeypatch):
    """Processor time that passes only where a test says so."""
    now = [100.0]
    monkeypatch.setattr("interp.engine.profile.spent", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def test_a_stage_counts_what_no_stage_inside_of_it_does(clock):
    @stage("loading")
    def load():
        clock(2)

    with profiling() as profile:
        clock(1)
        with stage("observation"):
            clock(3)
            load()
            with stage("observation"):
                clock(4)
            clock(5)
        load()
    clock(50)
    assert profile.seconds == {"observation": 12, "loading": 4}
    assert profile.to_json() == {"whole": 17, "seconds": {"observation": 12, "loading": 4, REST: 1}}
    assert "observation" in str(profile).splitlines()[1]
    assert "70.6%" in str(profile)


def test_what_other_processes_spent_is_added_and_a_stage_that_raises_ends(clock):
    @stage("store")
    def store(error):
        clock(1)
        raise error

    with profiling() as profile:
        with pytest.raises(ValueError, match="full"):
            store(ValueError("full"))
        clock(1)
        add({"store": 2.5, "loading": 1.0})
    assert profile.seconds == {"store": 3.5, "loading": 1.0}
    assert profile.to_json()["whole"] == 4.5  # processes elsewhere are not children: their stages count all the same


def test_nothing_is_recorded_where_nobody_asks():
    with profiling(False) as profile, stage("loading"):
        add({"store": 1.0})
        assert profile is None
        assert not recording()
    assert Profile().to_json() == {"whole": 0.0, "seconds": {REST: 0.0}}
