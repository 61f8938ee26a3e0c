"""`runner.py metrics`: what performance.metrics says, in Prometheus' text format, or served."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg
from prometheus_client import (
    CollectorRegistry,
    generate_latest,
    start_http_server,
    write_to_textfile,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fleet.command import Context
from fleet.errors import DONE, USAGE, FleetError
from fleet.output import writing

PATIENCE = "'10s'"  # Prometheus gives a scrape as long
UP = "1: the database answers."


def export(ctx: Context) -> int:
    """Prints the metrics for Prometheus; or writes them to a file, or serves them until Ctrl-C."""
    if ctx.args.serve is not None and ctx.args.textfile:
        raise FleetError("MB900", "--serve and --textfile at once", "Choose one.",
                         exit_code=USAGE)
    if ctx.args.serve is not None:
        return _serve(ctx)
    found = families(ctx)  # before anything is written: an error leaves the old file
    if ctx.args.textfile:
        with writing(ctx.args.textfile):
            write_to_textfile(str(ctx.args.textfile), Measured(found))
        return ctx.finish(f"{len(found)} metrics written to {ctx.args.textfile}")
    ctx.screen.text(generate_latest(Measured(found)).decode().rstrip("\n"), "metrics")
    return DONE


def families(ctx: Context) -> list[Metric]:
    """What performance.metrics says now, on a connection of its own. Raises what that raises."""
    found: dict[str, Metric] = {}
    with ctx.connect() as conn:
        conn.pins["statement_timeout"] = PATIENCE
        for name, labels, value, help_text, kind in conn.execute(
                "select name, labels, value, help, type from performance.metrics"):
            found.setdefault(name, Metric(name, help_text, kind)).add_sample(name, labels, value)
    return [*found.values(), GaugeMetricFamily("botfleet_up", UP, value=1)]


@dataclass
class Measured(Collector):
    """Metrics that have been read, for prometheus_client to write."""

    found: list[Metric]

    def collect(self) -> list[Metric]:
        return self.found


@dataclass(eq=False)  # a registry keeps it as a key
class Source(Collector):
    """Metrics that are read anew whenever somebody asks."""

    ctx: Context

    def collect(self) -> Iterator[Metric]:
        """For prometheus_client: a database that does not answer is a fact, not a failure."""
        try:
            if self.ctx.target.embedded and self.ctx.embedded.pid() is None:  # whoever stopped it
                raise FleetError("MB902", "the embedded server is stopped")   # wants it to stay so
            yield from families(self.ctx)
        except (psycopg.Error, FleetError) as fault:
            self.ctx.screen.warn(self.ctx.screen.mask(f"not measured: {fault}".strip()))
            yield GaugeMetricFamily("botfleet_up", UP, value=0)


def _serve(ctx: Context) -> int:
    """Serves the metrics over HTTP until it is interrupted."""
    try:
        place = urlsplit(f"//{ctx.args.serve}")
        host, port = place.hostname or "127.0.0.1", place.port
        if port is None:
            raise ValueError("it names no port")
    except ValueError as fault:
        raise FleetError("MB900", f"can't serve on {ctx.args.serve}: {fault}",
                         "Write HOST:PORT, such as 127.0.0.1:9187.", exit_code=USAGE) from None
    ctx.connect().close()  # a wrong configuration shows now
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Source(ctx))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as fault:
        raise FleetError("MB900", f"can't serve on {ctx.args.serve}: {fault.strerror}",
                         "Choose a port that is free, and an address of this machine.",
                         exit_code=USAGE) from None
    if not host.startswith("127.") and host not in ("localhost", "::1"):
        ctx.screen.warn(f"whoever reaches {host} can read these figures: no password is asked")
    ctx.screen.say(f"serving http://{host}:{server.server_port}/metrics; Ctrl-C ends it")
    while thread.is_alive():  # in slices: Ctrl-C must get through
        thread.join(0.2)
    return DONE
