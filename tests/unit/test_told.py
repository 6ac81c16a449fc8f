"""What is told of findings, and when; and that a silent server holds nobody up."""

from __future__ import annotations

import re
import threading
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from datamart.asked import answer_of, asked
from datamart.errors import TransientFault
from datamart.health import NEEDS, AirflowState, Code, Finding, Part, airflow_findings
from datamart.told import REMIND_AFTER, UNSTEADY, Told
from embedded.settings import REPOSITORY

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PAUSED = Finding(Code.DAG_PAUSED, "warning", "The Dag a is paused.", subject="a")
HELD = Finding(Code.FILE_ON_HOLD, "warning", "x is on hold.", NOW, "landing/x.csv")
DEAD = Finding(Code.PART_DEAD, "critical", "The triggerer is dead.", NOW, "triggerer")
AWAY = Finding(Code.WAREHOUSE_AWAY, "critical", "The warehouse is away.")


def course(*checks: list[Finding], every: timedelta = MINUTE) -> list[str]:
    """What is told after each check, as one word a finding."""
    told, lines = Told(), []
    for number, findings in enumerate(checks):
        news = told.news(findings, NOW + number * every)
        lines.append(
            " ".join(
                [
                    *(f"+{one.code}" for one in news.appeared),
                    *(f"!{one.code}" for one in news.reminded),
                    *(f"-{one.code}" for one in news.resolved),
                ]
            )
        )
    return lines


def test_a_finding_is_told_when_it_appears_and_when_it_is_over() -> None:
    assert course([], [PAUSED], [PAUSED], [], []) == ["", "+dag_paused", "", "-dag_paused", ""]


def test_what_comes_back_is_told_again() -> None:
    assert course([PAUSED], [], [PAUSED]) == ["+dag_paused", "-dag_paused", "+dag_paused"]


def test_other_words_for_the_same_are_no_news_and_another_subject_is() -> None:
    longer = Finding(Code.DAG_PAUSED, "warning", "Still paused.", NOW, "a")
    other = Finding(Code.DAG_PAUSED, "warning", "The Dag b is paused.", subject="b")
    assert course([PAUSED], [longer], [longer, other]) == ["+dag_paused", "", "+dag_paused"]


def test_what_lasts_is_told_again_each_day() -> None:
    assert course(*[[PAUSED]] * 5, every=REMIND_AFTER / 2) == ["+dag_paused", "", "!dag_paused", "", "!dag_paused"]


@pytest.mark.parametrize("code", sorted(UNSTEADY))
def test_what_a_restart_brings_about_is_told_when_found_twice_in_a_row(code: Code) -> None:
    finding = Finding(code, "critical", "away", subject="x")
    assert course([finding], [], [finding], [finding], []) == ["", "", "", f"+{code}", f"-{code}"]


def test_another_part_that_dies_does_not_count_for_the_first() -> None:
    other = Finding(Code.PART_DEAD, "critical", "The scheduler is dead.", NOW, "scheduler")
    assert course([DEAD], [other], [other]) == ["", "", "+part_dead"]


def test_what_cannot_be_asked_is_not_over() -> None:
    told = course([HELD], [AWAY], [AWAY], [HELD], [])
    assert told == ["+file_on_hold", "", "+warehouse_away", "-warehouse_away", "-file_on_hold"]


def test_what_is_over_meanwhile_is_told_when_it_can_be_asked_again() -> None:
    assert course([HELD], [AWAY], []) == ["+file_on_hold", "", "-file_on_hold"]


def test_what_another_server_knows_can_be_over() -> None:
    assert course([PAUSED, HELD], [AWAY]) == ["+dag_paused +file_on_hold", "-dag_paused"]


def test_a_first_backup_that_is_missed_is_not_taken_yet() -> None:
    none = Finding(Code.NO_BACKUP, "warning", "There is no backup yet.", NOW)
    missed = Finding(Code.BACKUP_MISSED, "critical", "There is no backup.")
    assert course([none], [missed], []) == ["+no_backup", "+backup_missed", "-no_backup -backup_missed"]


def test_a_paused_dag_whose_file_vanishes_is_not_switched_on() -> None:
    gone = Finding(Code.DAG_MISSING, "critical", "The Dag a is missing.", subject="a")
    assert course([PAUSED], [gone], [gone], [PAUSED], []) == [
        "+dag_paused",
        "",
        "+dag_missing",
        "-dag_missing",
        "-dag_paused",
    ]


def test_another_dag_that_vanishes_hides_nothing_of_the_first() -> None:
    other = Finding(Code.DAG_MISSING, "critical", "The Dag b is missing.", subject="b")
    assert course([PAUSED], [other], [other]) == ["+dag_paused", "-dag_paused", "+dag_missing"]


def test_dags_that_are_never_parsed_become_missing_and_are_not_over_before() -> None:
    unparsed = Finding(Code.DAGS_NOT_PARSED, "warning", "Dags are not parsed yet: a.")
    gone = Finding(Code.DAG_MISSING, "critical", "The Dag a is missing.", subject="a")
    told = course([unparsed], [unparsed], [gone], [gone], [])
    assert told == ["", "+dags_not_parsed", "", "+dag_missing", "-dags_not_parsed -dag_missing"]


def test_dags_that_are_not_parsed_yet_are_one_warning() -> None:
    (found,) = airflow_findings(AirflowState(unparsed=frozenset({"restore", "backup"})))
    assert (found.code, found.severity) == (Code.DAGS_NOT_PARSED, "warning")
    assert "Dags are not parsed yet: backup, restore. " in found.message
    assert "If this lasts longer than a few minutes, see the log of the Dag processor" in found.message


def test_every_finding_that_somebody_must_answer_for_says_who() -> None:
    away = {Code.AIRFLOW_AWAY, Code.WAREHOUSE_AWAY, Code.S3_AWAY}
    assert set(NEEDS) == set(Code) - away
    assert all(NEEDS.values())
    # Findings that come in the place of others, so that those are not over.
    instead = {Code.BACKUP_MISSED, Code.DAG_MISSING, Code.DAGS_NOT_PARSED}
    assert set().union(*NEEDS.values()) - instead == away


@pytest.mark.parametrize("code", Code)
def test_every_finding_is_documented_and_has_an_alert(code: Code) -> None:
    assert f"`{code}`" in (REPOSITORY / "docs/operations.md").read_text(encoding="utf-8")
    alerts = (REPOSITORY / "deploy/monitoring/alerts.yaml").read_text(encoding="utf-8")
    assert re.search(rf'["|]{code}["|]', alerts)


def test_airflow_that_does_not_answer_is_one_finding() -> None:
    dead = AirflowState((Part("scheduler", False),), paused=frozenset({"a"}), fault="It is away.")
    (found,) = airflow_findings(dead)
    assert found.code is Code.AIRFLOW_AWAY
    assert "It is away." in found.message


def test_a_part_that_lives_is_not_told_and_one_that_never_did_is() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5)))
    parts = (Part("scheduler", True, NOW), Part("triggerer", False), Part("dag_processor", False, elsewhere))
    found = {one.subject: one for one in airflow_findings(AirflowState(parts))}
    assert set(found) == {"triggerer", "dag_processor"}
    assert "never" in found["triggerer"].message
    assert "2026-05-01 12:00 UTC" in found["dag_processor"].message
    assert {one.severity for one in found.values()} == {"critical"}


def test_each_paused_dag_is_told_by_its_name() -> None:
    state = AirflowState(dags=frozenset({"a", "b", "c"}), paused=frozenset({"b", "a"}))
    assert [(one.code, one.subject) for one in airflow_findings(state)] == [
        (Code.DAG_PAUSED, "a"),
        (Code.DAG_PAUSED, "b"),
    ]


def test_each_missing_dag_is_critical_and_named_with_its_reason() -> None:
    state = AirflowState(dags=frozenset({"a"}), missing={"restore": "It is gone.", "backup": "SyntaxError."})
    found = airflow_findings(state)
    assert [(one.code, one.severity, one.subject) for one in found] == [
        (Code.DAG_MISSING, "critical", "backup"),
        (Code.DAG_MISSING, "critical", "restore"),
    ]
    assert "The Dag backup is missing: none of its runs starts. SyntaxError. Restore dags/backup.py" in found[0].message


def test_an_answer_is_waited_for_only_so_long() -> None:
    never = threading.Event()
    started = time.monotonic()
    with pytest.raises(TransientFault, match="not answered in time"):
        answer_of(asked(never.wait), started + 0.2)
    assert time.monotonic() - started < 2
    never.set()


def test_an_answer_or_its_error_is_handed_over() -> None:
    def refused() -> None:
        raise TimeoutError("the server's own")

    assert answer_of(asked(lambda: 7), time.monotonic() + 5) == 7
    with pytest.raises(TimeoutError, match="the server's own"):
        answer_of(asked(refused), time.monotonic() + 5)
