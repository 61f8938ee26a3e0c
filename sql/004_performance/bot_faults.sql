-- What of one bot's rows the jobs for all had to leave out, so that the others' are done.

create table performance.bot_fault (
    bot_id      bigint       not null,
    kind        text         not null,
    fault       text         not null,
    what_to_do  text         not null,
    noticed_at  timestamptz  not null default now(),

    constraint bot_fault_pk primary key (bot_id, kind)
);

comment on table performance.bot_fault is
    'One row for each bot and kind of fault that a job for all bots met in the bot''s rows and left
out. The probe bot_faults shows it to health; the next job that meets no fault removes it.';
comment on column performance.bot_fault.kind is
    'roll_up: the bot''s days could not be rolled up; conversation_start: a conversation started at
a time that no day of core.bot_metrics is for.';
comment on column performance.bot_fault.fault is 'What is wrong, with the row where it is known.';
comment on column performance.bot_fault.what_to_do is 'The next step, as an imperative.';
comment on column performance.bot_fault.noticed_at is 'When a job first met this fault.';

insert into core.bot_table (relation, is_derived, is_audited, on_bot_drop)
values ('performance.bot_fault', true, false, 'delete');

create function performance.is_servers_trouble(p_sqlstate text)
returns boolean
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select left(p_sqlstate, 2) in ('08', '25', '40', '42', '53', '55', '57', '58')
$func$;

comment on function performance.is_servers_trouble(text) is
    'Whether an error comes from the server, the code or another session, and no row is to blame.';

create function performance.note_fault(
    p_bot_id      bigint,
    p_kind        text,
    p_fault       text,
    p_what_to_do  text
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $func$
insert into performance.bot_fault as f (bot_id, kind, fault, what_to_do)
values (p_bot_id, p_kind, left(p_fault, 1000), left(p_what_to_do, 1000))
on conflict (bot_id, kind) do update
    set fault = excluded.fault, what_to_do = excluded.what_to_do
    where (f.fault, f.what_to_do) <> (excluded.fault, excluded.what_to_do)
$func$;

comment on function performance.note_fault(bigint, text, text, text) is
    'Notes what was left out of a bot, for health.';

create function performance.known_days()
returns datemultirange
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select datemultirange(daterange((core.first_time() at time zone 'UTC')::date,
                                (core.end_time() at time zone 'UTC')::date))
$func$;

comment on function performance.known_days() is
    'The days that core.bot_metrics has rows for: those on which a message can be sent.';

create function performance.note_odd_starts(p_bots bigint[])
returns void
language sql
set search_path = pg_catalog, pg_temp
as $func$
with odd as materialized (
    select distinct on (c.bot_id) c.bot_id, c.conversation_id, c.started_at
    from core.conversations as c
    where c.bot_id = any (p_bots)
      and not (c.started_at >= core.first_time() and c.started_at < core.end_time())
    order by c.bot_id, c.conversation_id
), mended as (
    delete from performance.bot_fault as f
    where f.bot_id = any (p_bots) and f.kind = 'conversation_start'
      and f.bot_id not in (select bot_id from odd)
)
select performance.note_fault(
    bot_id, 'conversation_start',
    format('conversation %s of bot %s started %s, not between %s: it is counted on no day',
           conversation_id, bot_id, started_at, core.storable_years()),
    format('As the owner of the table: update core.conversations set started_at = created_at '
           'where bot_id = %s and conversation_id = %s', bot_id, conversation_id))
from odd
$func$;

comment on function performance.note_odd_starts(bigint[]) is
    'Notes for each of these bots its first conversation that started when no message can be sent;
takes the note away where there is none.';
