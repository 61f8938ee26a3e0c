-- How much of the server a bot may take, and whether its login is what it is expected to be.

create table security.bot_limit (
    bot_id                  bigint    not null,
    connections             integer   not null,
    statement_timeout       interval  not null,
    transaction_idle        interval  not null,
    lock_timeout            interval  not null,

    constraint bot_limit_pk          primary key (bot_id),
    constraint bot_limit_possible_ck check (security.are_possible_limits(
        connections, statement_timeout, transaction_idle, lock_timeout))
);

comment on table security.bot_limit is
    'What each bot''s login may take. Set by create_bot and set_limits; the login is compared with
it.';
comment on column security.bot_limit.connections is 'Connections at a time.';
comment on column security.bot_limit.statement_timeout is 'Time that a statement may take.';
comment on column security.bot_limit.transaction_idle is
    'Time that a transaction may wait for the bot''s next statement.';
comment on column security.bot_limit.lock_timeout is 'Time that a statement may wait for a lock.';

insert into core.bot_table (relation, is_audited, on_bot_drop)
values ('security.bot_limit', false, 'delete');

create function security.limits_of_bot(p_bot_id bigint)
returns security.login_limit
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select coalesce(
    (select row('bot_' || p_bot_id, l.connections, l.statement_timeout, l.transaction_idle,
                l.lock_timeout)::security.login_limit
     from security.bot_limit as l
     where l.bot_id = p_bot_id),
    security.first_login_limits('bot_' || p_bot_id, 'bot'))
$func$;

comment on function security.limits_of_bot(bigint) is
    'The limits that a bot has, or the first ones.';

create function security.note_bot_limits(p_bot_id bigint, p_limit security.login_limit)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $func$
insert into security.bot_limit (
    bot_id, connections, statement_timeout, transaction_idle, lock_timeout)
values (p_bot_id, p_limit.connections, p_limit.statement_timeout, p_limit.transaction_idle,
        p_limit.lock_timeout)
on conflict (bot_id) do update
set connections       = excluded.connections,
    statement_timeout = excluded.statement_timeout,
    transaction_idle  = excluded.transaction_idle,
    lock_timeout      = excluded.lock_timeout
$func$;

comment on function security.note_bot_limits(bigint, security.login_limit) is
    'Notes the limits of a bot, which limit_login gives to its login.';

create function security.set_limits(
    p_login              text,
    p_connections        integer   default null,
    p_statement_timeout  interval  default null,
    p_transaction_idle   interval  default null,
    p_lock_timeout       interval  default null
)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_bot_id  bigint := substring(p_login from '^bot_([1-9][0-9]{0,17})$')::bigint;
    v_limit   security.login_limit;
begin
    if v_bot_id is not null then
        perform security.require_bot(v_bot_id);
        v_limit := security.limits_of_bot(v_bot_id);
    else
        perform security.require_login(p_login);
        select * into v_limit from security.login_limit where login = p_login;
        if not found then
            v_limit := security.first_login_limits(p_login, security.level_of(p_login));
        end if;
    end if;
    v_limit := security.changed_limits(
        v_limit, p_connections, p_statement_timeout, p_transaction_idle, p_lock_timeout);
    if v_bot_id is not null then
        perform security.note_bot_limits(v_bot_id, v_limit);
    else
        perform security.note_limits(v_limit);
    end if;
    perform security.run_event_hooks('limits_set', to_jsonb(v_limit), v_bot_id);
    perform security.limit_login(v_limit);
end
$func$;

comment on function security.set_limits(text, integer, interval, interval, interval) is
    'Sets what a login (bot_7, a worker, an admin) may take: connections at a time, time of a
statement, time that a transaction may wait for it, time that it may wait for a lock; null leaves
that as it is. Sessions that are open keep their settings. MB003, MB105; MB114: impossible limits.';

create function security.set_bot_limits(
    p_bot_id             bigint,
    p_connections        integer,
    p_statement_timeout  interval,
    p_transaction_idle   interval
)
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select security.set_limits(
    security.require_bot(p_bot_id), p_connections, p_statement_timeout, p_transaction_idle)
$func$;

comment on function security.set_bot_limits(bigint, integer, interval, interval) is
    'Calls security.set_limits for a bot by its id. MB003, MB105, MB114.';

create function security.login_differences()
returns table (login text, expected text, live text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with login as materialized (
    select m.role, r.rolname, m.kind, r.rolcanlogin, r.rolconnlimit, r.rolinherit, r.rolvaliduntil
    from security.marked_logins() as m
    join pg_roles as r on r.oid = m.role
), wanted (role, is_open, limits) as (
    select g.role, coalesce(c.status, 'active') = 'active', l.*
    from login as g
    join security.bot_limit as b on g.kind = 'bot ' || b.bot_id
    left join core.bots as c on c.bot_id = b.bot_id
    cross join lateral (
        select row(g.rolname, b.connections, b.statement_timeout, b.transaction_idle,
                   b.lock_timeout)::security.login_limit) as l (limits)
    union all
    select g.role, true, l
    from login as g
    join security.login_limit as l on l.login = g.rolname::text and g.kind !~ '^bot '
), setting as (
    select s.setrole as role,
           string_agg(c.setting || case when s.setdatabase = 0 then '' else ' here' end, ', '
                      order by c.setting) as settings
    from pg_db_role_setting as s
    cross join lateral unnest(s.setconfig) as c (setting)
    join login as g on g.role = s.setrole
    -- what else people set for themselves is their affair
    where (g.kind ~ '^bot ' or split_part(c.setting, '=', 1) in (
               'constraint_exclusion', 'idle_in_transaction_session_timeout', 'lock_timeout',
               'statement_timeout'))
      and c.setting <> 'temp_file_limit=' || security.temp_file_limit()  -- not everywhere to be had
    group by s.setrole
), shown as (
    select g.rolname::text as login,
           format('%s, connection limit %s; %s',
                  case when w.is_open then 'login' else 'nologin' end, (w.limits).connections,
                  array_to_string(security.settings_of(w.limits), ', ')) as expected,
           concat_ws('; ',
               format('%s, connection limit %s', case when g.rolcanlogin then 'login'
                                                     else 'nologin' end, g.rolconnlimit)
               || case when g.rolinherit = (g.kind <> 'worker') then ''
                       when g.rolinherit then ', inherit' else ', noinherit' end
               || case when isfinite(g.rolvaliduntil) then ', valid until ' || g.rolvaliduntil
                       else '' end,
               s.settings) as live
    from login as g
    join wanted as w using (role)
    left join setting as s using (role)
)
select login, expected, live from shown where expected <> live
$func$;

comment on function security.login_differences() is
    'The logins that are not what security.bot_limit and login_limit, and of bots core.bots.status,
say: (login, expected, live).';
