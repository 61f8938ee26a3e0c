-- Lists the bots, finds one by name or id.

create function security.list_bots()
returns table (bot_id bigint, name text, status text, login name, token_set_at timestamptz,
               connections bigint)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select b.bot_id, b.name, b.status, r.rolname, t.updated_at, coalesce(a.sessions, 0)
from core.bots as b
left join pg_roles as r on r.rolname = 'bot_' || b.bot_id
left join security.bot_token as t on t.bot_id = b.bot_id
left join (
    select usename, count(*) from pg_stat_activity group by usename
) as a (usename, sessions) on a.usename = r.rolname
where security.may_see(b.bot_id)
order by b.bot_id
$func$;

comment on function security.list_bots() is
    'The bots that the caller may see: (bot_id, name, status, login or null, when it got its token,
connections now).';

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
