"""monitoring/: a real Prometheus reads the alerts, scrapes the exporter and answers the panels."""

import json
import re
import secrets
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from conftest import PROJECT, Database, clone
from core_rows import run_runner
from import_helpers import EXAMPLES
from project import until
from scraped import MONITORING, Prometheus, binary, make_super_admin, scraping, served

NAME = r"\bbotfleet_\w+"
FOREIGN = {"botfleet_up"}  # the exporter's own
# What a healthy database has none of: series come and go with what they tell of.
MAY_BE_EMPTY = {
    "botfleet_invalid_indexes",  # takes a concurrent build that failed
    "botfleet_bot_faults",  # takes a bot's row that no job can read
    "botfleet_uncounted",  # takes 20,000 messages of a bot that nobody folds
}
COMPARISON = re.compile(r"^(botfleet_\w+) (>=|<=) (\S+)$")


@pytest.fixture(scope="module")
def fleet(cluster: Database, template: Database) -> Iterator[Database]:
    """A database with something of everything in it, as a super_admin meets it: bots that talked
    just now, files in quarantine, an open transaction, and somebody who waits for a lock."""
    for database in clone(cluster, template.name):
        for folder, code in (("legacy", 0), ("broken", 6)):
            run_runner(database, "import", str(EXAMPLES / folder), code=code)
        with database.connect() as conn:
            for direction in ("in", "out"):
                conn.execute("select core.record_message(4711, %s, 'Привет, как дела?',"
                             " p_name => 'Анна', p_bot_id => 1)", [direction])
            conn.execute("select performance.roll_up_metrics()")
            olga = make_super_admin(conn, database, f"olga_{secrets.token_hex(4)}",
                                    secrets.token_hex(16))
        with somebody_waits(database):
            yield olga


@contextmanager
def somebody_waits(database: Database) -> Iterator[None]:
    """A session with an open transaction, and another that waits for what it holds."""
    with database.connect() as holder, database.connect() as waiter:
        holder.execute("begin; lock table core.bots in share mode")
        with ThreadPoolExecutor(1) as pool:
            wait = pool.submit(waiter.execute, "begin; lock table core.bots in row exclusive mode")
            yield
            holder.execute("rollback")
            wait.result(20)


@pytest.fixture(scope="module")
def prometheus(fleet: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    binary("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    with (served(folder, fleet) as exporter,
          scraping(folder, exporter.url.removeprefix("http://")) as found):
        yield found


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    return json.loads((MONITORING / "grafana-dashboard.json").read_text("utf-8"))


def panels(dashboard: dict) -> list[dict]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions(dashboard: dict) -> list[tuple[str, str]]:
    """(panel's title, expression as Grafana would send it with everything selected)."""
    found = []
    for panel in panels(dashboard):
        for target in panel["targets"]:
            text = target["expr"].replace("$instance", ".*").replace("$bot_id", ".*")
            assert "$" not in text, text
            found.append((panel["title"], text))
    return found


def metrics(database: Database) -> set[str]:
    return {name for name, in database.execute("select distinct name from performance.metrics")}


def possible(database: Database) -> set[str]:
    """Every name that performance.metrics can have, whatever is to be told just now."""
    return FOREIGN | {"botfleet_health"} | {name for name, in database.execute(
        "select concat_ws('_', 'botfleet', probe, nullif(unit, '')) from performance.probe")}


# promtool -----------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [
    "check rules --lint=all --lint-fatal alerts.yml", "check config --lint=all prometheus.yml",
    "test rules alerts_test.yml"])
def test_promtool_finds_no_fault(arguments):
    done = subprocess.run([binary("promtool"), *arguments.split()], cwd=MONITORING,
                          capture_output=True, text=True)
    assert done.returncode == 0 and "FAILED" not in done.stdout, done.stdout + done.stderr


def test_promtool_finds_no_fault_in_the_metrics(fleet):
    text = run_runner(fleet, "metrics").stdout
    done = subprocess.run([binary("promtool"), "check", "metrics"], input=text,
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


# Alerts -------------------------------------------------------------------------


def test_every_alert_has_a_severity_a_summary_and_the_next_step(prometheus):
    for rule in prometheus.rules():
        assert rule["labels"]["severity"] in ("warning", "critical"), rule["name"]
        assert rule["duration"] >= 60, rule["name"]
        assert len(rule["annotations"]["summary"]) < 100
        assert " Next: " in rule["annotations"]["description"], rule["name"]


def test_every_alert_is_tested(prometheus):
    tested = (MONITORING / "alerts_test.yml").read_text("utf-8")
    for rule in prometheus.rules():
        parts = re.split(r"^ {2}- name: ", tested, flags=re.M)
        own = "".join(part for part in parts if f"alertname: {rule['name']}\n" in part)
        silent, raised = own.count("alertname:") - own.count("exp_alerts:"), own.count("exp_alerts")
        assert silent and raised, rule["name"]


def test_alerts_have_thresholds_and_next_steps_of_the_probes(prometheus, fleet):
    """A warning for each probe; what is critical, the database itself says."""
    rules = prometheus.rules()
    found = {rule["labels"]["check"]: rule for rule in rules if "check" in rule["labels"]}
    probes = fleet.execute("""
        select probe, unit, warning, critical, what_to_do from performance.probe
        where warning is not null""")
    assert found.keys() == {row[0] for row in probes}
    for probe, unit, warning, critical, what_to_do in probes:
        metric, operator, value = COMPARISON.fullmatch(found[probe]["query"]).groups()
        less_is_worse = critical is not None and critical < warning
        assert metric == "_".join(filter(None, ("botfleet", probe, unit)))
        assert (operator, float(value)) == ("<=" if less_is_worse else ">=", warning), probe
        assert found[probe]["annotations"]["description"].endswith(f"Next: {what_to_do}"), probe
    assert "botfleet_health == 2" in [rule["query"] for rule in rules]


def test_alerts_speak_of_what_is_wrong_now(prometheus):
    """They are pending, as nothing has lasted long enough; their texts are made already."""
    def pending():
        return {(alert["labels"]["alertname"], alert["labels"].get("bot_id")): alert
                for alert in prometheus.ask("alerts")["alerts"]}
    until(lambda: ("BotfleetQuarantinedFiles", "4") in pending(), "quarantine is pending")
    summary = pending()[("BotfleetQuarantinedFiles", "4")]["annotations"]["summary"]
    assert re.fullmatch(r"Files of bot 4 in quarantine: \d+", summary)
    by_load = {"BotfleetAbsent", "BotfleetLockWait", "BotfleetOldTransaction"}  # on a slow machine
    by_server = {"BotfleetSettingShortfall", "BotfleetUnseenSessions"}
    assert {name for name, _ in pending()} - by_load - by_server == {"BotfleetQuarantinedFiles"}


# Dashboard ------------------------------------------------------------------------


def test_prometheus_answers_every_panel(prometheus, dashboard):
    for title, expression in expressions(dashboard):
        if not set(re.findall(NAME, expression)) <= MAY_BE_EMPTY or "vector" in expression:
            until(lambda text=expression: prometheus.query(text), f"{title}: {expression}")
        else:
            prometheus.query(expression)


def test_what_may_be_empty_is_empty(prometheus):
    """Else it does not belong on the list."""
    assert {name for name in MAY_BE_EMPTY if prometheus.query(name)} == set()


def test_a_check_that_found_nothing_is_well(prometheus, fleet):
    """As runner.py health has it: a series that is not there could as well not be measured."""
    until(lambda: prometheus.query("botfleet_health"), "scraped")  # one may have come too late
    found = {row["metric"]["check"]: row["value"][1] for row in prometheus.query("botfleet_health")}
    assert found["invalid_indexes"] == "0"
    assert found.keys() == {name for name, in fleet.execute(
        "select probe from performance.probe where warning is not null")}


def test_alerts_and_dashboard_know_no_metric_that_there_is_not(prometheus, dashboard, fleet):
    used = {name for rule in prometheus.rules() for name in re.findall(NAME, rule["query"])}
    shown = {name for _, text in expressions(dashboard) for name in re.findall(NAME, text)}
    assert (used | shown) - possible(fleet) == set()
    assert metrics(fleet) <= possible(fleet)


def test_every_metric_is_on_the_dashboard(dashboard, fleet):
    shown = {name for _, text in expressions(dashboard) for name in re.findall(NAME, text)}
    assert possible(fleet) - shown == set()


def test_panels_have_thresholds_and_units_of_the_probes(dashboard, fleet):
    units = {"seconds": "s", "bytes": "bytes", "": "short", "timestamp_seconds": "s"}
    probes = {"_".join(filter(None, ("botfleet", probe, unit))): (unit, warning, critical)
              for probe, unit, warning, critical in fleet.execute(
                  "select probe, unit, warning, critical from performance.probe")}
    for panel in panels(dashboard):
        names = {name for t in panel["targets"] for name in re.findall(NAME, t["expr"])}
        if len(names) != 1 or (name := names.pop()) not in probes or " / " in str(panel["targets"]):
            continue
        defaults, (unit, warning, critical) = panel["fieldConfig"]["defaults"], probes[name]
        values = {step["value"] for step in defaults["thresholds"]["steps"]} - {None}
        if critical is not None and critical < warning:
            wanted = {critical + 1, warning + 1}  # whole numbers: a step's colour starts at it
        else:
            wanted = {value for value in (warning, critical) if value not in (None, float("inf"))}
        assert values == wanted, panel["title"]
        counts = panel["type"] == "stat" and not panel["targets"][0]["expr"].startswith(name)
        assert counts or defaults["unit"] == units.get(unit, defaults["unit"]), panel["title"]
        assert unit != "ratio" or defaults["unit"] in ("percentunit", "short"), panel["title"]


def test_the_dashboard_can_be_imported_anywhere(dashboard):
    text = (MONITORING / "grafana-dashboard.json").read_text("utf-8")
    assert text == json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"
    assert dashboard["id"] is None and dashboard["schemaVersion"] >= 39
    assert [one["name"] for one in dashboard["__inputs"]] == ["DS_PROMETHEUS"]
    sources = {str(uid) for uid in re.findall(r'"uid": "(.*)"', text)} - {dashboard["uid"]}
    assert sources == {"${DS_PROMETHEUS}"}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    titles = [panel["title"] for panel in panels(dashboard)]
    assert len(set(titles)) == len(titles)
    assert {panel["type"] for panel in panels(dashboard)} == {
        one["id"] for one in dashboard["__requires"] if one["type"] == "panel"}


def test_no_panel_lies_over_another_or_beyond_the_edge(dashboard):
    taken = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                 for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells


# Privacy --------------------------------------------------------------------------


def test_neither_metrics_nor_alerts_tell_a_name_or_a_message(prometheus, fleet):
    told = run_runner(fleet, "metrics").stdout + json.dumps(
        [prometheus.ask("alerts"), prometheus.ask("series", **{"match[]": '{job="botfleet"}'})],
        ensure_ascii=False)
    words = {word for word, in fleet.execute("""
        select name from core.bots union select name from core.girls_profiles
        union select body from core.messages where length(body) > 8""") if word}
    assert len(words) > 100
    assert [word for word in words if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", told)] == []


def test_the_example_configuration_scrapes_where_the_readme_serves():
    address = re.search(r"targets: \['(.+?)'\]", (MONITORING / "prometheus.yml").read_text())[1]
    assert f"metrics --serve {address}" in (PROJECT / "README.md").read_text("utf-8")
