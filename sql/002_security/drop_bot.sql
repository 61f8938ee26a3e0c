-- A bot that goes, with all that is kept of it.

create function security.end_connections(p_login text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    execute format('alter role %I nologin', p_login);
    if not pg_has_role(p_login, 'usage') then  -- to drop it takes its rights
        execute format('grant %I to %I', p_login, current_user);
    end if;
    perform security.end_sessions(p_login);
end
$func$;

comment on function security.end_connections(text) is
    'Ends the sessions of a login that is about to be dropped, and lets it begin no other. Where
app.dry_run is on, for whoever rolls back what follows, they go on.';

create function security.drop_role(p_login text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    perform security.end_connections(p_login);
    perform security.await_turn();
    execute format('revoke connect on database %I from %I', current_database(), p_login);
    -- a large object or default privileges of its own, which any login may make, would keep it
    execute format('drop owned by %I', p_login);
    execute format('drop role %I', p_login);
    delete from security.made_login where login = p_login;
    delete from security.login_limit where login = p_login;
    delete from security.suspended_grant where login = p_login;
    perform security.run_event_hooks(
        'role_dropped', jsonb_build_object('role', p_login),
        substring(p_login from '^bot_([1-9][0-9]{0,17})$')::bigint);
end
$func$;

comment on function security.drop_role(text) is 'Drops a login that was made for this database.';

create function security.has_rows(p_bot_id bigint)
returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_table  regclass;
    v_found  boolean := false;
begin
    for v_table in
        select t
        from core.bot_tables() as t
        join core.bot_table as b on b.relation = t
        where b.on_bot_drop = 'refuse'
    loop
        execute format('select exists (select from %s where bot_id = $1)', v_table)
        into v_found using p_bot_id;
        exit when v_found;
    end loop;
    return v_found;
end
$func$;

comment on function security.has_rows(bigint) is
    'Whether anything is kept of a bot that security.drop_bot must not delete unasked: see
core.bot_table.on_bot_drop.';

create function security.delete_rows(p_bot_id bigint, p_actions text[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_table  regclass;
    v_key    record;
begin
    -- a foreign key that waits for the end of the transaction would fail there, with a bare error
    for v_key in
        select n.nspname, c.conname
        from pg_constraint as c
        join pg_namespace as n on n.oid = c.connamespace
        where c.contype = 'f' and c.condeferrable and c.confrelid in (select core.bot_tables())
    loop
        execute format('set constraints %I.%I immediate', v_key.nspname, v_key.conname);
    end loop;
    -- through the roots, children first: so that every trigger sees it
    for v_table in
        select t.relation
        from core.bot_tables() with ordinality as t (relation, place)
        join core.bot_table as b using (relation)
        where b.on_bot_drop = any (p_actions)
        order by t.place desc
    loop
        execute format('delete from %s where bot_id = $1', v_table) using p_bot_id;
    end loop;
end
$func$;

comment on function security.delete_rows(bigint, text[]) is
    'Deletes a bot''s rows, its row in core.bots included, from the tables with these actions in
core.bot_table.on_bot_drop. 23503: rows of a table that was left out refer to them.';

create function security.discard_rows(p_bot_id bigint, p_actions text[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_schema      text;
    v_table       text;
    v_constraint  text;
begin
    -- parents locked first, so that nobody adds a row behind what is deleted
    perform from core.bots where bot_id = p_bot_id for update;
    perform from core.girls_profiles where bot_id = p_bot_id order by profile_id for update;
    perform from core.conversations where bot_id = p_bot_id order by conversation_id for update;
    perform security.delete_rows(p_bot_id, p_actions);
exception when foreign_key_violation then
    get stacked diagnostics v_schema = schema_name, v_table = table_name,
                            v_constraint = constraint_name;
    perform security.refuse_drop(p_bot_id, (
        -- not by a cast, which asks for USAGE on the schema
        select c.oid
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        where n.nspname = v_schema and c.relname = v_table), v_constraint);
end
$func$;

comment on function security.discard_rows(bigint, text[]) is
    'Does what security.delete_rows does, with the rows locked. MB106, MB122: other rows refer to
them.';

create function security.refuse_drop(p_bot_id bigint, p_table regclass, p_constraint text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    if exists (
        select
        from core.bot_tables() as t
        where t = p_table or t in (select inhparent from pg_inherits where inhrelid = p_table))
    then
        raise exception using
            errcode = 'MB106',
            message = format('bot %s still has rows in %s', p_bot_id, p_table),
            detail  = format('Constraint %s.', p_constraint),
            hint    = 'Take a backup; p_discard => true deletes these rows, too. If it was said: '
                      'parents come first in core.bot_table.place.';
    end if;
    raise exception using
        errcode = 'MB122',
        message = format('rows of table %s refer to rows of bot %s', p_table, p_bot_id),
        detail  = format('Constraint %s; the table is not in core.bot_table.', p_constraint),
        hint    = format('Call security.protect(%L), and a bot that is dropped takes its rows '
                         'there along; or delete these rows.', p_table);
end
$func$;

comment on function security.refuse_drop(bigint, regclass, text) is
    'Says which table keeps a bot from being dropped. MB106: one that is registered, whose rows are
younger than the look at them; MB122: another one.';

create function security.preview_drop_bot(p_bot_id bigint)
returns table (what text, row_count bigint)
language plpgsql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
declare
    v_login  text := security.require_bot(p_bot_id);
    v_table  regclass;
begin
    for v_table in
        select t.relation
        from core.bot_tables() with ordinality as t (relation, place)
        join core.bot_table as b using (relation)
        where b.on_bot_drop in ('refuse', 'delete')
        order by t.place
    loop
        what := v_table::text;
        execute format('select count(*) from %s where bot_id = $1', v_table)
        into row_count using p_bot_id;
        return next;
    end loop;
    return query select 'login ' || v_login, 1::bigint;
    return query
        select 'open connections', count(*) from pg_stat_activity where usename = v_login;
end
$func$;

comment on function security.preview_drop_bot(bigint) is
    'What security.drop_bot with p_discard would delete, of which it does nothing: (what: a table of
core.bot_table, the login, its connections; row_count). Rows of a table whose on_bot_drop is refuse
go only if they may be discarded. MB003, MB105.';

create function security.drop_bot(p_bot_id bigint, p_discard boolean default false)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set lock_timeout = '2s'
as $func$
declare
    v_login    text := security.require_bot(p_bot_id);
    v_holders  text;
begin
    if p_discard then
        perform security.end_connections(v_login);
    elsif security.has_rows(p_bot_id) then
        raise exception using
            errcode = 'MB106',
            message = format('bot %s still has rows', p_bot_id),
            hint    = 'Take a backup; p_discard => true deletes the rows, too.';
    end if;
    for v_attempt in 1 .. 3 loop
        begin
            perform security.discard_rows(
                p_bot_id, case when p_discard then array['refuse'] else '{}' end || 'delete'::text);
            perform security.drop_role(v_login);
            return;
        exception when lock_not_available then
            -- a worker may have become the bot before
            v_holders := security.clear_the_way_to(
                p_bot_id, case when v_attempt < 3 then '^(bot|worker|admin)' end);
        end;
    end loop;
    perform security.refuse_to_wait(format('bot %s can''t be dropped', p_bot_id), v_holders);
end
$func$;

comment on function security.drop_bot(bigint, boolean) is
    'Drops a bot and its login and ends its connections; with p_discard its contacts, conversations,
messages and metrics too, and what other tables in core.bot_table hold of it; the audit log stays.
Its id is not used again. After 2 s of waiting for a lock it ends the sessions of workers and admins
who may become the bot and hold locks on its tables. MB003, MB105; MB106: it has rows; MB122: a
table that nobody registered refers to them; MB130: another one''s session is in the way.';
