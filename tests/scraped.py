"""The exporter and a Prometheus, started for a test on loopback ports and stopped by their pids."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from conftest import PROJECT, Database
from project import until

from fleet.bots import verifier

MONITORING = PROJECT / "monitoring"
HOW = ("no {}: set TEST_PROMETHEUS_BIN to a folder that holds it; Debian: `apt-get download "
       "prometheus`, `dpkg-deb -x prometheus_*.deb folder`, then folder/usr/bin (.ci/run does)")


def binary(name: str) -> Path:
    """prometheus or promtool; without it the test is skipped, and fails under CI=true."""
    folder = os.environ.get("TEST_PROMETHEUS_BIN")
    found = shutil.which(name, path=folder)
    if not found:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(HOW.format(name))
    return Path(found)


@dataclass
class Child:
    """A program at work, what it says in a file, and where it answers."""

    process: subprocess.Popen
    output: Path
    url: str = field(default="")

    @property
    def said(self) -> str:
        return self.output.read_text("utf-8")

    def get(self, path: str, **query: str) -> tuple[int, str]:
        """Status and body of an answer over HTTP."""
        address = f"{self.url}{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(address, timeout=20) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read().decode()


@contextmanager
def running(folder: Path, *command: str | Path, env: dict[str, str] | None = None
            ) -> Iterator[Child]:
    """A child with its output in a file of `folder`; ended when the test is done with it."""
    output = folder / f"{Path(command[0]).name}-{time.monotonic_ns()}.out"
    with output.open("w") as file:
        process = subprocess.Popen([str(word) for word in command], env=env, cwd=folder,
                                   stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        yield Child(process, output)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def served(folder: Path, database: Database, address: str = "127.0.0.1:0",
           project: Path = PROJECT) -> Iterator[Child]:
    """The metrics of a database, served by the real runner at the address that it prints."""
    with running(folder, sys.executable, project / "runner.py", "metrics", "--serve", address,
                 env=database.environment()) as child:
        until(lambda: "serving http" in child.said or child.process.poll() is not None, "served")
        assert child.process.poll() is None, child.said
        child.url = re.search(r"serving (http://\S+)/metrics", child.said)[1]
        yield child


class Prometheus:
    """A Prometheus that scrapes one target each second, and knows the project's alerts."""

    def __init__(self, child: Child) -> None:
        self.child = child

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer of its API; fails where it says anything but success."""
        status, body = self.child.get(f"/api/v1/{path}", **query)
        answer = json.loads(body)
        assert (status, answer["status"]) == (200, "success"), (query, body)
        return answer["data"]

    def query(self, expression: str) -> list[dict]:
        """The series that an expression yields now."""
        return self.ask("query", query=expression)["result"]

    def rules(self) -> list[dict]:
        """The alerting rules that it has read."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]


@contextmanager
def scraping(folder: Path, target: str) -> Iterator[Prometheus]:
    """A Prometheus that has scraped `target` (host:port) three times and looked at its rules."""
    program = binary("prometheus")
    config = folder / "prometheus.json"  # JSON is YAML
    config.write_text(json.dumps({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(MONITORING / "alerts.yml")],
        "scrape_configs": [{"job_name": "botfleet", "static_configs": [{"targets": [target]}]}]}))
    with running(folder, program, f"--config.file={config}", f"--storage.tsdb.path={folder}/data",
                 "--web.listen-address=127.0.0.1:0") as child:
        until(lambda: _address(child) or child.process.poll() is not None, "listening")
        assert child.process.poll() is None, child.said
        child.url = f"http://{_address(child)}"
        found = Prometheus(child)
        until(lambda: child.get("/-/ready")[0] == 200, "ready")
        until(lambda: any(float(row["value"][1]) >= 3 for row in found.query(
            "count_over_time(botfleet_up[1m])")), "scraped", 60)
        until(lambda: all(rule["health"] == "ok" for rule in found.rules()), "rules are read")
        yield found


def _address(child: Child) -> str:
    """Where it listens; with port 0 it does not say, so the kernel is asked."""
    return next(iter(listening(child)), "")


def listening(child: Child) -> list[str]:
    """The addresses (host:port) at which a child takes connections."""
    return [f"{one.laddr.ip}:{one.laddr.port}"
            for one in psutil.Process(child.process.pid).net_connections("tcp")
            if one.status == psutil.CONN_LISTEN]


def make_super_admin(conn: psycopg.Connection, database: Database, name: str, password: str
                     ) -> Database:
    """The same database as a new super_admin would meet it, who is no superuser."""
    conn.execute("select security.create_admin(%s, %s, true)", [name, verifier(conn, password)])
    return Database(database.parts | {"user": name, "password": password})
