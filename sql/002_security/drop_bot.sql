-- A bot that goes, with all that is kept of it.

create function security.end_connections(p_login text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
begin
    execute format('alter role %I nologin', p_login);
    if not pg_has_role(p_login, 'usage') then  -- to end sessions takes their rights
        execute format('grant %I to %I', p_login, current_user);
    end if;
    perform pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = p_login;
end
$func$;

comment on function security.end_connections(text) is
    'Ends the sessions of a login that is about to be dropped, and lets it begin no other.';

create function security.drop_role(p_login text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
begin
    perform security.end_connections(p_login);
    perform security.await_turn();
    execute format('revoke connect on database %I from %I', current_database(), p_login);
    -- a large object or default privileges of its own, which any login may make, would keep it
    execute format('drop owned by %I', p_login);
    execute format('drop role %I', p_login);
    perform security.run_event_hooks(
        'role_dropped', jsonb_build_object('role', p_login),
        substring(p_login from '^bot_([1-9][0-9]{0,17})$')::bigint);
end
$func$;

comment on function security.drop_role(text) is 'Drops a login that was made for this database.';

create table security.keeper (
    holds    text  not null,
    discard  text  not null,

    constraint keeper_pk primary key (holds)
);

comment on table security.keeper is
    'What later migrations keep of a bot beside its rows in core: each adds its two functions of a
bot_id, and removes them again. drop_bot asks the one and calls the other.';
comment on column security.keeper.holds is
    'Signature. Returns whether anything of the bot is kept.';
comment on column security.keeper.discard is
    'Signature. Deletes it; called before the rows in core go.';

create function security.has_rows(p_bot_id bigint)
returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_holds  regproc;
    v_found  boolean := exists (select from core.girls_profiles where bot_id = p_bot_id)
                     or exists (select from core.bot_metrics where bot_id = p_bot_id);
begin
    for v_holds in
        select core.routine_name(k.holds) from security.keeper as k order by k.holds
    loop
        exit when v_found;
        execute format('select %s($1)', v_holds) into v_found using p_bot_id;
    end loop;
    return v_found;
end
$func$;

comment on function security.has_rows(bigint) is
    'Whether anything is kept of a bot beside its row in core.bots.';

create function security.discard_rows(p_bot_id bigint)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_discard  regproc;
begin
    -- parents locked first, so that nobody adds a row behind what is deleted
    perform from core.bots where bot_id = p_bot_id for update;
    perform from core.girls_profiles where bot_id = p_bot_id order by profile_id for update;
    perform from core.conversations where bot_id = p_bot_id order by conversation_id for update;
    for v_discard in
        select core.routine_name(k.discard) from security.keeper as k order by k.holds
    loop
        execute format('select %s($1)', v_discard) using p_bot_id;
    end loop;
    -- through the roots, children first: so that every trigger sees it
    delete from core.bot_metrics where bot_id = p_bot_id;
    delete from core.messages where bot_id = p_bot_id;
    delete from core.conversations where bot_id = p_bot_id;
    delete from core.girls_profiles where bot_id = p_bot_id;
end
$func$;

comment on function security.discard_rows(bigint) is 'Deletes all that a bot has, but itself.';

create function security.drop_bot(p_bot_id bigint, p_discard boolean default false)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_login  text := security.require_bot(p_bot_id);
begin
    if p_discard then
        perform security.end_connections(v_login);
        perform security.discard_rows(p_bot_id);
    elsif security.has_rows(p_bot_id) then
        raise exception using
            errcode = 'MB106',
            message = format('bot %s still has rows', p_bot_id),
            hint    = 'Take a backup, then repeat with p_discard => true.';
    end if;
    delete from security.bot_token where bot_id = p_bot_id;
    delete from security.bot_limit where bot_id = p_bot_id;
    delete from core.bots where bot_id = p_bot_id;
    perform security.drop_role(v_login);
end
$func$;

comment on function security.drop_bot(bigint, boolean) is
    'Drops a bot and its login and ends its connections; with p_discard its contacts, conversations,
messages and metrics too, and what an import kept of them. Its id is not used again. MB003, MB105;
MB106: it has rows.';
