-- A bot's login: made, given another password.

create function security.require_bot_name(p_name text)
returns void
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
begin
    if p_name is null or p_name <> btrim(p_name) or length(p_name) not between 1 and 100
       or p_name ~ '[[:cntrl:]]' then
        raise exception using
            errcode = 'MB104',
            message = format('no bot can be named %s', quote_nullable(p_name)),
            hint    = 'Take 1 to 100 characters, no blank at either end, no control character.';
    end if;
end
$func$;

comment on function security.require_bot_name(text) is 'MB104 unless a bot can have this name.';

create sequence security.trial_bot_id_seq
    minvalue 999999999999000000 maxvalue 999999999999999999 cycle;
comment on sequence security.trial_bot_id_seq is
    'Ids of bots that a dry run makes and takes back: it uses up none of core.bots.';

create function security.next_bot_id()
returns bigint
language sql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
select nextval(case when current_setting('app.dry_run', true) = 'on'
                    then 'security.trial_bot_id_seq'
                    else pg_get_serial_sequence('core.bots', 'bot_id') end::regclass)
$func$;

comment on function security.next_bot_id() is
    'An id for a new bot; with app.dry_run = on a number beyond those that bots get.';

create function security.complete_bot_login(p_bot_id bigint)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_limit  security.login_limit := security.limits_of_bot(p_bot_id);
begin
    perform security.note_bot_limits(p_bot_id, v_limit);
    perform security.set_up_login(v_limit.login, 'bot ' || p_bot_id, v_limit);
    execute format('grant app_bot to %I', v_limit.login);
    if security.status_of(p_bot_id) <> 'active' then
        execute format('alter role %I nologin', v_limit.login);
    end if;
end
$func$;

comment on function security.complete_bot_login(bigint) is
    'Makes a bot''s of a new login: mark, the limits that the bot had or the first ones, level;
closed if the bot is paused or retired.';

create function security.create_bot(p_name text, p_verifier text default null)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
declare
    v_bot_id  bigint;
    v_login   text;
begin
    perform security.require_verifier(p_verifier);
    perform security.require_bot_name(p_name);
    perform security.await_turn();  -- two at once, here and in a sister database, would deadlock
    loop  -- to an id whose login no database of the cluster has; none is taken over
        v_bot_id := security.next_bot_id();
        v_login := 'bot_' || v_bot_id;
        continue when to_regrole(v_login) is not null;
        exit when security.make_role(
            v_login, (security.first_login_limits(v_login, 'bot')).connections, p_verifier);
    end loop;
    perform core.ensure_leaves(v_bot_id);  -- a trigger can't make a leaf of its own table
    insert into core.bots (bot_id, name) overriding system value values (v_bot_id, p_name);
    perform security.complete_bot_login(v_bot_id);
    return v_bot_id;
end
$func$;

comment on function security.create_bot(text, text) is
    'Makes a bot and its login bot_<id>; returns bot_id. At most 20 connections, 30 s a statement,
60 s idle in a transaction, 10 s for a lock (set_limits changes these). Without a SCRAM verifier the
login has no password yet. MB005: the name is taken; MB102: no verifier; MB104: an impossible
name.';

create function security.preview_create_bot(p_name text, p_verifier text default null)
returns bigint
language plpgsql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_bot_id  bigint;
begin
    perform security.require_verifier(p_verifier);
    perform security.require_bot_name(p_name);
    if exists (select from core.bot_names where name = p_name) then
        raise exception using
            errcode = 'MB005',
            message = format('bot name %L is taken', p_name),
            hint    = 'Choose another name.';
    end if;
    select last_value + is_called::integer into v_bot_id from core.bots_bot_id_seq;
    while to_regrole('bot_' || v_bot_id) is not null loop
        v_bot_id := v_bot_id + 1;
    end loop;
    return v_bot_id;
end
$func$;

comment on function security.preview_create_bot(text, text) is
    'What security.create_bot would do, of which it does nothing: returns the bot_id that comes
next, unless somebody else is faster. MB005, MB102, MB104.';

create function security.create_bot_login(p_bot_id bigint, p_verifier text default null)
returns text
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
declare
    v_login  text := 'bot_' || p_bot_id;
begin
    perform security.require_verifier(p_verifier);
    if not exists (select from core.bots where bot_id = p_bot_id) then
        perform security.require_bot(p_bot_id);  -- which says so
    elsif not security.make_role(
        v_login, (security.limits_of_bot(p_bot_id)).connections, p_verifier) then
        raise exception using
            errcode = 'MB103',
            message = format('role %s is there already', v_login),
            hint    = 'If it is this bot''s: security.rotate_bot_password gives it a password.';
    end if;
    perform security.complete_bot_login(p_bot_id);
    return v_login;
end
$func$;

comment on function security.create_bot_login(bigint, text) is
    'Makes the login of a bot that has lost it (002_security was rolled back, or the database was
restored where its roles are not): returns bot_<id>, with the limits that it had, or the first ones.
MB003, MB102; MB103: it has one, or another database''s bot has its name.';

create function security.require_bot(p_bot_id bigint)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_login  text := 'bot_' || p_bot_id;
begin
    if not exists (select from core.bots where bot_id = p_bot_id) then
        raise exception using
            errcode = 'MB003',
            message = format('there is no bot %s', quote_nullable(p_bot_id)),
            hint    = 'select * from security.list_bots() lists them.';
    end if;
    if security.login_kind(to_regrole(v_login)) is distinct from 'bot ' || p_bot_id then
        raise exception using
            errcode = 'MB105',
            message = format('bot %s has no login of this database', p_bot_id),
            detail  = format('Role %s: %s.', v_login, case when to_regrole(v_login) is null
                             then 'not there' else 'without this database''s mark' end),
            hint    = format('If it is not there: select security.create_bot_login(%s). If another '
                             'database has it: select security.claim_logins(), as the owner.',
                             p_bot_id);
    end if;
    return v_login;
end
$func$;

comment on function security.require_bot(bigint) is
    'The login of a bot. MB003: there is no such bot; MB105: it has no login that we made.';

create function security.rotate_bot_password(p_bot_id bigint, p_verifier text)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_login  text;
begin
    perform security.require_verifier(coalesce(p_verifier, ''));
    v_login := security.require_bot(p_bot_id);
    perform security.run_event_hooks(
        'password_set', jsonb_build_object('role', v_login), p_bot_id);
    perform security.set_password(v_login, p_verifier);
end
$func$;

comment on function security.rotate_bot_password(bigint, text) is
    'Gives a bot another password (a SCRAM verifier); connections that are open stay. MB003, MB102,
MB105.';
