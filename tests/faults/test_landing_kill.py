"""24, 36: the process that ingests a batch of landed files is killed at each step; the next try finishes its work.

Without Airflow around them, all at once: each scenario has a folder, a batch and a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from datamart.batches import Batch, batch_of
from datamart.landing import PREFIX, plan_landing
from datamart.objects import ObjectStore, archive_key, quarantine_key
from datamart.settings import load_settings
from datamart.warehouse.postgres import PostgresWarehouse
from tests.bucket import own_bucket
from tests.faults import boundaries
from tests.faults.admin import Admin
from tests.faults.detour import HOST
from tests.faults.files import TABLE, Sent, hires, send
from tests.faults.framing import HTTP, POSTGRES
from tests.faults.ingesting import Crew, job_of
from tests.faults.mart import Mart
from tests.faults.sound import assert_sound, state
from tests.faults.wire import CLIENT, SERVER, Proxy, Rule
from tests.stack import Stack

NAMES = ("a", "b", "c")
ROWS = 100
SIGKILL = -9
REFUSED = ("note_written", "set_aside")
KILLED = (
    "reading", "merged", "committed", "before_copy", "copied", "before_delete", "deleted", *REFUSED,
)  # fmt: skip
DEADLY = "deadly"


@dataclass(frozen=True)
class Scenario:
    """Three files of one folder, the second of which meets the fault."""

    name: str
    files: dict[str, Sent]
    batch: Batch

    @property
    def met(self) -> Sent:
        return self.files["b"]


@pytest.fixture(scope="module")
def mart(warehouse_and_s3: Stack) -> Iterator[Mart]:
    """A fresh warehouse and bucket where no Airflow takes what lands."""
    found = Mart.of(warehouse_and_s3)
    with own_bucket(found.store.client, "killed") as bucket:
        store = ObjectStore(found.store.client, bucket)
        with Admin.of(warehouse_and_s3).database(replace(found, store=store)) as fresh:
            yield fresh


@pytest.fixture(scope="module")
def scenarios(mart: Mart) -> dict[str, Scenario]:
    found = {}
    for name in (*KILLED, DEADLY):
        bodies = {one: hires(ROWS) for one in NAMES}
        if name in REFUSED:
            bodies["b"] = b"x,bad\n"
        files = send(mart, f"{PREFIX}{name}/", *NAMES, bodies=bodies)
        found[name] = Scenario(name, files, batch_of(TABLE, [files[one].arrival for one in NAMES]))
    return found


def rules(scenario: Scenario, crew: Crew) -> tuple[str, Rule]:
    """The wire and the rule of a scenario."""
    sent, kill = scenario.met, crew.killer_of(scenario.name)
    load_id = sent.load_id
    target = (
        quarantine_key(sent.arrival, load_id) if scenario.name in REFUSED else archive_key(TABLE, sent.arrival, load_id)
    )
    copied = rb"\APUT /\S*" + target.encode() + rb"[ ?]"
    deleted = rb"\ADELETE /" + sent.source
    done = rb"\AHTTP/1.1 20"
    return {
        "reading": ("s3", Rule(SERVER, rb"", kill, after=rb"\AGET /" + sent.source)),
        "merged": ("warehouse", boundaries.merged(sent, kill)),
        "committed": ("warehouse", boundaries.committed(sent, kill)),
        "before_copy": ("s3", Rule(CLIENT, copied, kill)),
        "copied": ("s3", Rule(SERVER, done, kill, after=copied)),
        "before_delete": ("s3", Rule(CLIENT, deleted, kill)),
        "deleted": ("s3", Rule(SERVER, done, kill, after=deleted)),
        "note_written": ("s3", Rule(SERVER, done, kill, after=copied.replace(rb"[ ?]", rb"\.json"))),
        "set_aside": ("s3", Rule(SERVER, done, kill, after=copied)),
    }[scenario.name]  # fmt: skip


@dataclass(frozen=True)
class Campaign:
    """Every batch, tried until its task has ended: the crews of each try."""

    tries: list[Crew]
    rules: dict[str, Rule]
    state: list[tuple[object, ...]]


@pytest.fixture(scope="module")
def campaign(mart: Mart, scenarios: dict[str, Scenario], warehouse_and_s3: Stack) -> Iterator[Campaign]:
    ports = {name: int(warehouse_and_s3.variables[f"{name}_PORT"]) for name in ("POSTGRES", "S3")}
    warehouse, s3 = Proxy((HOST, ports["POSTGRES"]), POSTGRES), Proxy((HOST, ports["S3"]), HTTP)
    proxied = replace(mart.by_way_of(warehouse_port=warehouse.port), s3_url=f"http://{HOST}:{s3.port}")
    tries, placed = [Crew()], {}
    for name in KILLED:
        wire, placed[name] = rules(scenarios[name], tries[0])
        {"warehouse": warehouse, "s3": s3}[wire].add(placed[name])
    deadly = scenarios[DEADLY].met.arrival.key
    try:
        left = dict(scenarios)
        while left:
            careful = len(tries) > 1
            jobs = {name: job_of(one.batch, name, careful=careful, deadly=deadly) for name, one in left.items()}
            codes = tries[-1].work(proxied, jobs).codes
            left = {name: one for name, one in left.items() if codes[name]}
            assert len(tries) <= 4, tries[-1].said
            tries += [Crew()] if left else []
        yield Campaign(tries, placed, state(mart.sql))
    finally:
        warehouse.close()
        s3.close()


def assert_moved(mart: Mart, sent: Sent) -> None:
    """The file is in the archive, or in the quarantine with its note, and nowhere else."""
    ((load_id, verdict),) = mart.sql(
        "SELECT load_id, verdict FROM ops.loads WHERE source_key = %s AND verdict <> 'failed'", sent.arrival.key
    )
    at_rest = archive_key(TABLE, sent.arrival, load_id), quarantine_key(sent.arrival, load_id)
    target = at_rest[verdict == "rejected"]
    places = [one.key for key in (sent.arrival.key, *at_rest) for one in mart.store.list(key, exact=True)]
    assert places == [target], f"{sent.arrival.key} is at {places}"
    notes = [one.key for one in mart.store.list(f"{target}.json")]
    assert bool(notes) == (verdict == "rejected"), f"notes {notes} of a file that was {verdict}"


@pytest.mark.parametrize("name", KILLED)
def test_killed_at(name: str, campaign: Campaign, scenarios: dict[str, Scenario], mart: Mart) -> None:
    first, second = campaign.tries[:2]
    assert campaign.rules[name].hits == 1
    assert (first.codes[name], second.codes[name]) == (SIGKILL, 0)
    told = second.verdicts[name]
    for letter, sent in scenarios[name].files.items():
        bad = name in REFUSED and letter == "b"
        assert told[sent.arrival.key] == ("rejected" if bad else "loaded")
        assert_moved(mart, sent)
        if not bad:
            assert_sound(mart, sent)
    assert mart.sql("SELECT source_key FROM ops.holds WHERE source_key LIKE %s", f"%/{name}/%") == []


def test_a_file_that_ends_its_process_each_time_is_passed_over_and_the_others_are_loaded(
    campaign: Campaign, scenarios: dict[str, Scenario], mart: Mart
) -> None:
    files = scenarios[DEADLY].files
    keys = {letter: sent.arrival.key for letter, sent in files.items()}
    assert [crew.codes[DEADLY] for crew in campaign.tries] == [SIGKILL, SIGKILL, 0]
    assert [set(crew.verdicts.get(DEADLY, {})) for crew in campaign.tries[:2]] == [{keys["a"]}] * 2
    assert campaign.tries[2].verdicts[DEADLY] == dict.fromkeys(keys.values(), "loaded") | {keys["b"]: "failed"}
    for letter in "ac":
        assert_moved(mart, files[letter])
        assert_sound(mart, files[letter])
    ((held, attempts, reason),) = mart.sql("SELECT source_key, attempts, reason FROM ops.holds")
    assert (held, attempts) == (keys["b"], 1)
    assert "memory" in reason
    assert mart.sql("SELECT verdict FROM ops.loads WHERE source_key = %s", keys["b"]) == [("failed",)]


def planned(mart: Mart) -> list[Batch]:
    """The next look into the folder."""
    warehouse = PostgresWarehouse(mart.uri)
    try:
        return plan_landing(mart.store, warehouse, load_settings({})).batches
    finally:
        warehouse.close()


@pytest.mark.usefixtures("campaign")
def test_it_is_loaded_when_there_is_room_for_it(scenarios: dict[str, Scenario], mart: Mart) -> None:
    assert planned(mart) == []
    mart.run("UPDATE ops.holds SET next_try_at = now()")
    (batch,) = planned(mart)
    sent = scenarios[DEADLY].met
    assert Crew().work(mart, {"later": job_of(batch, "later")}).verdicts == {"later": {sent.arrival.key: "loaded"}}
    assert_moved(mart, sent)
    assert_sound(mart, sent)
    assert mart.sql("SELECT 1 FROM ops.holds") == []
    assert mart.store.list(PREFIX) == []


def test_a_file_in_the_wrong_place_is_found(campaign: Campaign, scenarios: dict[str, Scenario], mart: Mart) -> None:
    assert campaign.tries
    sent, refused = scenarios["copied"].files["a"], scenarios["set_aside"].files["b"]
    target, note = archive_key(TABLE, sent.arrival, sent.load_id), quarantine_key(refused.arrival, refused.load_id)
    body, text = mart.read(target), mart.read(f"{note}.json")
    mart.store.write(sent.arrival.key, body)
    with pytest.raises(AssertionError, match=r"is at \['landing/"):
        assert_moved(mart, sent)
    mart.store.remove([sent.arrival.key, target, f"{note}.json"])
    with pytest.raises(AssertionError, match=r"is at \[\]"):
        assert_moved(mart, sent)
    with pytest.raises(AssertionError, match="notes"):
        assert_moved(mart, refused)
    mart.store.write(target, body)
    mart.store.write(f"{note}.json", text)
