-- How much of the server a login may take, a bot's or another's.

create function security.are_possible_limits(
    p_connections        integer,
    p_statement_timeout  interval,
    p_transaction_idle   interval,
    p_lock_timeout       interval
)
returns boolean
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select p_connections between 1 and 1000
   and least(p_statement_timeout, p_transaction_idle, p_lock_timeout) >= interval '1 second'
   and greatest(p_statement_timeout, p_transaction_idle, p_lock_timeout) <= interval '1 day'
$func$;

comment on function security.are_possible_limits(integer, interval, interval, interval) is
    'Whether a login can have so many connections, and such times: see security.login_limit.';

create table security.login_limit (
    login              text      not null,
    connections        integer   not null,
    statement_timeout  interval  not null,
    transaction_idle   interval  not null,
    lock_timeout       interval  not null,

    constraint login_limit_pk          primary key (login),
    constraint login_limit_possible_ck check (security.are_possible_limits(
        connections, statement_timeout, transaction_idle, lock_timeout))
);

comment on table security.login_limit is
    'What the login of each worker, admin and super_admin may take. Set by create_worker,
create_admin and set_limits; the login is compared with it. Bots'' are in security.bot_limit.';
comment on column security.login_limit.login is 'Name of the login.';
comment on column security.login_limit.connections is 'Connections at a time.';
comment on column security.login_limit.statement_timeout is 'Time that a statement may take.';
comment on column security.login_limit.transaction_idle is
    'Time that a transaction may wait for the login''s next statement.';
comment on column security.login_limit.lock_timeout is
    'Time that a statement may wait for a lock.';

create function security.first_login_limits(p_login text, p_what text)
returns security.login_limit
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
begin
    return case p_what
        -- a few terminals and reports
        when 'admin' then row(p_login, 5, interval '5 minutes', interval '5 minutes',
                              interval '10 seconds')
        -- imports on several connections, seals verified from the first on
        when 'super_admin' then row(p_login, 10, interval '1 hour', interval '10 minutes',
                                    interval '60 seconds')
        -- bots and workers
        else row(p_login, 20, interval '30 seconds', interval '60 seconds', interval '10 seconds')
    end;
end
$func$;

comment on function security.first_login_limits(text, text) is
    'What a login may take until security.set_limits says otherwise, if it was made as a bot, a
worker, an admin or a super_admin. A bot or worker has 20 connections, 30 s a statement, 60 s idle
in a transaction, 10 s for a lock; an admin 5, 5 min, 5 min, 10 s; a super_admin 10, 1 h, 10 min,
60 s.';

create function security.changed_limits(
    p_limit              security.login_limit,
    p_connections        integer,
    p_statement_timeout  interval,
    p_transaction_idle   interval,
    p_lock_timeout       interval
)
returns security.login_limit
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_limit  security.login_limit := row(
        p_limit.login, coalesce(p_connections, p_limit.connections),
        coalesce(p_statement_timeout, p_limit.statement_timeout),
        coalesce(p_transaction_idle, p_limit.transaction_idle),
        coalesce(p_lock_timeout, p_limit.lock_timeout));
begin
    if security.are_possible_limits(v_limit.connections, v_limit.statement_timeout,
                                    v_limit.transaction_idle, v_limit.lock_timeout) then
        return v_limit;
    end if;
    raise exception using
        errcode = 'MB114',
        message = format('%s can''t have %s connections, %s a statement, %s idle, %s for a lock',
                         v_limit.login, v_limit.connections, v_limit.statement_timeout,
                         v_limit.transaction_idle, v_limit.lock_timeout),
        hint    = 'Take 1 to 1000 connections, and times of 1 second to 1 day.';
end
$func$;

comment on function security.changed_limits(
    security.login_limit, integer, interval, interval, interval) is
    'The limits with those that are given (not null) in place of what was. MB114: impossible ones.';

create function security.temp_file_limit()
returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select '1GB'
$func$;

comment on function security.temp_file_limit() is
    'How much of temporary files a session of a login made here may fill, where a superuser has let
app_provisioner say so.';

create function security.settings_of(p_limit security.login_limit)
returns text[]
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select array[
    -- or planning reads every CHECK of a leaf, to rule it out in vain: pruning is another thing
    'constraint_exclusion=off',
    format('idle_in_transaction_session_timeout=%ss',
           extract(epoch from p_limit.transaction_idle)::integer),
    format('lock_timeout=%ss', extract(epoch from p_limit.lock_timeout)::integer),
    format('statement_timeout=%ss', extract(epoch from p_limit.statement_timeout)::integer)]
$func$;

comment on function security.settings_of(security.login_limit) is
    'The settings of a login under its limits, in order of their names. SET ROLE sets none: a worker
has its own.';

create function security.limit_login(p_limit security.login_limit)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_setting  text;
begin
    if exists (
        select from pg_roles
        where rolname = p_limit.login and rolconnlimit <> p_limit.connections) then
        execute format('alter role %I connection limit %s', p_limit.login, p_limit.connections);
    end if;
    foreach v_setting in array security.settings_of(p_limit) loop
        execute format('alter role %I set %I = %L', p_limit.login, split_part(v_setting, '=', 1),
                       split_part(v_setting, '=', 2));
    end loop;
    if has_parameter_privilege(current_user, 'temp_file_limit', 'set') then
        execute format('alter role %I set temp_file_limit = %L', p_limit.login,
                       security.temp_file_limit());
    end if;
end
$func$;

comment on function security.limit_login(security.login_limit) is
    'Gives a login its limits, and that of temporary files where a superuser has allowed it.';

create function security.note_limits(p_limit security.login_limit)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $func$
insert into security.login_limit select p_limit.*
on conflict (login) do update
set connections       = excluded.connections,
    statement_timeout = excluded.statement_timeout,
    transaction_idle  = excluded.transaction_idle,
    lock_timeout      = excluded.lock_timeout
$func$;

comment on function security.note_limits(security.login_limit) is
    'Notes the limits of a worker, admin or super_admin, which limit_login gives to the login.';

-- A superuser's to give; without it whoever has a login may fill the disk by one sort.
do $temp$
begin
    if (select rolsuper from pg_roles where rolname = current_user)
       and not has_parameter_privilege('app_provisioner', 'temp_file_limit', 'set') then
        grant set on parameter temp_file_limit to app_provisioner;
    end if;
    if not has_parameter_privilege('app_provisioner', 'temp_file_limit', 'set') then
        raise notice 'no login gets a limit of temporary files, until a superuser says: '
                     'grant set on parameter temp_file_limit to app_provisioner';
    end if;
end
$temp$;
