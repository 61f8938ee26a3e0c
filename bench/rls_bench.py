"""Row level security beside a bot_id in every WHERE: `python -m bench.rls_bench`.

The environment sets its size: SCALE (1.0: 2,000,000 messages; default 0.1), ROUNDS (default 15),
PG_BIN (a folder of server programs; default: the wheel's). 200 bots, whose shares of the rows fall
like 1/n. Every contender is a clone of one filled database, whose policies or tables differ, and
every operation runs as the login of a bot: of the largest, of one in the middle, of a small one.
A round runs each operation as a short series on each contender in turn; ratios are medians of the
series' ratios. A contender that returns or leaves other rows than the base makes the bench fail.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import measure, race
from bench.measure import Lab, laboratory
from bench.race import PREPARED, SIMPLE, Arena, Arguments, Contender, Operation, Results
from fleet.screen import Screen

HERE = Path(__file__).resolve().parent
BOTS = 200
PLACES = (1, 14, 100)  # the bots that are measured, by size; a bot's place is its bot_id
# What the rows of three bots need is in memory, and a commit costs what the server makes of it.
SETTINGS = (("shared_buffers", "1GB"), ("synchronous_commit", "off"))

# What is asked of our policy, by protocol: of the base's speed.
READ = (("", PREPARED, 0.95), ("", SIMPLE, 0.90))
WRITE = (("", PREPARED, 0.85), ("", SIMPLE, 0.85),
         (", stretch", PREPARED, 0.95), (", stretch", SIMPLE, 0.95))
_LAST = ("select message_id, direction, body, sent_at from core.messages where {}"
         "conversation_id = $1 order by message_id desc limit 50")
_LIST = ("select conversation_id, chat_id, last_message_at, message_count from core.chats"
         " {}order by last_message_at desc nulls last, conversation_id limit 50")
_PROFILE = ("select profile_id, chat_id, name, summary, profile from core.girls_profiles"
            " where {}telegram_id = $1")
_METRICS = ("select day, messages_in, messages_out from core.bot_metrics where {}day >= $1"
            " order by day")
_DAYS = ("select (sent_at at time zone 'utc')::date as day, count(*) from core.messages where {}"
         "sent_at >= $1 and sent_at < timestamptz '2025-01-01 00:00+00' group by 1 order by 1")
_INSERT = ("insert into core.messages ({}conversation_id, direction, body, sent_at)"
           " values ({}$1, 'in', $2, timestamptz '2025-01-01 12:00+00')")
OPERATIONS = (
    Operation("last 50 messages", _LAST.format(""), _LAST.format("bot_id = $2 and ")),
    Operation("list of conversations", _LIST.format(""), _LIST.format("where bot_id = $1 ")),
    Operation("profile by telegram_id", _PROFILE.format(""), _PROFILE.format("bot_id = $2 and ")),
    Operation("30 days, bot_metrics", _METRICS.format(""), _METRICS.format("bot_id = $2 and ")),
    Operation("30 days, messages", _DAYS.format(""), _DAYS.format("bot_id = $2 and ")),
    Operation("insert of a message", _INSERT.format("", ""), _INSERT.format("bot_id, ", "$3, "),
              True),
)


# Defaults and policies of the usual kind, which read a setting that the session made.
_SETTING = """do $setting$
declare
    v_table  regclass;
begin
    for v_table in select core.hash_tables() loop
        execute format('drop policy own_rows on %s', v_table);
        execute format('create policy own_rows on %s to app_bot using (bot_id = {})', v_table);
        if v_table <> 'core.bots'::regclass then
            execute format('alter table %s alter bot_id set default {}', v_table);
        end if;
    end loop;
end
$setting$"""
_GETS = "current_setting(''app.bot_id'')::bigint"
OPEN = """do $open$
declare
    v_table  regclass;
begin
    for v_table in
        select t from core.hash_tables() as t
        union all
        select l.leaf from core.hash_tables() as t cross join lateral core.leaves(t) as l
    loop
        execute format('alter table %s disable row level security, no force row level security',
                       v_table);
    end loop;
end
$open$"""
# Left to itself the server plans some prepared statements anew at every call (whenever there is a
# range, and whenever bot_id is a parameter of partitioned tables); planning is then most of the
# cost. So each contender has generic plans, and the two that matter have default settings besides.
_GENERIC = "set plan_cache_mode = force_generic_plan;"
OURS, BASE = "our policy", "where bot_id ="
CONTENDERS = (
    Contender(BASE, "explicit", OPEN, True, _GENERIC),
    Contender("where, default settings", "explicit2", OPEN, True),
    Contender("where, no partitions", "flat", (HERE / "rls_flat.sql").read_text("utf-8"), True,
              _GENERIC),
    Contender(OURS, "ours", session=_GENERIC),
    Contender("our policy, default settings", "ours2", "select"),
    Contender("current_setting()", "inline", _SETTING.format(_GETS, _GETS),
              session=_GENERIC + "set app.bot_id = {}"),
    Contender("(select current_setting())", "subselect",
              _SETTING.format(f"(select {_GETS})", _GETS),
              session=_GENERIC + "set app.bot_id = {}"),
)
def fill(lab: Lab, dbname: str, bots: int, messages: int, until: str) -> None:
    """Gives a migrated database so many bots, with their messages of the year before `until`."""
    with lab.connect(dbname) as conn:
        conn.execute("select security.create_bot('bot ' || i) from generate_series(1, %s) as i",
                     [bots])
        conn.execute("select set_config('bench.messages', %s, false),"
                     " set_config('bench.until', %s, false)", [str(messages), until])
        conn.execute((HERE / "rls_fill.sql").read_text("utf-8"))
        conn.execute("vacuum (freeze, analyze)")


def prepare(lab: Lab, messages: int) -> None:
    """Makes the filled database and, for every other contender, what it makes of a clone."""
    lab.make("ours")
    fill(lab, "ours", BOTS, messages, "2025-01-01 00:00+00")
    race.make(lab, CONTENDERS, "ours")
def chats(lab: Lab, places: Sequence[int]) -> dict[int, list[int]]:
    """Forty conversations of each of these bots, or all that it has."""
    with lab.connect("ours") as conn:
        return {bot: [chat for chat, in conn.execute(
            "select conversation_id from core.conversations where bot_id = %s"
            " order by hashint8(conversation_id) limit 40", [bot])] for bot in places}


def arguments(lab: Lab) -> Arguments:
    """What the operations are called with: some conversations and contacts of each bot."""
    found = {}
    for bot, mine in chats(lab, PLACES).items():
        of = {"last 50 messages": [(chat,) for chat in mine],
              "list of conversations": [()],
              "profile by telegram_id": [(1_000_000 + chat,) for chat in mine],
              "30 days, bot_metrics": [("2024-12-02",)],
              "30 days, messages": [("2024-12-02 00:00+00",)],
              "insert of a message": [(chat, "Привет! Как дела?") for chat in mine]}
        found |= {(name, bot): values for name, values in of.items()}
    return found


def leftovers(lab: Lab) -> list[str]:
    """The contenders that left other messages or counters than the base."""
    left, text = {}, (HERE / "content.sql").read_text("utf-8")
    for contender in CONTENDERS:
        with lab.connect(contender.database) as conn:
            left[contender.name] = conn.execute(text).fetchall()
    return [f"{name} left {left[name]}, {BASE} {left[BASE]}"
            for name in left if left[name] != left[BASE]]


def table(results: Results) -> list[tuple]:
    """A row for each operation, protocol and contender."""
    return [
        (operation.name, protocol, contender.name,
         *(f"{results.median(operation.name, protocol, contender.name, kind):,.0f}"
           for kind in (0, 1)),
         *(f"{results.speed(operation.name, protocol, contender.name, kind):.2f}"
           for kind in (0, 1)))
        for operation in OPERATIONS for protocol in (PREPARED, SIMPLE) for contender in CONTENDERS]


def limits(results: Results) -> list[tuple]:
    """What is asked of our policy: (what, limit, measured, whether CPU and wall both reach it)."""
    found = []
    for operation in OPERATIONS:
        for what, protocol, wanted in WRITE if operation.writes else READ:
            speeds = [results.speed(operation.name, protocol, OURS, kind) for kind in (0, 1)]
            reached = all(round(speed, 2) >= wanted for speed in speeds)
            found.append((f"{operation.name}, {protocol}{what}", f"at least {wanted:.2f}",
                          *(f"{speed:.2f}" for speed in speeds),
                          measure.verdict(reached)))
    return found


def run(lab: Lab, rounds: int, screen: Screen) -> int:
    """Races the contenders in a prepared laboratory, prints tables; 1 if their rows differ: those
    that they return, before the race, or those that they have left after it."""
    with Arena(lab, CONTENDERS, OPERATIONS, arguments(lab)) as arena:
        if differences := arena.differing():
            return fail(differences, screen)
        results = arena.race(rounds, screen.say)
    differences = leftovers(lab)
    screen.rows(["operation", "protocol", "contender", "cpu_us", "wall_us", "cpu_of_base",
                 "wall_of_base"], table(results))
    screen.say("of_base: how fast, the base being 1 (more is better); cpu: of the backend alone")
    screen.rows(["limit", "wanted", "cpu", "wall", ""], limits(results))
    screen.say(f"load at the end {os.getloadavg()[0]:.1f}")
    return fail(differences, screen) if differences else 0


def fail(differences: list[str], screen: Screen) -> int:
    """Says what differs; returns the exit code."""
    for difference in differences:
        screen.warn(difference)
    return 1


def main() -> int:
    """Makes the laboratory and the rows, and races."""
    scale, rounds = float(os.environ.get("SCALE", "0.1")), int(os.environ.get("ROUNDS", "15"))
    messages = round(2_000_000 * scale)
    screen = Screen()
    with laboratory(SETTINGS) as lab:
        screen.say(f"{messages:,} messages of {BOTS} bots, measured as those of places "
                   f"{', '.join(map(str, PLACES))}; {rounds} rounds; "
                   f"{measure.conditions(lab, SETTINGS)}")
        prepare(lab, messages)
        return run(lab, rounds, screen)


if __name__ == "__main__":
    sys.exit(main())
