-- Lists the bots, finds one by name or id.

create function security.sessions_now()
returns table (role oid, sessions bigint)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select usesysid, count(*) from pg_stat_activity where usesysid is not null group by usesysid
$func$;

comment on function security.sessions_now() is 'How many sessions each login has open now.';

create function security.list_bots()
returns table (bot_id bigint, name text, status text, login name, token_set_at timestamptz,
               connections bigint, connection_limit integer, statement_timeout interval,
               transaction_idle interval, lock_timeout interval)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select b.bot_id, b.name, b.status, r.rolname, t.updated_at, coalesce(a.sessions, 0),
       l.connections, l.statement_timeout, l.transaction_idle, l.lock_timeout
from core.bots as b
left join pg_roles as r on r.rolname = 'bot_' || b.bot_id
left join security.bot_token as t on t.bot_id = b.bot_id
left join security.bot_limit as l on l.bot_id = b.bot_id
left join security.sessions_now() as a on a.role = r.oid
where security.may_see(b.bot_id)
order by b.bot_id
$func$;

comment on function security.list_bots() is
    'The bots that the caller may see: (bot_id, name, status, login or null, when it got its token,
connections now, and what the login may take: see security.set_limits).';

create function security.level_of(p_login text)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
select case when k.kind = 'admin' and exists (
                select from pg_auth_members
                where roleid = 'app_super_admin'::regrole and member = l.role)
            then 'super_admin' else k.kind end
from (select to_regrole(quote_ident(p_login))) as l (role)
cross join lateral security.login_kind(l.role) as k (kind)
$func$;

comment on function security.level_of(text) is
    'bot 7, worker, admin or super_admin; null for a login that was not made for this database.';

create function security.list_logins()
returns table (login name, level text, bots text, connections bigint, connection_limit integer,
               statement_timeout interval, transaction_idle interval, lock_timeout interval)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
select r.rolname, security.level_of(r.rolname),
       (select string_agg(substr(b.login, 5) || b.note, ', ' order by length(b.login), b.login)
        from (
            select p.rolname::text, ''
            from pg_auth_members as g
            join pg_roles as p on p.oid = g.roleid
            where g.member = r.oid and p.rolname ~ '^bot_[1-9][0-9]*$'
            union all
            select 'bot_' || s.bot_id, ' (paused)'
            from security.suspended_grant as s
            where s.login = r.rolname
        ) as b (login, note)),
       coalesce(a.sessions, 0), l.connections, l.statement_timeout, l.transaction_idle,
       l.lock_timeout
from security.marked_logins() as m
join pg_roles as r on r.oid = m.role
left join security.login_limit as l on l.login = r.rolname::text
left join security.sessions_now() as a on a.role = r.oid
where m.kind !~ '^bot '
order by r.rolname
$func$;

comment on function security.list_logins() is
    'The workers, admins and super_admins: (login, level, the bots that it may become, and the
paused ones that a worker gets back, connections now, and what it may take: see
security.set_limits). The bots'' are in security.list_bots().';

create function security.find_login(p_name text)
returns text
language plpgsql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
begin
    if security.login_kind(to_regrole(quote_ident(p_name))) is not null then
        return p_name;
    end if;
    return 'bot_' || security.find_bot(p_name);
end
$func$;

comment on function security.find_login(text) is
    'The login of this name, else that of the bot of this name or id. MB003: there is none.';

create function security.find_bot(p_bot text)
returns bigint
language plpgsql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_bot_id  bigint;
begin
    select bot_id into v_bot_id from core.bots where name = p_bot and security.may_see(bot_id);
    if not found and p_bot ~ '^[1-9][0-9]{0,17}$' then
        select bot_id into v_bot_id from core.bots
        where bot_id = p_bot::bigint and security.may_see(bot_id);
    end if;
    if v_bot_id is null and p_bot is not null then
        raise exception using
            errcode = 'MB003',
            message = format('there is no bot %s', p_bot),
            hint    = 'select * from security.list_bots() lists them.';
    end if;
    return v_bot_id;
end
$func$;

comment on function security.find_bot(text) is
    'bot_id of a bot by its name or, in digits, its id; null for null. MB003: there is none.';
