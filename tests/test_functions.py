"""Every PL/pgSQL function passes plpgsql_check, and everything we make says what it is for."""

import os

import pytest

# What plpgsql_check reports and is right all the same: (function, message) and why.
JUSTIFIED = {
    ("core.ensure_keys(regclass,integer)", "text type variable is not sanitized"):
        "core.leaf_name returns a quoted name",
    ("security.hand_over(text,text)", "text type variable is not sanitized"):
        "each statement is made by format in the query",
    ("security.set_policy(regclass,text,text)", "text type variable is not sanitized"):
        "the definition is a clause, written by admit, admit_bots and migrations",
    ("performance.preview_maintain()", "text type variable is not sanitized"):
        "core.routine_name returns a quoted name",
    ("performance.slow_query_rows()", "text type variable is not sanitized"):
        "the schema of the extension, quoted where it is read",
}

# Kind of object: (what lacks a comment, a statement that makes it so, for which).
UNCOMMENTED = {
    "schema": ("""
        select nspname::text from public.ours where obj_description(oid, 'pg_namespace') is null""",
        "comment on schema core is null", "core"),
    "relation": ("""
        select c.oid::regclass::text
        from pg_class as c
        join public.ours as n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'f', 'v', 'm') and not c.relispartition
          and obj_description(c.oid, 'pg_class') is null""",
        "comment on table core.bots is null", "core.bots"),
    # some names say all there is to say
    "column": ("""
        select format('%s.%s', c.oid::regclass, a.attname)
        from pg_class as c
        join public.ours as n on n.oid = c.relnamespace
        join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relkind in ('r', 'p', 'f') and not c.relispartition
          and a.attname !~ '_(id|at)$'
          and a.attname not in ('code', 'contacts', 'conversations', 'day', 'description',
                                'meaning', 'name', 'messages_in', 'messages_out',
                                'new_conversations')
          and col_description(c.oid, a.attnum) is null""",
        "comment on column core.messages.body is null", "core.messages.body"),
    "function": ("""
        select p.oid::regprocedure::text
        from pg_proc as p
        join public.ours as n on n.oid = p.pronamespace
        where obj_description(p.oid, 'pg_proc') is null""",
        "comment on function core.touch_updated_at() is null", "core.touch_updated_at()"),
    "index": ("""
        select c.oid::regclass::text
        from pg_class as c
        join public.ours as n on n.oid = c.relnamespace
        where c.relkind in ('i', 'I') and not c.relispartition
          and not exists (select from pg_constraint as k where k.conindid = c.oid)
          and obj_description(c.oid, 'pg_class') is null""",
        "comment on index core.messages_sent_at_idx is null", "core.messages_sent_at_idx"),
    "type": ("""
        select t.oid::regtype::text
        from pg_type as t
        join public.ours as n on n.oid = t.typnamespace
        left join pg_class as c on c.oid = t.typrelid
        where (t.typtype in ('b', 'd', 'e', 'r') and t.typcategory <> 'A' or c.relkind = 'c')
          and obj_description(t.oid, 'pg_type') is null""",
        "create domain core.mood as text; create type core.pair as (a int, b int);"
        "create type core.side as enum ('in', 'out')", "core.mood core.pair core.side"),
}


@pytest.fixture
def ours(database):
    """The database with a view of the schemas that our migrations made."""
    database.execute("""
        create view public.ours as
        select oid, nspname
        from pg_namespace
        where nspname !~ '^pg_' and nspname not in ('information_schema', 'public')""")
    return database


def uncommented(database, kind):
    return {name for (name,) in database.execute(UNCOMMENTED[kind][0])}


@pytest.mark.parametrize("kind", UNCOMMENTED)
def test_everything_has_a_comment(ours, kind):
    assert uncommented(ours, kind) == set()


@pytest.mark.parametrize("kind", UNCOMMENTED)
def test_a_missing_comment_is_found(ours, kind):
    before = uncommented(ours, kind)
    _, fault, names = UNCOMMENTED[kind]
    ours.execute(fault)
    assert uncommented(ours, kind) - before == set(names.split())


@pytest.fixture
def checker(ours):
    """The database with plpgsql_check in it: where it can't be had, the reason is told."""
    version, available = ours.execute("""
        select current_setting('server_version'),
               exists (select from pg_available_extensions where name = 'plpgsql_check')""")[0]
    if not available:
        required = os.environ.get("CI") == "true" and version.startswith("15.")
        (pytest.fail if required else pytest.skip)(
            f"PostgreSQL {version} has no plpgsql_check; Debian: postgresql-15-plpgsql-check")
    ours.execute("create extension plpgsql_check")
    return ours


def findings(database):
    """(function, message) and place of what plpgsql_check finds; a trigger is checked per table."""
    rows = database.execute("""
        select p.oid::regprocedure::text, c.message,
               concat_ws(', ', 'line ' || c.lineno, t.tgrelid::regclass, c.statement, c.detail)
        from pg_proc as p
        join pg_language as l on l.oid = p.prolang and l.lanname = 'plpgsql'
        join public.ours as n on n.oid = p.pronamespace
        left join pg_trigger as t on t.tgfoid = p.oid and t.tgparentid = 0
        cross join lateral plpgsql_check_function_tb(
            p.oid, coalesce(t.tgrelid, 0), fatal_errors => false, all_warnings => true,
            oldtable => t.tgoldtable, newtable => t.tgnewtable) as c
        -- by its own words it is guessing there
        where coalesce(c.detail, '') not in (
            'attention: cannot to determine volatility of used dynamic SQL',
            'cannot to determine result of dynamic SQL')""")
    return {(function, message): place for function, message, place in rows}


def test_every_trigger_function_has_a_trigger(ours):
    assert ours.execute("""
        select p.oid::regprocedure::text
        from pg_proc as p
        join public.ours as n on n.oid = p.pronamespace
        where p.prorettype = 'trigger'::regtype
          and not exists (select from pg_trigger as t where t.tgfoid = p.oid)""") == []


def test_every_function_passes_plpgsql_check(checker):
    found = findings(checker)
    left = {what: place for what, place in found.items() if what not in JUSTIFIED}
    assert left == {}, "\n".join(map(str, left.items()))
    assert [what for what in JUSTIFIED if what not in found] == [], "no longer reported: remove it"


def test_plpgsql_check_finds_a_fault_in_a_function_and_in_a_trigger(checker):
    checker.execute("""
        create function core.faulty() returns integer language plpgsql as $func$
        declare
            v_unused  integer;
        begin
            return (select nothing from core.bots);
        end
        $func$;
        create function core.faulty_trigger() returns trigger language plpgsql as $func$
        begin
            perform nothing from gone;
            return null;
        end
        $func$;
        create trigger faulty after delete on core.bots referencing old table as gone
        for each statement execute function core.faulty_trigger()""")
    expected = {("core.faulty()", 'column "nothing" does not exist'),
                ("core.faulty()", 'unused variable "v_unused"'),
                ("core.faulty_trigger()", 'column "nothing" does not exist')}
    assert findings(checker).keys() >= expected


def test_pg_upgrade_finds_no_column_that_it_refuses(ours):
    refused = ours.execute("""
        select format('%s.%s', c.oid::regclass, a.attname)
        from pg_attribute as a
        join pg_class as c on c.oid = a.attrelid and c.relkind in ('r', 'p', 'm')
        join public.ours as n on n.oid = c.relnamespace
        where a.atttypid in (
            'regproc'::regtype, 'regprocedure'::regtype, 'regoper'::regtype,
            'regoperator'::regtype, 'regconfig'::regtype, 'regdictionary'::regtype,
            'regnamespace'::regtype, 'regcollation'::regtype)""")
    assert refused == []
