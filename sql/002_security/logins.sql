-- What makes a login.

create table security.made_login (
    login    name         not null,
    kind     text         not null,
    made_by  name         not null default session_user,
    made_at  timestamptz  not null default now(),

    constraint made_login_pk      primary key (login),
    constraint made_login_kind_ck check (kind ~ '^(bot [1-9][0-9]*|admin|worker)$')
);

comment on table security.made_login is
    'The logins that functions of ours made for this installation and have not dropped. A role that
bears a login''s mark and is not here was marked by hand.';
comment on column security.made_login.login is 'Role.';
comment on column security.made_login.kind is 'bot 7, admin or worker.';
comment on column security.made_login.made_by is 'session_user: a fact, not a claim.';
comment on column security.made_login.made_at is 'When.';

create function security.require_verifier(p_verifier text)
returns void
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
begin
    if p_verifier !~ (e'^SCRAM-SHA-256\\$[1-9][0-9]{3,9}:[A-Za-z0-9+/]+=*'
                      '\\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=$') then
        raise exception using
            errcode = 'MB102',
            message = 'the password is no SCRAM verifier (it is not shown here)',
            hint    = 'A clear password would stand in logs: runner.py bot add makes a verifier.';
    end if;
end
$func$;

comment on function security.require_verifier(text) is
    'MB102, without the value, unless the text is a SCRAM-SHA-256 verifier, or null.';

create function security.await_turn()
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
begin
    -- not an advisory lock, which any login could hold
    lock table security.public_right in exclusive mode;
end
$func$;

comment on function security.await_turn() is
    'Waits until nobody else changes who may connect: the server does not queue two such changes,
the second one fails (tuple concurrently updated).';

create function security.make_role(p_login text, p_connections integer, p_verifier text)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    execute format('create role %I login connection limit %s password %L', p_login, p_connections,
                   p_verifier);
    return true;
exception
    when duplicate_object or unique_violation then
        return false;
    when others then
        -- said anew: the statement, verifier and all, would be in this error's context
        raise exception using
            errcode = 'MB110',
            message = format('login %s could not be made: %s', p_login, sqlerrm),
            hint    = 'Correct what the message names, then repeat.';
end
$func$;

comment on function security.make_role(text, integer, text) is
    'Makes the role of a login, without a password if p_verifier is null; false: there is a role of
this name, which is left as it is. MB110.';

-- What it changes for all comes last: after each such change the server reads anew of what the
-- provisioner is a member, on 16 and newer of every bot.
create function security.set_up_login(p_login text, p_what text, p_limit security.login_limit)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    insert into security.made_login as m (login, kind) values (p_login, p_what)
    on conflict (login) do update
    set kind = excluded.kind, made_by = excluded.made_by, made_at = excluded.made_at;
    perform security.run_event_hooks('role_made', jsonb_build_object('role', p_login, 'as', p_what),
                          substring(p_what from '^bot (.*)')::bigint);
    execute format('comment on role %I is %L', p_login, security.mark(p_what));
    perform security.limit_login(p_limit);
    perform security.await_turn();
    execute format('grant connect on database %I to %I', current_database(), p_login);
end
$func$;

comment on function security.set_up_login(text, text, security.login_limit) is
    'Notes and marks a new login, gives it its limits, and lets it connect to this database.';

create function security.set_password(p_login text, p_verifier text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    execute format('alter role %I password %L', p_login, p_verifier);
exception when others then
    -- said anew: the statement, verifier and all, would be in this error's context
    raise exception using
        errcode = 'MB110',
        message = format('the password of %s could not be set: %s', p_login, sqlerrm),
        hint    = 'It is what it was. Correct what the message names, then repeat.';
end
$func$;

comment on function security.set_password(text, text) is 'Gives a login its SCRAM verifier.';
