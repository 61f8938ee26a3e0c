-- What makes a login, and how a login made here is known.

create function security.mark(p_what text)
returns text
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select format('%s of database %s', p_what, current_database())
$func$;

comment on function security.mark(text) is
    'The comment on a login that was made for this database: bot 7, an admin, a worker. A role
without it, or with another one, is none of ours, whatever its name.';

create function security.marked_logins()
returns table (role oid, kind text)
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select d.objoid, k.kind
from pg_shdescription as d
cross join lateral (select split_part(d.description, ' of database ', 1)) as k (kind)
where d.classoid = 'pg_authid'::regclass
  -- the cheapest first: a cluster may have thousands of logins that are another database's
  and strpos(d.description, (select security.mark(''))) > 0
  and d.description = k.kind || (select security.mark(''))
  and k.kind ~ '^(bot [1-9][0-9]*|admin|worker)$'
$func$;

comment on function security.marked_logins() is
    'The logins that were made for this database: (role, kind: bot 7, admin or worker).';

create function security.login_kind(p_role oid)
returns text
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select kind
from (select shobj_description(p_role, 'pg_authid')) as d (mark)
cross join lateral (select split_part(d.mark, ' of database ', 1)) as k (kind)
where d.mark = security.mark(k.kind) and k.kind ~ '^(bot [1-9][0-9]*|admin|worker)$'
$func$;

comment on function security.login_kind(oid) is
    'What a login was made as for this database: bot 7, admin or worker; null if it was not.';

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

create function security.set_up_login(p_login text, p_what text, p_verifier text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    execute format('comment on role %I is %L', p_login, security.mark(p_what));
    perform security.await_turn();
    execute format('grant connect on database %I to %I', current_database(), p_login);
    if p_verifier is not null then
        perform security.set_password(p_login, p_verifier);
    end if;
    perform security.run_event_hooks('role_made', jsonb_build_object('role', p_login, 'as', p_what),
                          substring(p_what from '^bot (.*)')::bigint);
end
$func$;

comment on function security.set_up_login(text, text, text) is
    'Marks a new login, lets it connect to this database, and gives it its password.';

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
