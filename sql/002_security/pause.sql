-- An operator's brake: a bot is paused, resumed, retired.

create table security.suspended_grant (
    bot_id        bigint       not null,
    login         name         not null,
    suspended_at  timestamptz,

    constraint suspended_grant_pk primary key (bot_id, login)
);

comment on table security.suspended_grant is
    'The workers that get a paused bot back from security.resume_bot: those that had it, and those
that it was granted to meanwhile.';
comment on column security.suspended_grant.login is 'The worker.';
comment on column security.suspended_grant.suspended_at is
    'When the worker lost the bot; null: it was granted the bot while that was paused.';

insert into core.bot_table (relation, on_bot_drop) values ('security.suspended_grant', 'delete');

create function security.status_of(p_bot_id bigint)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $func$
begin
    return (select status from core.bots where bot_id = p_bot_id);
end
$func$;

comment on function security.status_of(bigint) is 'active, paused or retired; null: no such bot.';

create function security.refuse_retired(p_bot_id bigint)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $func$
begin
    if security.status_of(p_bot_id) = 'retired' then
        raise exception using
            errcode = 'MB126',
            message = format('bot %s is retired', p_bot_id),
            hint    = 'That is for good: make another bot, or drop this one.';
    end if;
end
$func$;

comment on function security.refuse_retired(bigint) is 'MB126 if a bot is retired.';

create function security.suspend_grant(
    p_bot_id        bigint,
    p_worker        text,
    p_suspended_at  timestamptz  default null
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $func$
insert into security.suspended_grant (bot_id, login, suspended_at)
values (p_bot_id, p_worker, p_suspended_at)
on conflict (bot_id, login) do update
set suspended_at = coalesce(excluded.suspended_at, suspended_grant.suspended_at)
$func$;

comment on function security.suspend_grant(bigint, text, timestamptz) is
    'Notes that a worker gets a bot when that is resumed, and when it lost the bot.';

create function security.suspend_grants(p_bot_id bigint, p_login text)
returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_workers  name[] := array(
        select r.rolname
        from pg_auth_members as m
        join pg_roles as r on r.oid = m.member
        where m.roleid = to_regrole(p_login) and security.login_kind(m.member) = 'worker'
        group by r.rolname
        order by r.rolname);
begin
    perform security.suspend_grant(p_bot_id, w, clock_timestamp()),
            security.revoke_bot(p_bot_id, w)
    from unnest(v_workers) as w;
    return cardinality(v_workers);
end
$func$;

comment on function security.suspend_grants(bigint, text) is
    'Takes a bot, whose login is p_login, from all its workers and notes them; returns how many.
MB101: another one granted it.';

create function security.end_sessions_as(p_bot_id bigint, p_login text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    perform security.end_sessions(p_login);
    -- all of a worker's: the server tells nobody which role a session has set. Not those that
    -- began later: the bot was out of their reach.
    perform security.end_sessions(login, suspended_at + interval '1 minute')
    from security.suspended_grant
    where bot_id = p_bot_id and suspended_at is not null
      -- somebody may have dropped it by hand
      and security.login_kind(to_regrole(quote_ident(login))) = 'worker';
end
$func$;

comment on function security.end_sessions_as(bigint, text) is
    'Ends the sessions of a bot, whose login is p_login, and of the workers that it was taken from,
which may have become it before.';

create function security.set_bot_status(p_bot_id bigint, p_status text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
as $func$
declare
    v_holders  text;
begin
    for v_attempt in 1 .. 3 loop
        begin
            update core.bots set status = p_status where bot_id = p_bot_id and status <> p_status;
            return;
        exception when lock_not_available then
            -- an admin may have become the bot before
            v_holders := security.clear_the_way_to(
                p_bot_id, case when v_attempt < 3 then '^(bot|worker|admin)' end);
        end;
    end loop;
    perform security.refuse_to_wait(
        format('bot %s can''t be made %s', p_bot_id, p_status), v_holders);
end
$func$;

comment on function security.set_bot_status(bigint, text) is
    'Sets core.bots.status. After 2 s of waiting for a lock it ends the sessions of bots, workers
and admins that are in the way. MB130: another one''s session is.';

create function security.close_bot(p_bot_id bigint, p_status text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_login      text := security.require_bot(p_bot_id);
    v_suspended  integer;
    v_is_closed  boolean;
begin
    perform security.await_turn();
    if p_status = 'paused' then
        perform security.refuse_retired(p_bot_id);
    end if;
    v_is_closed := security.status_of(p_bot_id) = p_status
        and not exists (select from pg_roles where rolname = v_login and rolcanlogin);
    if not v_is_closed then
        execute format('alter role %I nologin', v_login);
    end if;
    v_suspended := security.suspend_grants(p_bot_id, v_login);
    perform security.end_sessions_as(p_bot_id, v_login);
    perform security.set_bot_status(p_bot_id, p_status);
    if not v_is_closed or v_suspended > 0 then
        perform security.run_event_hooks(
            'bot_' || p_status,
            jsonb_build_object('role', v_login, 'workers', v_suspended), p_bot_id);
    end if;
end
$func$;

comment on function security.close_bot(bigint, text) is
    'Makes a bot paused or retired, as p_status says. MB003, MB101, MB105, MB126, MB130.';

create function security.pause_bot(p_bot_id bigint)
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select security.close_bot(p_bot_id, 'paused')
$func$;

comment on function security.pause_bot(bigint) is
    'An operator''s brake: closes a bot''s login, takes the bot from its workers, ends the sessions
of both, and sets core.bots.status. Admins who were granted the bot keep it. A worker loses all its
sessions, of which none shows as which bot it works; it may come back as its other bots at once.
Whoever gets in before the transaction ends stays in: call it again then, which ends such sessions
and changes nothing else. MB003, MB105; MB101: another one granted the bot; MB126: it is retired;
MB130: another one''s session is in the way.';

create function security.retire_bot(p_bot_id bigint)
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select security.close_bot(p_bot_id, 'retired')
$func$;

comment on function security.retire_bot(bigint) is
    'Does what security.pause_bot does, for good: security.resume_bot refuses. The bot''s rows stay.
MB003, MB101, MB105, MB130.';

create function security.resume_bot(p_bot_id bigint)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
declare
    v_login    text := security.require_bot(p_bot_id);
    v_workers  name[];
begin
    perform security.await_turn();
    perform security.refuse_retired(p_bot_id);
    v_workers := array(
        select login from security.suspended_grant where bot_id = p_bot_id order by login);
    if v_workers = '{}' and security.status_of(p_bot_id) = 'active'
       and exists (select from pg_roles where rolname = v_login and rolcanlogin) then
        return;
    end if;
    perform security.set_bot_status(p_bot_id, 'active');
    execute format('alter role %I login', v_login);
    delete from security.suspended_grant where bot_id = p_bot_id;
    perform security.grant_bot(p_bot_id, w)
    from unnest(v_workers) as w
    where security.login_kind(to_regrole(quote_ident(w))) = 'worker';
    perform security.run_event_hooks(
        'bot_resumed', jsonb_build_object('role', v_login, 'workers', cardinality(v_workers)),
        p_bot_id);
end
$func$;

comment on function security.resume_bot(bigint) is
    'Opens a paused bot''s login again and gives the bot back to the workers that it was taken from,
and to those that it was granted to meanwhile. MB003, MB105; MB126: the bot is retired; MB130:
another one''s session is in the way.';
