-- People and workers: their logins, and which bots they may become.

create function security.create_login(
    p_name      text,
    p_what      text,
    p_verifier  text,
    p_limit     security.login_limit
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    perform security.require_verifier(p_verifier);
    if p_name is null or p_name !~ '^[a-z_][a-z0-9_]{0,62}$' or p_name ~ '^(app|bot|pg)_'
       or p_name in ('public', 'none') then  -- the server keeps these for itself
        raise exception using
            errcode = 'MB104',
            message = format('no login can be named %s', quote_nullable(p_name)),
            hint    = 'Take lower-case letters, digits and _, not starting with app_, bot_ or pg_.';
    end if;
    if not security.make_role(p_name, p_limit.connections, p_verifier) then
        raise exception using
            errcode = 'MB103',
            message = format('role %s is there already', p_name),
            hint    = 'Choose another name: a role that is there is never taken over.';
    end if;
    perform security.note_limits(p_limit);
    perform security.set_up_login(p_name, p_what, p_limit);
end
$func$;

comment on function security.create_login(text, text, text, security.login_limit) is
    'Makes a login for this database, a member of nothing. MB102, MB103, MB104.';

create function security.create_admin(
    p_name               text,
    p_verifier           text      default null,
    p_is_super           boolean   default false,
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
set quote_all_identifiers = off
as $func$
declare
    v_level  text := case when p_is_super then 'app_super_admin' else 'app_admin' end;
begin
    perform security.create_login(p_name, 'admin', p_verifier, security.changed_limits(
        security.first_login_limits(p_name, substr(v_level, 5)),
        p_connections, p_statement_timeout, p_transaction_idle, p_lock_timeout));
    execute format('grant %I to %I', v_level, p_name);
    perform security.run_event_hooks(
        'role_granted', jsonb_build_object('role', v_level, 'to', p_name));
end
$func$;

comment on function security.create_admin(
    text, text, boolean, integer, interval, interval, interval) is
    'Makes a login for a person: an admin, who sees and may become the bots granted to them, or a
super_admin. What it may take is what security.first_login_limits says where it is null: 5
connections, 5 min a statement, 5 min idle in a transaction, 10 s for a lock; a super_admin 10, 1 h,
10 min, 60 s. MB102, MB103, MB104, MB114.';

create function security.create_worker(
    p_name               text,
    p_bots               bigint[],
    p_verifier           text      default null,
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
set quote_all_identifiers = off
as $func$
begin
    perform security.create_login(p_name, 'worker', p_verifier, security.changed_limits(
        security.first_login_limits(p_name, 'worker'),
        p_connections, p_statement_timeout, p_transaction_idle, p_lock_timeout));
    execute format('alter role %I noinherit', p_name);
    perform security.grant_bot(b, p_name) from unnest(p_bots) as b;
end
$func$;

comment on function security.create_worker(
    text, bigint[], text, integer, interval, interval, interval) is
    'Makes a login for a pooled process: by itself it may do nothing, with SET ROLE bot_<id> what
that bot may. What it may take is what security.first_login_limits says where it is null: 20
connections, 30 s a statement, 60 s idle in a transaction, 10 s for a lock. Paused bots it gets as
they are resumed. MB003, MB102 to MB105, MB114; MB126: a bot is retired.';

create function security.require_login(p_name text)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    if security.login_kind(to_regrole(quote_ident(p_name))) in ('admin', 'worker') then
        return;
    end if;
    raise exception using
        errcode = 'MB105',
        message = format('%s is no admin or worker of this database', quote_nullable(p_name)),
        hint    = 'Make one with security.create_admin or security.create_worker.';
end
$func$;

comment on function security.require_login(text) is
    'MB105 unless an admin or a worker of this name was made for this database.';

create function security.grant_bot(p_bot_id bigint, p_name text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_bot  text;
begin
    v_bot := security.require_bot(p_bot_id);
    perform security.await_turn();  -- nobody pauses the bot meanwhile
    if security.status_of(p_bot_id) <> 'active'
       and security.login_kind(to_regrole(quote_ident(p_name))) = 'worker' then
        perform security.refuse_retired(p_bot_id);
        perform security.suspend_grant(p_bot_id, p_name);
        return;
    end if;
    perform security.run_event_hooks(
        'role_granted', jsonb_build_object('role', v_bot, 'to', p_name), p_bot_id);
    execute format('grant %I to %I', v_bot, p_name)
            -- what the bot may do, only after SET ROLE
            || case when current_setting('server_version_num')::integer >= 160000
                    then ' with inherit false, set true' else '' end;
end
$func$;

comment on function security.grant_bot(bigint, text) is
    'Lets a login SET ROLE to a bot; a worker to a paused one as soon as that is resumed. MB003,
MB105; MB126: the bot is retired, the login a worker.';

create function security.revoke_bot(p_bot_id bigint, p_name text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_login  text := security.require_bot(p_bot_id);
begin
    execute format('revoke %I from %I', v_login, p_name);
    -- what another one granted (16 and newer) a revoke leaves, with a warning
    if exists (
        select
        from pg_auth_members
        where roleid = v_login::regrole and member = p_name::regrole) then
        raise exception using
            errcode = 'MB101',
            message = format('%s stays a member of %s, by another''s grant', p_name, v_login),
            hint    = format(e'As a superuser: revoke %I from %I granted by <who \\drg names>.',
                             v_login, p_name);
    end if;
    perform security.run_event_hooks(
        'role_revoked', jsonb_build_object('role', v_login, 'from', p_name), p_bot_id);
end
$func$;

comment on function security.revoke_bot(bigint, text) is
    'Takes a bot from a login. MB003, MB105; MB101: another one granted it.';

create function security.grant_bot_to_admin(p_bot_id bigint, p_name text)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    perform security.require_login(p_name);
    perform security.grant_bot(p_bot_id, p_name);
end
$func$;

comment on function security.grant_bot_to_admin(bigint, text) is
    'Lets an admin (or a worker) see what is kept about a bot, and SET ROLE to it; a worker to a
paused bot as soon as that is resumed. MB003, MB105; MB126: the bot is retired, the login a
worker.';

create function security.revoke_bot_from_admin(p_bot_id bigint, p_name text)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    perform security.require_bot(p_bot_id);
    perform security.require_login(p_name);
    delete from security.suspended_grant where bot_id = p_bot_id and login = p_name;
    perform security.revoke_bot(p_bot_id, p_name);
end
$func$;

comment on function security.revoke_bot_from_admin(bigint, text) is
    'Takes a bot from an admin or a worker; a session that has become the bot keeps it until RESET
ROLE. MB003, MB105; MB101: another one granted it.';

create function security.drop_login(p_name text)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    perform security.require_login(p_name);
    perform security.drop_role(p_name);
end
$func$;

comment on function security.drop_login(text) is
    'Drops an admin or a worker and ends its sessions. MB105.';

create function security.drop_logins()
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_logins  name[] := array(
        select r.rolname
        from security.marked_logins() as m
        join pg_roles as r on r.oid = m.role
        order by r.rolname);
begin
    perform security.drop_role(l) from unnest(v_logins) as l;
    return cardinality(v_logins);
end
$func$;

comment on function security.drop_logins() is
    'Drops every login that was made for this database, and ends their sessions; returns how many.
Before the database itself is dropped: its logins would outlive it.';

create function security.preview_rollback()
returns table (what text, row_count bigint)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select 'logins', count(*) from security.marked_logins()
union all
select 'tokens of bots', count(*) from security.bot_token
$func$;

comment on function security.preview_rollback() is
    'What the rollback of 002_security would throw away: (what, row_count).';
