-- Sessions whose locks a job for the operator meets: which they are, and their end.

create function security.holders(p_relations regclass[], p_bot_id bigint default null)
returns table (pid integer, login name, kind text, said text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with held as (
    select l.pid, l.virtualtransaction,
           string_agg(distinct format('%s on %s', m.mode,
                                      coalesce(i.inhparent, l.relation)::regclass), ', ') as locks
    from pg_locks as l
    cross join lateral (  -- AccessShareLock, which SQL calls access share
        select lower(ltrim(regexp_replace(replace(l.mode, 'Lock', ''), '([A-Z])', e' \\1', 'g')))
    ) as m (mode)
    left join pg_inherits as i on i.inhrelid = l.relation
    where l.database = (select oid from pg_database where datname = current_database())
      and l.granted and l.pid is distinct from pg_backend_pid()
      and coalesce(i.inhparent, l.relation) = any (p_relations::oid[])
      -- who only reads keeps nobody from a row
      and (p_bot_id is null or l.mode <> 'AccessShareLock')
    group by l.pid, l.virtualtransaction
)
select h.pid, a.usename, m.kind,
       format('session %s (login %s) holds %s since %s', h.pid, a.usename, h.locks,
              coalesce(to_char(a.xact_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS UTC'),
                       'a time that is not shown'))
from held as h
join pg_stat_activity as a on a.pid = h.pid
left join security.marked_logins() as m on m.role = a.usesysid
where a.usesysid is not null
  -- of another bot, or of a worker of others only, no lock is on this bot's rows
  and (p_bot_id is null or coalesce(m.kind, '') !~ '^(bot|worker)'
       or pg_has_role(a.usesysid, to_regrole('bot_' || p_bot_id)::oid, 'member'))
union all
select null, p.owner, 'prepared',
       format('prepared transaction %L (login %s) holds %s since %s', p.gid, p.owner, h.locks,
              to_char(p.prepared at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS UTC'))
from held as h
join pg_prepared_xacts as p on p.transaction::text = split_part(h.virtualtransaction, '/', 2)
where h.pid is null
$func$;

comment on function security.holders(regclass[], bigint) is
    'The sessions that hold a lock on one of these tables or its partitions: (pid, login, kind: what
the login was made as, said: all of it in words, with the lock and since when). With p_bot_id those
that may hold rows of this bot: its own, of whoever may become it, and of nobody''s login.';

create function security.clear_the_way(
    p_relations  regclass[],
    p_kinds      text     default null,
    p_bot_id     bigint   default null
)
returns text
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
declare
    v_holder  record;
    v_said    text;
begin
    begin
        perform pg_stat_clear_snapshot();
        for v_holder in select * from security.holders(p_relations, p_bot_id) loop
            begin
                -- to see since when a session works, or to end it, takes its login's rights
                if v_holder.kind is not null and v_holder.pid is not null
                   and not pg_has_role(v_holder.login, 'usage') then
                    execute format('grant %I to %I', v_holder.login, current_user);
                end if;
                -- no rollback brings a session back
                if v_holder.kind ~ p_kinds and v_holder.pid is not null
                   and current_setting('app.dry_run', true) is distinct from 'on' then
                    raise log 'ending: %', v_holder.said;
                    perform pg_terminate_backend(v_holder.pid, 5000);
                end if;
            exception when insufficient_privilege then
                null;  -- it goes on, and is named
            end;
        end loop;
        perform pg_stat_clear_snapshot();
        select string_agg(said, '; ') into v_said from security.holders(p_relations, p_bot_id);
        raise exception using
            errcode = 'MB130',
            message = 'this takes the memberships back, and is caught here',
            hint    = 'None.';
    exception when sqlstate 'MB130' then
        null;
    end;
    return v_said;
end
$func$;

comment on function security.clear_the_way(regclass[], text, bigint) is
    'Ends the sessions whose locks on these tables are in the way, if what their login was made as
(bot 7, worker, admin) matches p_kinds; null: none. Returns in words which sessions hold locks
still: pid, login, lock, since when; null: none. With p_bot_id: on rows of this bot. Where
app.dry_run is on all go on.';

create function security.clear_the_way_to(p_bot_id bigint, p_kinds text default null)
returns text
language sql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select security.clear_the_way(array(select core.bot_tables()), p_kinds, p_bot_id)
$func$;

comment on function security.clear_the_way_to(bigint, text) is
    'Does what security.clear_the_way does, for all rows of a bot.';

create function security.refuse_to_wait(p_what text, p_holders text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
begin
    raise exception using
        errcode = 'MB130',
        message = format('%s, a lock was waited for long enough: %s', p_what,
                         coalesce(p_holders, 'who held it has let go of it meanwhile')),
        hint    = 'Repeat it. If the same session is in the way again: '
                  'select pg_terminate_backend(pid), by a superuser or by its own login.';
end
$func$;

comment on function security.refuse_to_wait(text, text) is
    'MB130: says which sessions keep something from being done.';

create function security.end_sessions(p_login text, p_before timestamptz default 'infinity')
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_is_granted  boolean := not pg_has_role(p_login, 'usage');
begin
    if current_setting('app.dry_run', true) = 'on' then
        return;  -- no rollback brings a session back
    end if;
    if v_is_granted then  -- to see since when a session is there, and to end it, takes its rights
        execute format('grant %I to %I', p_login, current_user);
    end if;
    perform pg_stat_clear_snapshot();
    perform pg_terminate_backend(pid, 5000)
    from pg_stat_activity
    where usename = p_login and backend_start < p_before and pid <> pg_backend_pid();
    if v_is_granted then
        execute format('revoke %I from %I', p_login, current_user);
    end if;
end
$func$;

comment on function security.end_sessions(text, timestamptz) is
    'Ends the sessions of a login that began before a time. Where app.dry_run is on they go on.';
