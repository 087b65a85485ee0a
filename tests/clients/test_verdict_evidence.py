"""Records become facts: lines of three kinds from any mix of files, and what is none of them."""

from pathlib import Path

import pytest

from clients.reading import read
from clients.recorded import Hold
from tests.clients.lines import BLUE, Lines, replica, rollout


def test_lines_of_three_kinds_are_joined_into_sessions_relays_and_acts(tmp_path: Path) -> None:
    lines = Lines()
    lines.stage()
    lines.hold()
    lines.opened(1, 1)
    lines.turn(4, 1)
    lines.pong(5, 1)
    lines.closed(10, 1)

    found = read([lines.write(tmp_path)])

    (session,) = found.sessions
    assert session.end
    assert (session.revision, session.replica, session.end.code, session.end.early) == (
        BLUE,
        replica(BLUE),
        1000,
        False,
    )
    assert session.end.at - session.opened == pytest.approx(9)
    assert session.id
    assert found.logged[session.id].ended_by == "client"
    assert [act.name for act in found.acts] == ["stage.started"]
    assert (len(found.turns[session.place]), len(found.pongs[session.place]), found.ignored) == (1, 1, 0)


def test_a_session_without_an_end_is_still_open(tmp_path: Path) -> None:
    lines = Lines()
    lines.hold()
    lines.opened(1, 1)

    (session,) = read([lines.write(tmp_path)]).sessions

    assert session.end is None
    assert not session.cut


def test_an_end_whose_beginning_was_lost_still_is_a_session(tmp_path: Path) -> None:
    lines = Lines()
    lines.opened(1, 1)
    lines.closed(10, 1, 1006)
    lines.harness = lines.harness[1:]

    (session,) = read([lines.write(tmp_path)]).sessions

    assert session.cut
    assert session.end
    assert session.end.at - session.opened == pytest.approx(9)


def test_a_torn_last_line_and_lines_of_no_known_kind_are_left_out_and_counted(tmp_path: Path) -> None:
    lines = Lines()
    lines.hold()
    lines.opened(1, 1)
    record = lines.write(tmp_path) / "hold.jsonl"
    record.write_bytes(
        b'["a list"]\n{"ts":"yesterday","act":"x"}\nplain words\n\n' + record.read_bytes() + b'{"ts":"2026-'
    )

    found = read([record])

    assert (len(found.sessions), found.ignored) == (1, 4)


def test_a_file_named_twice_counts_once(tmp_path: Path) -> None:
    rollout(3).write(tmp_path)

    assert len(read([tmp_path, tmp_path / "hold.jsonl"]).sessions) == len(read([tmp_path]).sessions)


@pytest.mark.parametrize(
    ("url", "to_revision"),
    [
        ("ws://rtproxy--green.stage.localhost:1/v1/realtime", True),
        ("wss://rtproxy---blue.happysea-1.westeurope.azurecontainerapps.io", True),
        ("ws://127.0.0.1:8080/v1/realtime?deployment=a--b", False),
        ("wss://rtproxy.happysea-1.westeurope.azurecontainerapps.io", False),
        ("wss://xn--stimme-cua.example", False),
    ],
)
def test_a_hold_to_a_revisions_own_address_is_known_by_its_host(url: str, to_revision: bool) -> None:
    assert Hold(id="1", name="smoke", arguments={"url": url}, started=0).to_revision is to_revision


def test_a_question_asked_of_relays_is_no_call(tmp_path: Path) -> None:
    lines = Lines()
    lines.observe(0, "probed", url="http://x", sessions=0)

    found = read([lines.write(tmp_path)])

    assert (found.observations, found.ignored) == (0, 0)
