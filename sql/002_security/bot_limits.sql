-- How much of the server a bot may take, and whether its login is what it is expected to be.

create table security.bot_limit (
    bot_id                  bigint    not null,
    connections             integer   not null,
    statement_timeout       interval  not null,
    transaction_idle        interval  not null,

    constraint bot_limit_pk             primary key (bot_id),
    constraint bot_limit_connections_ck check (connections between 1 and 1000),
    constraint bot_limit_timeouts_ck    check (
        least(statement_timeout, transaction_idle) >= interval '1 second'
        and greatest(statement_timeout, transaction_idle) <= interval '1 day')
);

comment on table security.bot_limit is
    'What each bot''s login may take. Set by create_bot and set_bot_limits; the login is compared
with it.';
comment on column security.bot_limit.connections is 'Connections at a time.';
comment on column security.bot_limit.statement_timeout is 'Time that a statement may take.';
comment on column security.bot_limit.transaction_idle is
    'Time that a transaction may wait for the bot''s next statement.';

insert into core.bot_table (relation, is_audited, on_bot_drop)
values ('security.bot_limit', false, 'delete');

create function security.first_limits(p_bot_id bigint)
returns security.bot_limit
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select p_bot_id, 20, interval '30 seconds', interval '60 seconds'
$func$;

comment on function security.first_limits(bigint) is
    'What a bot''s login may take until set_bot_limits says otherwise.';

create function security.settings_of(p_limit security.bot_limit)
returns text[]
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select array[
    format('idle_in_transaction_session_timeout=%ss',
           extract(epoch from p_limit.transaction_idle)::integer),
    format('statement_timeout=%ss', extract(epoch from p_limit.statement_timeout)::integer)]
$func$;

comment on function security.settings_of(security.bot_limit) is
    'The settings of a bot''s login under its limits, in order of their names.';

create function security.apply_limits(p_limit security.bot_limit)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_login    text := 'bot_' || p_limit.bot_id;
    v_setting  text;
begin
    insert into security.bot_limit as l select p_limit.*
    on conflict (bot_id) do update
    set connections       = excluded.connections,
        statement_timeout = excluded.statement_timeout,
        transaction_idle  = excluded.transaction_idle;
    if exists (
        select from pg_roles where rolname = v_login and rolconnlimit <> p_limit.connections) then
        execute format('alter role %I connection limit %s', v_login, p_limit.connections);
    end if;
    foreach v_setting in array security.settings_of(p_limit) loop
        execute format('alter role %I set %I = %L', v_login, split_part(v_setting, '=', 1),
                       split_part(v_setting, '=', 2));
    end loop;
exception when check_violation or not_null_violation then
    raise exception using
        errcode = 'MB114',
        message = format('bot %s can''t have %s connections, %s a statement, %s idle',
                         p_limit.bot_id, p_limit.connections, p_limit.statement_timeout,
                         p_limit.transaction_idle),
        hint    = 'Take 1 to 1000 connections, and times of 1 second to 1 day.';
end
$func$;

comment on function security.apply_limits(security.bot_limit) is
    'Notes the limits of a bot and gives them to its login. MB114: impossible limits.';

create function security.set_bot_limits(
    p_bot_id             bigint,
    p_connections        integer,
    p_statement_timeout  interval,
    p_transaction_idle   interval
)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_limit  security.bot_limit :=
        (p_bot_id, p_connections, p_statement_timeout, p_transaction_idle);
begin
    perform security.require_bot(p_bot_id);
    perform security.apply_limits(v_limit);
    perform security.run_event_hooks('limits_set', to_jsonb(v_limit), p_bot_id);
end
$func$;

comment on function security.set_bot_limits(bigint, integer, interval, interval) is
    'Sets what a bot''s login may take: connections at a time, time of a statement, time that a
transaction may wait for the bot. Connections that are open keep their settings. MB003, MB105;
MB114: impossible limits.';

create function security.login_differences()
returns table (login text, expected text, live text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with bot as (
    select l.bot_id,
           format('login, connection limit %s; %s', l.connections,
                  array_to_string(security.settings_of(l), ', ')) as expected
    from security.bot_limit as l
), login as materialized (
    select role, substr(kind, 5)::bigint as bot_id from security.marked_logins()
    where kind ~ '^bot '
), setting as (
    select s.setrole as role,
           string_agg(c.setting || case when s.setdatabase = 0 then '' else ' here' end, ', '
                      order by c.setting) as settings
    from pg_db_role_setting as s
    cross join lateral unnest(s.setconfig) as c (setting)
    where s.setrole in (select role from login)
    group by s.setrole
), live as (
    select m.bot_id, r.rolname,
           concat_ws('; ',
               format('%s, connection limit %s', case when r.rolcanlogin then 'login'
                                                     else 'nologin' end, r.rolconnlimit)
               || case when r.rolinherit then '' else ', noinherit' end
               || case when isfinite(r.rolvaliduntil) then ', valid until ' || r.rolvaliduntil
                       else '' end,
               s.settings) as definition
    from login as m
    join pg_roles as r on r.oid = m.role
    left join setting as s on s.role = r.oid
)
select rolname::text, b.expected, l.definition
from bot as b
join live as l using (bot_id)
where b.expected <> l.definition
$func$;

comment on function security.login_differences() is
    'The bots'' logins that are not what security.bot_limit says: (login, expected, live).';
