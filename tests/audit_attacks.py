"""Attempts to escape the audit, to read it, and to alter it, as data like those of attacks.py.

Each is refused, or named by audit.verify_seals(), or stands in the log; what is none of these is a
residue, and SECURITY.md has its cure. What happens after a first step `begin` is undone. {month} is
the log's leaf of now, {entry} a sealed entry about {me}, {theirs} one about {same}; {seal} is the
last seal, {root} its root, as kept elsewhere. Later entries are not sealed yet.
"""

from attacks import AS_ME, AS_SAME, INSERT, NO_RIGHT, Alike, At, Attack, Refused, rows
from attacks import _group as group

LOG, SEAL = "audit.security_audit_log", "audit.seal"
# A problem that has a time in it is cut off there.
FOUND = "select distinct split_part(problem, ' after ', 1) from audit.verify_seals() order by 1"
KEPT_ROOT = "select problem from audit.verify_seals({seal}, '{root}') where entry_id is null"
CHANGED, DELETED = "changed, or there twice", "deleted"
ERASED_MORE = "changed, and not only by audit.erase"
TOUCHED = "what captures was changed"
AMONG, BACK_DATED = "inserted among what was sealed", "back-dated"
LATER = "dated later than its seal"
GONE, SEAL_CHANGED = "a seal before it is gone", "the seal was changed"
NO_SEAL = "there is no seal, not even the first"
OTHER_ROOT = "the root kept elsewhere is not this one"
UNREADABLE = "an event of the audit's own that can't be read"
NOT_OVER = "a month was said to be over that was not"
OTHER_SETTING = "the retention is not what was last put on record"
OTHER_ACCEPTED = "what is accepted now is not what this entry says"
PROBLEMS = {CHANGED, DELETED, ERASED_MORE, TOUCHED, AMONG, BACK_DATED, LATER, GONE, SEAL_CHANGED,
            NO_SEAL, OTHER_ROOT, UNREADABLE, NOT_OVER, OTHER_SETTING, OTHER_ACCEPTED}
NEXT_SEAL = "select audit.seal()"
AS_ERASER = "select set_config('audit.erasing', txid_current()::text, true)"
UNFORCED = f"alter table {LOG} no force row level security"
ADD = f"insert into {LOG} (operation, table_name, bot_id) values ('DELETE', 'core.bots', {{me}})"
FORGE = f"insert into {LOG} (bot_id, operation, {{}}) overriding system value" \
        " values (0, 'INSERT', {})"
LAST = "select operation, table_name, login = session_user from audit.events order by entry_id" \
       " desc limit 1"


def after(*steps: str | At, then: str) -> tuple[str | At, ...]:
    """In one transaction that is undone: the steps, then the question."""
    return ("begin", *steps, then)


def found(who: str, cases: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]) -> list[Attack]:
    """What verify_seals() names, sorted: by name, the steps and the problems."""
    return [Attack(name, who, after(*steps, then=FOUND), rows(*sorted(problems)))
            for name, (problems, steps) in cases.items()]


def each(logins: tuple[str, ...], gives: Refused, cases: dict[str, str | tuple[str, ...]]
         ) -> list[Attack]:
    """The same by several logins; a name begins with who tries it."""
    return [case for who in logins for case in group(who, gives, {
        f"{'an' if who == 'admin' else 'a'} {who} {name}": steps
        for name, steps in cases.items()})]


EVERYBODY = ("bot", "admin", "super_admin", "worker", "plain")

REFUSED = [
    *each(EVERYBODY, NO_RIGHT, {
        "adds no entry": ADD,
        "changes no entry": f"update {LOG} set login = 'nobody'",
        "deletes no entry": f"delete from {LOG}",
        "empties no log": f"truncate {LOG}",
        "merges no entry away": f"merge into {LOG} as l using (values (1)) as v (n) on true"
                                " when matched then delete",
        "adds no entry over a conflict": f"{ADD} on conflict do nothing",
        "reads no month by its name": "select * from {month}",
        "changes no month": "update {month} set login = 'nobody'",
        "adds nothing to a month": "insert into {month} (operation) values ('INSERT')",
        "reads no seal": f"select * from {SEAL}",
        "changes no seal": f"update {SEAL} set root = ''",
        "deletes no seal": f"delete from {SEAL}",
        "forges no seal": f"insert into {SEAL} select * from {SEAL}",
        "holds no seal up": ("begin", f"lock table {SEAL} in access share mode"),
        "reads no salt": "select * from audit.salt",
        "changes no salt": "update audit.salt set salt = ''",
        "shortens no retention by hand": "update audit.setting set retention_days = 30",
        "takes no table from the capture": "delete from audit.capture",
        "marks no column by hand":
            "insert into audit.marked_column values ('core.error_code', 'name', 'secret')",
        "makes no month": "select audit.ensure_month('2020-01-01')",
        "notes no change of the capture": "select audit.note_capture('{}')",
        "attaches no trigger": "select audit.attach('core.error_code')",
        "guards no leaf": "select audit.guard_leaf('core.error_code')",
        "blanks nothing by itself": "select audit.redact_entries(1, 1)",
        "renews no salts": "select audit.renew_salts('{}')",
        "asks for nobody's entries": "select * from audit.person_entries(1, 1)",
        "calls no function that captures": "select audit.insert_of_core_messages()",
        "calls no function that refuses": "select audit.refuse_change()",
    }),
    *each(("bot", "admin", "worker", "plain"), NO_RIGHT, {
        "logs no event": "select audit.log_event('erasure', 'info', '{}')",
        "makes no seal": NEXT_SEAL,
        "asks for no verification": "select * from audit.verify_seals()",
        "shortens no retention": "select audit.set_retention(30)",
        "drops no months": "select * from audit.drop_expired()",
        "erases nobody": "select audit.erase({me}, {me_telegram}, 'because')",
        "enables nothing": "select audit.enable('core.error_code', 'keys')",
        "compiles nothing": "select audit.compile('core.error_code', 'off')",
        "refreshes nothing": "select * from audit.refresh()",
        "disables nothing": "select audit.disable('core.error_code')",
        "marks no column": "select audit.mark_column('core.error_code', 'name', 'derived')",
        "reads no list of what is captured": "select * from audit.capture",
    }),
    *group("bot", Refused("42501", "must be owner|permission denied"), {
        "a bot stops no capture": "alter table core.messages disable trigger audit_insert",
        "a bot drops no capture": "drop trigger audit_update on core.messages",
        "a bot makes no capture rest": "alter table core.messages enable replica trigger"
                                       " audit_insert",
        "a bot replaces no function that captures":
            "create or replace function audit.insert_of_core_messages() returns trigger"
            " language plpgsql as 'begin return null; end'",
        "a bot drops no function that captures": "drop function audit.insert_of_core_messages()",
        "a bot changes no function that captures":
            "alter function audit.insert_of_core_messages() set work_mem = '64kB'",
        "a bot drops no month": "drop table {month}",
        "a bot detaches no month": f"alter table {LOG} detach partition {{month}}",
        "a bot adds no month": f"create table public.x partition of {LOG} for values"
                               " from ('2020-01-01') to ('2020-02-01')",
        "a bot diverts no entry": f"create rule r as on insert to {LOG} do instead nothing",
        "a bot opens no log": f"alter table {LOG} disable row level security",
        "a bot opens no log to itself": f"create policy p on {LOG} using (true)",
        "a bot gives the log no other default": f"alter table {LOG} alter login set default 'x'",
        "a bot indexes no log": f"create index on {LOG} (actor)",
        "a bot moves no entry_id": f"select setval('{LOG}_entry_id_seq', 1)",
        "a bot locks no log against others": ("begin", f"lock table {LOG} in share mode"),
        "a bot writes to no conversation's leaf":
            "insert into core_partitions.conversations_{me_leaf} (bot_id) values ({me})",
        "a bot says of nothing that it is being erased": (AS_ERASER, f"delete from {LOG}"),
        "a bot silences no refusal": "set log_min_messages = panic",
        "a bot becomes no app_auditor": "set role app_auditor",
    }),
    *group("super_admin", Refused("42501", "must be owner|permission denied"), {
        "a super_admin stops no capture": "alter table core.messages disable trigger all",
        "a super_admin becomes no app_auditor": "set role app_auditor",
        "a super_admin replaces no verification":
            "create or replace function audit.verify_seals(bigint, text) returns boolean"
            " language sql as 'select true'",
        "a super_admin enables nothing new": "select audit.enable('core.bot_names')",
    }),
    *group("super_admin", Refused("MB209"), {
        f"a super_admin claims no {kind}": f"select audit.log_event('{kind}', 'info', '{{}}')"
        for kind in ("capture", "erasure", "retention", "setting")
    }),
    Attack("the owner of the tables claims no erasure", "app_owner",
           ("select audit.log_event('erasure', 'info', '{}')",), Refused("MB209")),
    *group("super_admin", Refused("MB206"), {
        "the log is not kept for less than 30 days": "select audit.set_retention(29)",
        "the log is kept for some time": "select audit.set_retention(null)",
    }),
    *group("super_admin", Refused("MB116"), {
        "nobody is erased without a reason":
            "select audit.erase({me}, {me_telegram}, ' ')",
    }),
    *group("super_admin", Refused("MB207"), {
        "nobody unknown is erased": "select audit.erase({me}, {missing}, 'because')",
    }),
    *group("super_admin", Refused("MB201|MB205|MB208"), {
        "the log is not told to record itself": "select audit.enable('audit.events')",
        "no policy off is enabled": "select audit.enable('core.messages', 'off')",
        "no policy is no policy": "select audit.compile('core.messages', null)",
        "what is not audited is not disabled": "select audit.disable('core.bot_names')",
        "no leaf is enabled": f"select audit.compile('{LOG}', 'keys')",
    }),
    *group("bot", Refused("MB204", "which is no uuid"), {
        "a wrong correlation id stops the statement":
            ("begin", "set local app.correlation_id = 'x'",
             "select core.record_message(1, 'in', 'x')"),
        "a correlation id with SQL in it stops the statement":
            ("begin", "set local app.correlation_id = $$'); drop table x; --$$",
             "update core.messages set body = 'x'"),
    }),
    *group("app_auditor", Refused("MB202", "of audit.(security_audit_log|seal) is refused"), {
        "who owns the log changes no entry": f"update {LOG} set login = 'nobody'",
        "who owns the log changes not even none": f"update {LOG} set login = login where false",
        "who owns the log deletes no entry": f"delete from {LOG}",
        "who owns the log merges nothing into it":
            f"merge into {LOG} as l using (values (1)) as v (n) on true"
            " when matched then update set login = 'nobody'",
        "who owns the log changes no seal": f"update {SEAL} set salts = ''",
        "who owns the log deletes no seal": f"delete from {SEAL}",
        "who owns the log empties no seals": f"truncate {SEAL}",
        "who owns the log replaces no seal":
            f"insert into {SEAL} select * from {SEAL}"
            " on conflict (seal_id) do update set root = ''",
        "a mark of another transaction erases nothing":
            ("begin", "select set_config('audit.erasing', '1', true)", f"delete from {SEAL}"),
    }),
    Attack("who owns the log empties no log", "app_auditor", (f"truncate {LOG}",),
           Refused("MB108|MB202", "is refused")),
    Attack("who owns the log empties no month", "app_auditor", ("truncate {month}",),
           Refused("MB108", "is refused")),
    *group("superuser", Refused("MB202"), {
        "a superuser deletes no entry": f"delete from {LOG}",
        "a superuser says of nothing that it is being erased": (
            "begin", AS_ERASER, f"delete from {LOG}"),
        "replica mode opens no log": (
            "begin", "set local session_replication_role = replica", f"delete from {LOG}"),
    }),
    *group("app_auditor", Refused("MB203", "partition {month} is refused"), {
        "who owns the log adds nothing to a month":
            "insert into {month} (operation) values ('INSERT')",
        "who owns the log changes no month": "update {month} set login = 'nobody'",
        "who owns the log deletes from no month": "delete from {month}",
        "who owns the log merges nothing into a month":
            "merge into {month} as l using (values (1)) as v (n) on true when matched then delete",
    }),
    *group("app_owner", Refused("MB203", "messages_{me_leaf} is refused"), {
        "the owner adds nothing to a leaf":
            "insert into core_partitions.messages_{me_leaf} overriding system value"
            " select * from core_partitions.messages_{me_leaf}",
        "the owner changes no leaf": "update core_partitions.messages_{me_leaf} set body = 'x'",
        "the owner deletes from no leaf": "delete from core_partitions.messages_{me_leaf}",
        "the owner merges nothing into a leaf":
            "merge into core_partitions.messages_{me_leaf} as m using (values (1)) as v (n) on true"
            " when matched then delete",
        "the owner writes no leaf in a WITH":
            "with x as (delete from core_partitions.messages_{me_leaf} returning 1)"
            " select count(*) from x",
        "the owner changes no leaf at a conflict":
            "insert into core_partitions.messages_{me_leaf} overriding system value"
            " select * from core_partitions.messages_{me_leaf} on conflict do nothing",
        "a leaf that was detached is still closed":
            ("begin", "alter table core.messages detach partition"
             " core_partitions.messages_{me_leaf}",
             "delete from core_partitions.messages_{me_leaf}"),
    }),
    *group("superuser", Refused("MB203"), {
        "a superuser copies nothing into a leaf":
            "copy core_partitions.messages_{me_leaf} (bot_id) from stdin",
        "replica mode opens no leaf":
            ("begin", "set local session_replication_role = replica",
             "delete from core_partitions.messages_{me_leaf}"),
        "a trigger on another table opens no leaf":
            ("begin", "create function public.f() returns trigger language plpgsql as 'begin"
             " delete from core_partitions.messages_{me_leaf}; return null; end'",
             "create trigger t after update on core.error_code execute function public.f()",
             "update core.error_code set name = name"),
    }),
    *group("app_owner", Refused("42501", "must be owner|permission denied"), {
        "the owner of the tables replaces no function that captures":
            "alter function audit.insert_of_core_messages() set work_mem = '64kB'",
        "the owner of the tables drops no refusal": f"drop trigger refuse_change on {LOG}",
        "the owner of the tables drops no month": "drop table {month}",
    }),
    *group("app_owner", NO_RIGHT, {
        "the owner of the tables adds no entry": ADD,
        "the owner of the tables deletes no entry": f"delete from {LOG}",
        "the owner of the tables reads no entry": "select * from audit.events",
        "the owner of the tables disables nothing": "select audit.disable('core.messages')",
        "the owner of the tables puts no function of the audit's":
            "create function audit.f() returns int language sql as 'select 1'",
    }),
    Attack("the owner calls no function of a trigger", "app_owner",
           ("select audit.record_truncate()",), Refused("0A000", "only be called as triggers")),
]

READS = [
    *group("bot", rows("{me}"), {
        "a bot reads entries about itself and no other": "select distinct bot_id from audit.events",
        "the log behind the view has a bot's own entries":
            f"select distinct bot_id from {LOG}",
        "what a bot reads of the log has nobody else's texts":
            f"select distinct bot_id from (select l.*, l::text from {LOG} as l offset 0) as x",
        "the history of a row of its own is a bot's to read":
            "select distinct bot_id from audit.row_history('core.messages',"
            """ '{"message_id": {me_message}}')""",
        "a request of its own is a bot's to read":
            "select distinct bot_id from audit.by_correlation((select correlation_id"
            " from audit.events order by entry_id limit 1))",
    }),
    *group("bot", rows("0"), {
        "a bot counts no entry about another": "select count(*) from audit.events where bot_id ="
                                               " {same}",
        "a bot counts no entry about nobody":
            "select count(*) from audit.events where bot_id = 0",
        "the history of another's message is empty":
            "select count(*) from audit.row_history('core.messages',"
            """ '{"bot_id": {same}, "message_id": {same_message}}')""",
        "the history of another's contact is empty":
            "select count(*) from audit.row_history('core.girls_profiles',"
            """ '{"bot_id": {same}, "profile_id": {same_profile}}')""",
        "the history of another's token is empty":
            "select count(*) from audit.row_history('security.bot_token',"
            """ '{"bot_id": {same}}')""",
        "another's request is empty":
            "select count(*) from audit.by_correlation('{their_request}')",
        "an entry is not found by its number":
            "select count(*) from audit.events where entry_id = {theirs}",
        "texts of others can't be searched in the log":
            f"select count(*) from {LOG} where old_values::text || new_values::text ~ 'same|far'",
        "no cast fails on entries of others":
            f"select count(*) from {LOG} where bot_id is distinct from {{me}}"
            " and 1 / (bot_id - {same}) = 7",
        "an entry's place in the month is no way around":
            f"select count(*) from {LOG} where tableoid is null or bot_id <> {{me}}",
        "statistics of the log show no values":
            "select count(*) from pg_stats where schemaname ~ '^audit'",
    }),
    Attack("the rows of no block are those of others", "bot",
           ("select b.* from audit.events as e, audit.block_rows(null, null, null) as b",), rows()),
    *group("admin", rows("{me}"), {
        "an admin reads entries about the bots that were granted":
            "select distinct bot_id from audit.events",
        "an admin reads no entry about nobody": f"select distinct bot_id from {LOG}",
    }),
    *group("admin", rows("0"), {
        "an admin reads no history of a bot that was not granted":
            "select count(*) from audit.row_history('core.conversations',"
            """ '{"bot_id": {same}, "conversation_id": {same_conversation}}')""",
        "an admin as app_admin has no entries": ("set role app_admin",
                                                 "select count(*) from audit.events"),
    }),
    Attack("a worker reads the entries of the bot it is", "worker",
           (AS_ME, "select count(*) from audit.events", AS_SAME,
            "select distinct bot_id from audit.events"), rows("{same}")),
    Attack("a plan that reads the log is made anew for a worker's next bot", "worker",
           ("set plan_cache_mode = force_generic_plan", AS_ME,
            "prepare p as select distinct bot_id from audit.events", "execute p", AS_SAME,
            "execute p"), rows("{same}")),
    Attack("another's entry is as absent as none", "bot",
           ("select * from audit.events where entry_id = {probe}",),
           Alike("", ("{theirs}", "{missing}"))),
    Attack("each bot reads its own block of a statement about many", "bot",
           (At("superuser", """update core.messages set metadata = '{"a": 1}'"""),
            "select bot_id, count(*), bool_and(is_block or row_count = 1) from (select e.*,"
            f" l.row_count from audit.events as e join {LOG} as l using (entry_id)"
            " where e.table_name = 'core.messages' and e.new_values ? 'metadata') as b group by 1"),
           rows("{me} | 5 | True"),
           is_arranged=True),
    Attack("an admin reads one block of a statement about many", "admin",
           (At("superuser", """update core.messages set metadata = '{"a": 2}'"""),
            "select distinct bot_id from audit.events where is_block"), rows("{me}"),
           is_arranged=True),
    Attack("no token is in the log for who reads all of it", "super_admin",
           ("select count(*) from audit.events where table_name = 'security.bot_token'"
            " and new_values::text ~ 'TOKEN'",), rows("0")),
]

# What stands in the log, and says so; the last step asks.
LOGGED = [
    *group("bot", rows("{bot_login} | {bot_login} | a superuser"), {
        "an actor is a claim, the login a fact": after(
            "set local app.actor = 'a superuser'", "select core.record_message(1, 'in', 'x')",
            then="select login, role, actor from audit.events order by entry_id desc limit 1"),
    }),
    *group("bot", rows("UPDATE | core.messages | True"), {
        "an upsert stands as what it did": after(
            "insert into core.girls_profiles (telegram_id, chat_id) values ({me_telegram}, 1)"
            " on conflict (bot_id, telegram_id) do update set name = 'x'",
            "update core.messages set body = 'x'", then=LAST),
        "a merge stands as what it did": after(
            "merge into core.messages as m using (values (1)) as v (n) on m.message_id ="
            " {me_message} when matched then update set body = 'x'", then=LAST),
        "an update in a WITH stands": after(
            "with x as (update core.messages set body = 'x' returning 1) select count(*) from x",
            then=LAST),
        "an update through a cursor stands": after(
            "declare c cursor for select body from core.messages for update", "fetch 1 from c",
            "update core.messages set body = 'x' where current of c", then=LAST),
        "a search path hides no update": after(
            "set local search_path = core, public", "update messages set body = 'x'", then=LAST),
        "settings of the session hide no update": after(
            "set local audit.erasing = 'on'", "set local audit.capture = 'off'",
            "set local work_mem = '64kB'", "set local enable_hashjoin = off",
            "set local plan_cache_mode = force_generic_plan", "set local timezone = 'Asia/Kabul'",
            "set local jit_above_cost = 0", "update core.messages set body = 'x'", then=LAST),
        "a prepared update stands": after(
            "prepare p as update core.messages set body = 'x'", "execute p", "deallocate p",
            then=LAST),
        "what was rolled back takes no other entry along": after(
            "update core.messages set body = 'x'", "savepoint s",
            "update core.messages set body = 'y'", "rollback to s", then=LAST),
    }),
    Attack("a change in form alone stands", "bot", after(
        """update core.conversations set metadata = '{"n": 1.0}'""",
        """update core.conversations set metadata = '{"n": 1.00}'""",
        then="select distinct old_values ->> 'metadata', new_values ->> 'metadata'"
             " from audit.events where new_values ->> 'metadata' ~ '1.00'"),
        rows('{"n": 1.0} | {"n": 1.00}')),
    Attack("who swallows the audit's error loses the change", "bot", after(
        "do $$ begin perform set_config('app.correlation_id', 'x', true);"
        " update core.messages set body = 'x'; exception when others then null; end $$",
        then="select count(*) from core.messages where body = 'x'"), rows("0")),
    Attack("a request of another's name stays one's own", "bot", after(
        "set local app.correlation_id = '{their_request}'", "update core.messages set body = 'x'",
        then="select distinct bot_id, login from audit.by_correlation('{their_request}')"),
        rows("{me} | {bot_login}")),
    Attack("a worker's entries name the login and the bot it was", "worker", after(
        "set local role bot_{same}", "update core.messages set body = 'x'",
        then="select distinct login, role from audit.events where role <> login"
             " and operation = 'UPDATE'"), rows("{worker} | bot_{same}")),
    *group("superuser", rows("UPDATE | core.messages | True"), {
        "replica mode hides no update": after(
            "set local session_replication_role = replica", "update core.messages set body = 'x'",
            then=LAST),
        "a temporary table takes no entry": after(
            "create temp table security_audit_log (n int)", "set local search_path = pg_temp",
            "update core.messages set body = 'x'", then=LAST),
        "a temporary function takes no place": after(
            "create function pg_temp.clock_timestamp() returns timestamptz language sql as"
            " 'select now() - interval ''1 day'''", "set local search_path = pg_temp, pg_catalog",
            "update core.messages set body = 'x'", then=LAST),
    }),
    Attack("what a superuser copies in stands", "superuser", after(
        "create table public.counted (n int primary key)", "select audit.enable('public.counted')",
        "copy public.counted from stdin", then=LAST), rows("INSERT | public.counted | True")),
    Attack("a column's name is no SQL for what captures", "superuser", after(
        """create table public.odd (n int primary key, "{key}" text, "'); drop table x;" text)""",
        "select audit.enable('public.odd')", "insert into public.odd values (1, 'a', 'b')",
        then="select new_values from audit.events where table_name = 'public.odd'"),
        rows("""{'n': 1, '{key}': 'a', "'); drop table x;": 'b'}""")),
    Attack("a table that was audited and dropped is in nobody's way", "superuser", after(
        "create table public.odd (n int primary key)", "select audit.enable('public.odd')",
        "drop table public.odd", then="select count(*) from audit.refresh()"), rows("0")),
    Attack("a superuser's other session authorization is what stands", "superuser", after(
        "set local session authorization bot_{me}", "update core.messages set body = 'x'",
        then="select login, role from audit.events order by entry_id desc limit 1"),
        rows("{bot_login} | {bot_login}")),
    *group("super_admin", rows("capture | True | core.messages"), {
        "who ends the recording is on record": after(
            "select audit.disable('core.messages')", "select 1",
            then="select kind, login = session_user, new_values ->> 'table' from audit.events"
                 " where kind = 'capture' order by entry_id desc limit 1"),
        "who records less is on record": after(
            "select audit.enable('core.messages', 'changed')",
            then="select kind, login = session_user, new_values ->> 'table' from audit.events"
                 " where kind = 'capture' order by entry_id desc limit 1"),
        "who calls a column secret is on record": after(
            "select audit.mark_column('core.messages', 'body', 'secret')",
            then="select kind, login = session_user, new_values ->> 'table' from audit.events"
                 " where kind = 'capture' order by entry_id desc limit 1"),
        "who calls a column derived is on record": after(
            "select audit.mark_column('core.messages', 'body', 'derived')",
            then="select kind, login = session_user, new_values ->> 'table' from audit.events"
                 " where kind = 'capture' order by entry_id desc limit 1"),
    }),
    Attack("what was marked is on record, with its mark", "super_admin", after(
        "select audit.mark_column('core.messages', 'body', 'derived')",
        then="select new_values ->> 'column', new_values ->> 'mark' from audit.events"
             " where kind = 'capture' and new_values ? 'mark' order by entry_id desc limit 1"),
        rows("body | derived")),
    Attack("who shortens the retention is on record", "super_admin", after(
        "select audit.set_retention(30)",
        then="select kind, severity, login = session_user, new_values ->> 'retention_days'"
             " from audit.events order by entry_id desc limit 1"),
        rows("setting | warning | True | 30")),
    Attack("who erases is on record, with the reason", "super_admin", after(
        "select audit.erase({me}, {me_telegram}, 'because')",
        then="select kind, bot_id, login = session_user, new_values ->> 'reason'"
             " from audit.events order by entry_id desc limit 1"),
        rows("erasure | {me} | True | because")),
    Attack("an event that a super_admin invents bears their login", "super_admin", after(
        "select audit.log_event('made_up', 'info', '{}')",
        then="select kind, login = session_user from audit.events order by entry_id desc limit 1"),
        rows("made_up | True")),
    Attack("a leaf that is guarded anew is on record", "app_owner", after(
        "select audit.guard_leaf('core_partitions.messages_{me_leaf}')", "reset role",
        then="select kind, login = session_user, new_values ->> 'leaf' from audit.events"
             " order by entry_id desc limit 1"),
        rows("capture | True | core_partitions.messages_{me_leaf}")),
]

NAMED = [
    *found("app_auditor", {
        "a sealed entry that is changed as if erased is named":
            ((CHANGED,), (AS_ERASER, f"update {LOG} set login = 'x' where entry_id = {{entry}}")),
        "a sealed entry whose keys are changed is named":
            ((CHANGED,), (AS_ERASER, f"update {LOG} set row_keys = null where entry_id ="
                          " {entry}")),
        "a sealed entry's time that is moved a little is named":
            ((CHANGED,), (AS_ERASER, f"update {LOG} set occurred_at = occurred_at"
                          " + interval '1 us' where entry_id = {entry}")),
        "a sealed entry that is deleted is named":
            ((DELETED, TOUCHED),
             (UNFORCED, AS_ERASER, f"delete from {LOG} where entry_id = {{entry}}")),
        "entries that are changed by MERGE are named":
            ((CHANGED,), (AS_ERASER, f"merge into {LOG} as l using (values ({{entry}})) as v (n)"
                          " on l.entry_id = v.n when matched then update set actor = 'x'")),
        "an entry added among what was sealed is named":
            ((AMONG,), (FORGE.format("entry_id", "0"),)),
        "an entry that takes another's number is named":
            ((CHANGED,), (FORGE.format("entry_id", "{entry}"),)),
        "an entry dated back by an hour is named":
            ((BACK_DATED,), ("select audit.ensure_month(now() - interval '1 hour')",
                             FORGE.format("occurred_at", "now() - interval '1 hour'"), NEXT_SEAL)),
        "an entry of an old transaction is named":
            ((BACK_DATED,), (FORGE.format("transaction_id", "3"), NEXT_SEAL)),
        "an entry dated ahead is named":
            ((LATER,), ("select audit.ensure_month(now() + interval '1 day')",
                        FORGE.format("occurred_at", "now() + interval '1 day'"), NEXT_SEAL)),
        "a seal that is deleted is named":
            ((GONE, AMONG),
             (AS_ERASER, f"delete from {SEAL} where seal_id = 1")),
        "the first seal that is deleted is named":
            ((GONE,), (AS_ERASER, f"delete from {SEAL} where seal_id = 0")),
        "all seals that are deleted are named":
            ((NO_SEAL,), (AS_ERASER, f"delete from {SEAL}")),
        "a seal's root that is changed is named":
            ((SEAL_CHANGED,),
             (AS_ERASER, f"update {SEAL} set root = sha256('x') where seal_id = 1")),
        "a seal's leaves that are changed are named":
            ((SEAL_CHANGED, CHANGED),
             (AS_ERASER, f"update {SEAL} set leaves = overlay(leaves placing '\\x00' from 1)"
              " where seal_id = 1")),
        "a seal's salts that are changed are named":
            ((CHANGED,),
             (AS_ERASER, f"update {SEAL} set salts = overlay(salts placing '\\x0000' from 1)"
              " where seal_id = 1")),
        "a seal that covers fewer entries is named":
            ((SEAL_CHANGED, AMONG),
             (AS_ERASER, f"update {SEAL} set entries = entries - int8multirange(int8range("
              "upper(entries) - 1, upper(entries))) where seal_id = {seal}")),
        "a seal of another time is named":
            ((SEAL_CHANGED,),
             (AS_ERASER, f"update {SEAL} set sealed_at = sealed_at + interval '1 us'"
              " where seal_id = {seal}")),
        "a seal of other code is named":
            ((SEAL_CHANGED, TOUCHED),
             (AS_ERASER, f"update {SEAL} set machinery = '\\x00' where seal_id = {{seal}}")),
        "a seal with gaps that were none is named":
            ((SEAL_CHANGED,),
             (AS_ERASER, f"update {SEAL} set gaps = '{{[-9,1)}}' where seal_id = {{seal}}",
              FORGE.format("entry_id", "0"))),
        "a seal that was made by hand is named":
            ((SEAL_CHANGED, AMONG),
             (f"insert into {SEAL} select seal_id + 1, now(), '{{}}', 0, 0, last_entry + 9000,"
              " gaps, xid_max, complete_at, complete_xid_min, complete_xid_max, cluster,"
              f" machinery, '', '', sha256('x') from {SEAL} where seal_id = {{seal}}",)),
        "an entry changed by somebody and erased by somebody is named":
            ((ERASED_MORE,),
             ("select audit.erase({me}, {me_telegram}, 'because')", AS_ERASER,
              f"update {LOG} set actor = 'x' where entry_id = {{entry}}")),
        "an erasure that is claimed, and was none, is named":
            ((ERASED_MORE,),
             ("""select audit.record_event('erasure', 'warning', '{"entries": [{"entry_id":"""
              """ {entry}, "was": "00", "now": "01"}]}')""",)),
        "a retention that is claimed too early is named":
            ((DELETED, TOUCHED, UNREADABLE),
             ("""select audit.record_event('retention', 'notice', '{"entries":"""
              """ "{[1,{entry}]}"}')""", UNFORCED, AS_ERASER,
              f"delete from {LOG} where entry_id = {{entry}}")),
        "a retention that is claimed to be later is named":
            ((DELETED, TOUCHED, UNREADABLE),
             ("select audit.ensure_month(now() + interval '40 days')",
              f"insert into {LOG} (bot_id, occurred_at, operation, kind, new_values)"
              " values (0, now() + interval '40 days', 'EVENT', 'retention',"
              """ '{"entries": "{[1,{entry}]}"}')""",
              UNFORCED, AS_ERASER, f"delete from {LOG} where entry_id = {{entry}}")),
        "a refusal that rests for a moment is named":
            ((TOUCHED,), (f"alter table {LOG} disable trigger refuse_change",
                          f"alter table {LOG} enable always trigger refuse_change")),
        "an entry changed while the refusal rests is named, twice":
            ((TOUCHED, CHANGED),
             (f"alter table {LOG} disable trigger refuse_change",
              f"update {LOG} set actor = 'x' where entry_id = {{entry}}",
              f"alter table {LOG} enable always trigger refuse_change")),
        "a refusal that is dropped and made again is named":
            ((TOUCHED,), (f"drop trigger refuse_change on {SEAL}",
                          f"create trigger refuse_change before update or delete or truncate on"
                          f" {SEAL} for each statement execute function audit.refuse_change()",
                          f"alter table {SEAL} enable always trigger refuse_change")),
        "a refusal that says nothing is named":
            ((TOUCHED,), ("create or replace function audit.refuse_change() returns trigger"
                          " language plpgsql as 'begin return null; end'",)),
        "a function that captures nothing is named":
            ((TOUCHED,), ("create or replace function audit.update_of_core_messages() returns"
                          " trigger language plpgsql as 'begin return null; end'",)),
        "a function that was changed and changed back is named":
            ((TOUCHED,), ("alter function audit.update_of_core_messages() set work_mem = '1MB'",
                          "alter function audit.update_of_core_messages()"
                          " set work_mem = '64MB'")),
        "a function that runs as somebody else is named":
            ((TOUCHED,), ("alter function audit.update_of_core_messages() security invoker",)),
        "a month whose guard rests is named":
            ((TOUCHED,), ("alter table {month} disable trigger refuse_leaf_write",)),
        "a month that is dropped is named":
            ((DELETED, TOUCHED), ("drop table {month}",)),
        "a month that is detached is named":
            ((DELETED, TOUCHED), (f"alter table {LOG} detach partition {{month}}",)),
        "a month that is moved away is named":
            ((TOUCHED,), ("alter table {month} set schema audit",)),
        "a month that is renamed is named":
            ((TOUCHED,), ("alter table {month} rename to elsewhere",)),
        "a month that was altered outside is named":
            ((TOUCHED, CHANGED),
             ("create table audit.bound as select pg_get_expr(relpartbound, oid) as b"
              " from pg_class where oid = '{month}'::regclass",
              f"alter table {LOG} detach partition {{month}}",
              "alter table {month} disable trigger refuse_leaf_write",
              "alter table {month} disable row level security",
              "update {month} set actor = 'x' where entry_id = {entry}",
              "alter table {month} enable row level security",
              "alter table {month} enable always trigger refuse_leaf_write",
              f"do $$ begin execute 'alter table {LOG} attach partition {{month}} '"
              " || (select b from audit.bound); end $$")),
        "a month with old entries that is attached is named":
            ((BACK_DATED, TOUCHED),
             (f"create table audit_partitions.old (like {LOG})",
              "insert into audit_partitions.old select (l).* from (select"
              " json_populate_record(l, json_build_object('entry_id', nextval("
              f"'{LOG}_entry_id_seq'), 'occurred_at', timestamptz '2020-01-15')) as l from"
              f" {LOG} as l where entry_id = {{entry}}) as x",
              f"alter table {LOG} attach partition audit_partitions.old"
              " for values from ('2020-01-01') to ('2020-02-01')", NEXT_SEAL)),
        "another login by default is named":
            ((TOUCHED,), (f"alter table {LOG} alter login set default 'nobody'",
                          f"alter table {LOG} alter login set default session_user")),
        "a trigger of others that swallows entries is named":
            ((TOUCHED,), ("create function audit_partitions.f() returns trigger language plpgsql"
                          " as 'begin return null; end'",
                          f"create trigger t before insert on {LOG} for each row"
                          " execute function audit_partitions.f()")),
        "a rule that swallows entries is named":
            ((TOUCHED,), (f"create rule r as on insert to {LOG} where new.bot_id = {{me}}"
                          " do instead nothing",)),
        "a function of the audit's that was changed for a moment is named":
            ((TOUCHED,), ("alter function audit.verify_seals(bigint, text) volatile",
                          "alter function audit.verify_seals(bigint, text) stable")),
    }),
    *found("app_owner", {
        "a capture that rests between two seals is named":
            ((TOUCHED,), ("alter table core.messages disable trigger audit_update",
                          "alter table core.messages enable always trigger audit_update")),
        "a capture that rests between two seals is named by a later one":
            ((TOUCHED,), ("alter table core.messages disable trigger audit_update",
                          "alter table core.messages enable always trigger audit_update",
                          NEXT_SEAL)),
        "all triggers that rest are named":
            ((TOUCHED,), ("alter table core.girls_profiles disable trigger user",)),
        "a capture that fires at the origin only is named":
            ((TOUCHED,), ("alter table core.messages enable trigger audit_delete",)),
        "a capture that is dropped is named":
            ((TOUCHED,), ("drop trigger audit_insert on core.conversations",)),
        "a capture under another condition is named":
            ((TOUCHED,), ("create or replace trigger audit_update after update on core.bots"
                          " referencing old table as old_rows new table as new_rows for each"
                          " statement when (false) execute function audit.update_of_core_bots()",)),
        "a capture under another name is named":
            ((TOUCHED,), ("alter trigger audit_insert on core.messages rename to x",)),
        "a leaf whose guard rests is named":
            ((TOUCHED,), ("alter table core_partitions.messages_{me_leaf} disable trigger"
                          " refuse_leaf_write",
                          "update core_partitions.messages_{me_leaf} set body = 'x'")),
        "a leaf that is dropped is named":
            ((TOUCHED,), ("drop table core_partitions.messages_{me_leaf}",)),
        "a leaf that was altered outside is named":
            ((TOUCHED,),
             ("alter table core.messages detach partition core_partitions.messages_{me_leaf}",
              "drop trigger refuse_leaf_write on core_partitions.messages_{me_leaf}",
              "update core_partitions.messages_{me_leaf} set body = 'x'")),
        "a table that goes is named": ((TOUCHED,), ("drop table core.bot_metrics cascade",)),
        "a table of another name is named":
            ((TOUCHED,), ("alter table core.messages rename to kept",)),
    }),
    *found("superuser", {
        "a month that is over and was dropped by its function is not named":
            ((), ("select audit.ensure_month('2020-01-15')", NEXT_SEAL,
                  "select * from audit.drop_expired()", NEXT_SEAL)),
        "a superuser's DISABLE TRIGGER ALL is named":
            ((TOUCHED,), ("alter table core.messages disable trigger all",)),
        "a trigger put to rest in the catalog is named":
            ((TOUCHED,), ("update pg_trigger set tgenabled = 'D' where tgname = 'audit_insert'",
                          "update pg_trigger set tgenabled = 'A' where tgname ="
                          " 'audit_insert'")),
        "a function altered in the catalog is named":
            ((TOUCHED,), ("update pg_proc set prosrc = prosrc where proname ="
                          " 'insert_of_core_messages'",)),
    }),
    Attack("a chain made anew is known by a root that was kept elsewhere", "app_auditor", after(
        UNFORCED, AS_ERASER, f"delete from {LOG} where entry_id = {{entry}}",
        f"delete from {SEAL} where seal_id > 0", NEXT_SEAL, NEXT_SEAL, then=KEPT_ROOT),
        rows(OTHER_ROOT)),
    Attack("seals cut off at the end are known by a root that was kept elsewhere", "app_auditor",
           after(AS_ERASER, f"delete from {SEAL} where seal_id = {{seal}}", then=KEPT_ROOT),
           rows(OTHER_ROOT)),
    Attack("a root is not taken for that of another seal", "super_admin",
           ("select problem from audit.verify_seals({seal} - 1, '{root}')",),
           rows(OTHER_ROOT)),
    Attack("a root without its seal is no proof", "super_admin",
           ("select problem from audit.verify_seals(null, '{root}')",),
           rows(OTHER_ROOT)),
    Attack("nothing is named where nothing was done", "super_admin",
           ("select * from audit.verify_seals({seal}, '{root}')",), rows()),
]

# What nothing in the database tells; SECURITY.md names each cure.
RESIDUES = [
    *[Attack(name, who, after(*steps, then=FOUND), rows(), kind="residue")
      for name, who, steps in (
          ("an entry that no seal covers yet can be deleted by who owns the log", "app_auditor",
           (f"create policy p on {LOG} for delete using (true)", AS_ERASER,
            f"delete from {LOG} where entry_id > (select last_entry from"
            f" {SEAL} where seal_id = {{seal}})", f"drop policy p on {LOG}")),
          ("who owns the log can make the whole chain anew", "app_auditor",
           (UNFORCED, AS_ERASER, f"delete from {LOG} where entry_id = {{entry}}",
            f"delete from {SEAL} where seal_id > 0", NEXT_SEAL, NEXT_SEAL)),
          ("who owns the log can replace what verifies", "app_auditor",
           ("create or replace function audit.check_machinery() returns table (seal_id bigint,"
            " entry_id bigint, problem text) language plpgsql as 'begin return; end'",
            "drop trigger refuse_change on audit.seal")),
          ("who owns the log can change the salt", "app_auditor",
           ("update audit.salt set salt = ''",)),
          ("who owns the log can put an untrue change of the capture on record", "app_auditor",
           ("drop trigger refuse_change on audit.seal", "select audit.note_capture('{}')")),
      )],
    Attack("entries are counted over the fleet", "bot",
           (INSERT + "({me}, {me_conversation}, 'in', 'before')",
            At("far", INSERT + "({far}, {far_conversation}, 'in', 'between')"),
            At("far", INSERT + "({far}, {far_conversation}, 'in', 'between')"),
            INSERT + "({me}, {me_conversation}, 'in', 'after')",
            "select max(entry_id) - min(entry_id) from (select entry_id from audit.events"
            " order by entry_id desc limit 2) as e"), rows("3"), kind="residue",
           is_arranged=True),
    Attack("who owns schema core acts for app_auditor, whose functions call its own", "app_owner",
           after("create or replace function core.leaf_name(p_table regclass, p_suffix text)"
                 " returns text language plpgsql as 'begin raise notice ''%'', current_user;"
                 " return null; end'", "reset role",
                 then="select core.leaf_name('core.bots', 'x') is null"), rows("True"),
           kind="residue"),
]

AUDIT_ATTACKS = [*REFUSED, *READS, *LOGGED, *NAMED, *RESIDUES]
