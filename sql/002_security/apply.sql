-- 002_security: no bot sees, changes or counts another bot's rows; who may do what, by role.
-- depends: 001_core_schema
-- locks:   ACCESS EXCLUSIVE on every table in core, for as long as the migration takes
-- undo:    rollback.sql takes policies, rights and roles away; refuses while a bot has a login

set local search_path = pg_catalog, pg_temp;
set local lock_timeout = '3s';
set local row_security = on;  -- or no function could name a table whose rows are filtered

create schema security;

comment on schema security is
    'Who may do what: roles, logins, row level security, the bots'' tokens, and a check of it all.';

insert into core.error_code (code, name, meaning, remedy) values
    ('MB101', 'role_not_usable',  'A role, or a membership, that another one made is in the way.',
        'Have it corrected by who may, as the message says.'),
    ('MB102', 'no_verifier',      'A password was given where a SCRAM verifier belongs.',
        'Take runner.py bot add or rotate, or psql''s \password, which make one.'),
    ('MB103', 'login_exists',     'A role of this name is there already; it is never taken over.',
        'Choose another name.'),
    ('MB104', 'invalid_name',     'A bot or a login can''t have this name.',
        'Choose a name that fits what the message says.'),
    ('MB105', 'unknown_login',    'No login of this name was made for this database.',
        'Take one that create_admin or create_worker made.'),
    ('MB106', 'bot_has_rows',     'The bot still has rows.',
        'Take a backup, then drop it with p_discard (runner.py bot drop --discard-data).'),
    ('MB107', 'invalid_token',    'A token is empty or holds blanks.',
        'Pass the token as the messenger gave it.'),
    ('MB108', 'refused_write',    'A statement that no table of the bots allows.',
        'Delete through the table in core; insert a row of another bot anew.'),
    ('MB109', 'not_protectable',  'The table has no bot_id to protect its rows by.',
        'Add a column bot_id bigint.'),
    ('MB110', 'password_not_set', 'The server refused a password.',
        'Read the message: it is the server''s.');

-- Roles -----------------------------------------------------------------------

-- Roles belong to the cluster, not to the database: a sister database may have made them.

create function security.ensure_role(p_role text, p_makes_roles boolean default false)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
begin
    execute format('create role %I nologin', p_role);
    if p_makes_roles then
        execute format('alter role %I createrole', p_role);
    end if;
exception when duplicate_object or unique_violation then
    if exists (
        select
        from pg_roles
        where rolname = p_role
          and (rolcanlogin or rolsuper or rolbypassrls or rolreplication or rolcreatedb
               or rolcreaterole <> p_makes_roles))
    then
        raise exception using
            errcode = 'MB101',
            message = format('role %s is there with other attributes', p_role),
            hint    = format('alter role %I nologin %screaterole; take the rest away (see \du).',
                             p_role, case when p_makes_roles then '' else 'no' end);
    end if;
end
$func$;

comment on function security.ensure_role(text, boolean) is
    'Makes a role that can''t log in, unless the cluster has it. For migrations. MB101: it is there
and can''t be used.';

create function security.ensure_member(p_role text, p_member text, p_may_grant boolean)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
begin
    if not exists (
        select
        from pg_auth_members
        where roleid = to_regrole(p_role) and member = to_regrole(p_member)
          and (admin_option or not p_may_grant)) then
        execute format('grant %I to %I', p_role, p_member)
                || case when p_may_grant then ' with admin option' else '' end;
    end if;
exception when insufficient_privilege then
    raise exception using
        errcode = 'MB101',
        message = format('%s may not hand out role %s, which is there already', current_user,
                         p_role),
        detail  = sqlerrm,
        hint    = format('As a superuser, or as who made it: grant %I to %I with admin option.',
                         p_role, current_user);
end
$func$;

comment on function security.ensure_member(text, text, boolean) is
    'Makes a role a member of another one, unless it is. For migrations. MB101: the caller may
not.';

create function security.ensure_owner(p_role text, p_makes_roles boolean default false)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
begin
    perform security.ensure_role(p_role, p_makes_roles);
    -- its maker may only administer it (16 and newer); to own things in its name takes more
    if not (pg_has_role(p_role, 'usage')
            and (current_setting('server_version_num')::integer < 160000
                 or pg_has_role(p_role, 'set'))) then
        execute format('grant %I to %I', p_role, current_user);
    end if;
    -- for the whole database: the form for one schema takes nothing away
    execute format(
        'alter default privileges for role %I revoke execute on functions from public', p_role);
exception when insufficient_privilege then
    raise exception using
        errcode = 'MB101',
        message = format('%s may not use role %s, which is there already', current_user, p_role),
        detail  = sqlerrm,
        hint    = format('As a superuser, or as who made it: grant %I to %I with admin option.',
                         p_role, current_user);
end
$func$;

comment on function security.ensure_owner(text, boolean) is
    'The same for a role that is to own a schema: the caller becomes a member of it, and what it
makes can''t be executed by everybody. MB101.';

create function security.hand_over(p_schema text, p_owner text)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_statement  text;
begin
    if p_owner <> current_user then
        -- who is to own a schema must be allowed to make one, if only for this moment
        execute format('grant create on database %I to %I', current_database(), p_owner);
    end if;
    for v_statement in
        select format('alter schema %I owner to %I', p_schema, p_owner)
        union all
        select format('alter %s %s owner to %I',
                      case relkind when 'v' then 'view' else 'table' end, oid::regclass, p_owner)
        from pg_class
        where relnamespace = to_regnamespace(p_schema) and relkind in ('r', 'p', 'v')
        union all
        select format('alter routine %s owner to %I', oid::regprocedure, p_owner)
        from pg_proc
        where pronamespace = to_regnamespace(p_schema)
        union all
        select format('alter type %s owner to %I', t.oid::regtype, p_owner)
        from pg_type as t
        join pg_class as c on c.oid = t.typrelid and c.relkind = 'c'
        where t.typnamespace = to_regnamespace(p_schema)
    loop
        execute v_statement;
    end loop;
    if p_owner <> current_user then
        execute format('revoke create on database %I from %I', current_database(), p_owner);
    end if;
end
$func$;

comment on function security.hand_over(text, text) is
    'Makes a role the owner of a schema and of all that is in it. One owner per schema: a dump is
restored with exactly these owners, so a definer never becomes somebody else.';

do $roles$
begin
    -- what people and programs are given, and what takes backups
    perform security.ensure_role(r)
    from unnest(array['app_base', 'app_bot', 'app_admin', 'app_super_admin', 'app_backup']) as r;
    -- what owns the schemas, and works for them beyond their rights
    perform security.ensure_owner(r) from unnest(array['app_owner', 'app_upkeep']) as r;
    perform security.ensure_owner('app_provisioner', true);
end
$roles$;

-- Each level is a member of the one below, and adds to it; the provisioner hands them out.
do $levels$
begin
    perform security.ensure_member(g.role, g.member, g.may_grant)
    from (values
        ('app_base', 'app_bot', false), ('app_bot', 'app_admin', false),
        ('app_admin', 'app_super_admin', false),
        ('app_bot', 'app_provisioner', true), ('app_admin', 'app_provisioner', true),
        ('app_super_admin', 'app_provisioner', true)
    ) as g (role, member, may_grant);
end
$levels$;

-- Who is asking ---------------------------------------------------------------

create function security.policy_bot_id()
returns bigint
language plpgsql
immutable  -- on purpose: see the comment
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
begin
    return substring(current_user::text from '^bot_([1-9][0-9]{0,17})$')::bigint;
end
$func$;

comment on function security.policy_bot_id() is
    'For policies only: the bot whose login is current_user. Declared immutable so that planning
makes a constant of it, prunes to one leaf and estimates from that bot''s rows alone. Sound there,
because a plan that depends on policies is made anew when the role changes, and because the second
half of the policy compares the role when it runs. Anywhere else use core.current_bot_id().';

create function security.policy_user()
returns name
language plpgsql
immutable  -- on purpose: see policy_bot_id
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
begin
    return current_user;
end
$func$;

comment on function security.policy_user() is
    'For policies only: current_user when the plan was made. Compared with current_user it makes a
plan that was made for another role return nothing.';

create function security.caller()
returns name
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case current_setting('role') when 'none' then session_user
            else current_setting('role')::name end
$func$;

comment on function security.caller() is
    'The role in force outside of all definer functions, where current_user is the definer.';

create function security.may_see(p_bot_id bigint)
returns boolean
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select coalesce(pg_has_role(r.role, to_regrole('bot_' || p_bot_id)::oid, 'member'), false)
    or pg_has_role(r.role, 'app_super_admin', 'usage') or pg_has_role(r.role, 'app_owner', 'usage')
from (select security.caller()) as r (role)
$func$;

comment on function security.may_see(bigint) is
    'Whether the caller may read what is kept about a bot: an admin to whom it was granted, a
super_admin, a member of app_owner.';

-- Protection ------------------------------------------------------------------

create function security.refuse_write()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
begin
    -- a record would go with the transaction; the server log keeps this line
    raise log '% of % refused, login %, role %',
        lower(tg_op), tg_relid::regclass, session_user, current_user;
    raise exception using
        errcode = 'MB108',
        message = format(case tg_op when 'TRUNCATE' then 'truncate of %s is refused'
                              else 'update of bot_id in %s is refused' end, tg_relid::regclass),
        detail  = format('Login %s, role %s.', session_user, current_user),
        hint    = case tg_op when 'TRUNCATE' then 'Delete the rows, children first.'
                  else 'A row stays with its bot: delete it, and insert it anew.' end;
end
$func$;

comment on function security.refuse_write() is
    'Trigger: TRUNCATE fires no row''s trigger, and a row does not change its bot (MB108).';

create function security.refuse_truncate(p_table regclass)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
begin
    execute format('create or replace trigger refuse_truncate before truncate on %s '
                   'for each statement execute function security.refuse_write()', p_table);
    execute format('alter table %s enable always trigger refuse_truncate', p_table);
end
$func$;

comment on function security.refuse_truncate(regclass) is
    'Gives a table or leaf the trigger that refuses TRUNCATE, in replica mode too.';

create function security.protect_leaf(p_leaf regclass)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
begin
    -- not FORCE: a new foreign key is checked by the owner, who would see no row and find it valid
    execute format('alter table %s enable row level security, no force row level security', p_leaf);
    perform security.refuse_truncate(p_leaf);
    perform security.admit(p_leaf, 'app_backup', 'select');
    execute format('grant select on %s to app_backup', p_leaf);
end
$func$;

comment on function security.protect_leaf(regclass) is
    'Closes a leaf to everybody but its owner and app_backup: rows are reached through the table in
core, whose policies count there. Each new leaf is given to it (core.leaf_hook).';

create function security.protect(p_table regclass)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
begin
    if not exists (
        select from pg_attribute
        where attrelid = p_table and attname = 'bot_id' and not attisdropped)
    then
        raise exception using
            errcode = 'MB109',
            message = format('table %s has no column bot_id', p_table),
            hint    = 'Add it, or leave the table to its grants.';
    end if;
    execute format('alter table %s enable row level security, force row level security', p_table);
    perform security.refuse_truncate(p_table);
    execute format('create or replace trigger refuse_new_bot_id before update of bot_id on %s '
                   'for each statement execute function security.refuse_write()', p_table);
    execute format('alter table %s enable always trigger refuse_new_bot_id', p_table);
    if exists (select from pg_partitioned_table where partrelid = p_table) then
        perform security.protect_leaf(l.leaf) from core.leaves(p_table) as l;
    end if;
end
$func$;

comment on function security.protect(regclass) is
    'Turns row level security on for a table and its leaves, for its owner too, and refuses TRUNCATE
and an UPDATE of bot_id. Nobody sees a row then: admit lets roles in. May be called again. MB109: no
column bot_id.';

create function security.set_policy(p_table regclass, p_name text, p_definition text)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
begin
    if exists (select from pg_policy where polrelid = p_table and polname = p_name) then
        execute format('drop policy %I on %s', p_name, p_table);
    end if;
    execute format('create policy %I on %s %s', p_name, p_table, p_definition);
end
$func$;

comment on function security.set_policy(regclass, text, text) is
    'Makes a policy, in place of one of the same name.';

create function security.admit(p_table regclass, p_role text, p_command text)
returns void
language sql
volatile
set search_path = pg_catalog, pg_temp
as $func$
select security.set_policy(
    p_table, p_role || '_' || p_command,
    format('for %s to %I %s', p_command, p_role,
           case p_command when 'insert' then 'with check (true)' else 'using (true)' end))
$func$;

comment on function security.admit(regclass, text, text) is
    'Lets a role work on all rows of a protected table: select, insert, update, delete or all. For
definers and readers, whose grants say which columns.';

create function security.admit_bots(p_table regclass)
returns void
language sql
volatile
set search_path = pg_catalog, pg_temp
as $func$
select security.set_policy(
    -- to public: a policy for a role can be dropped by all its members (drop owned by that role)
    p_table, 'own_rows',
    'to public using ('
    'bot_id = security.policy_bot_id() and current_user = security.policy_user())')
$func$;

comment on function security.admit_bots(regclass) is
    'Lets each bot work on its own rows of a protected table, as far as its grants go. Whoever else
reads the table must be allowed to execute the two functions.';

create function security.admit_admins(p_table regclass)
returns void
language sql
volatile
set search_path = pg_catalog, pg_temp
as $func$
select security.set_policy(
    p_table, 'app_admin_select',
    'for select to app_admin using (pg_has_role(to_regrole(''bot_'' || bot_id)::oid, ''member''))')
$func$;

comment on function security.admit_admins(regclass) is
    'Lets an admin read, in a protected table, the rows of the bots that
security.grant_bot_to_admin gave them.';

-- What later migrations record -------------------------------------------------

create table security.event_hook (
    hook  text  not null,

    constraint event_hook_pk primary key (hook)
);

comment on table security.event_hook is
    'Functions (kind text, severity text, detail jsonb, bot_id bigint) that are told what this
schema does with roles: a later migration that records it adds its own, and removes it again.';
comment on column security.event_hook.hook is
    'Signature; runs with the rights of app_provisioner.';

create function security.tell(p_kind text, p_detail jsonb, p_bot_id bigint default null)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_hook  regproc;
begin
    for v_hook in
        select h.hook::regprocedure::oid::regproc from security.event_hook as h order by h.hook
    loop
        execute format('select %s($1, ''notice'', $2, $3)', v_hook)
        using p_kind, p_detail, p_bot_id;
    end loop;
end
$func$;

comment on function security.tell(text, jsonb, bigint) is
    'Tells every security.event_hook what was done; fails if one of them does.';

-- Logins ----------------------------------------------------------------------

create function security.mark(p_what text)
returns text
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select format('%s of database %s', p_what, current_database())
$func$;

comment on function security.mark(text) is
    'The comment on a login that was made for this database: bot 7, an admin, a worker. A role
without it, or with another one, is none of ours, whatever its name.';

create function security.made()
returns table (role oid, kind text)
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select d.objoid, k.kind
from pg_shdescription as d
cross join lateral (
    select substring(d.description from '^(bot [1-9][0-9]*|admin|worker) of database ')
) as k (kind)
where d.classoid = 'pg_authid'::regclass and d.description = k.kind || security.mark('')
$func$;

comment on function security.made() is
    'The logins that were made for this database: (role, kind: bot 7, admin or worker).';

create function security.kind(p_role oid)
returns text
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select kind from security.made() where role = p_role
$func$;

comment on function security.kind(oid) is
    'What a login was made as for this database: bot 7, admin or worker; null if it was not.';

create function security.require_verifier(p_verifier text)
returns void
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
begin
    if p_verifier !~ ('^SCRAM-SHA-256\$[1-9][0-9]{3,9}:[A-Za-z0-9+/]+=*'
                      '\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=$') then
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
volatile
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

create function security.equip_login(p_login text, p_what text, p_verifier text)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
begin
    execute format('comment on role %I is %L', p_login, security.mark(p_what));
    perform security.await_turn();
    execute format('grant connect on database %I to %I', current_database(), p_login);
    if p_verifier is not null then
        perform security.set_password(p_login, p_verifier);
    end if;
    perform security.tell('role_made', jsonb_build_object('role', p_login, 'as', p_what),
                          substring(p_what from '^bot (.*)')::bigint);
end
$func$;

comment on function security.equip_login(text, text, text) is
    'Marks a new login, lets it connect to this database, and gives it its password.';

create function security.set_password(p_login text, p_verifier text)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
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

create function security.create_bot(p_name text, p_verifier text default null)
returns bigint
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_bot_id  bigint;
    v_login   text;
begin
    perform security.require_verifier(p_verifier);
    if p_name is null or p_name <> btrim(p_name) or length(p_name) not between 1 and 100
       or p_name ~ '[[:cntrl:]]' then
        raise exception using
            errcode = 'MB104',
            message = format('no bot can be named %s', quote_nullable(p_name)),
            hint    = 'Take 1 to 100 characters, no blank at either end, no control character.';
    end if;
    loop  -- to an id whose login no database of the cluster has; none is taken over
        v_bot_id := nextval(pg_get_serial_sequence('core.bots', 'bot_id'));
        v_login := 'bot_' || v_bot_id;
        continue when to_regrole(v_login) is not null;
        begin
            execute format('create role %I login connection limit 20 in role app_bot', v_login);
            exit;
        exception when duplicate_object or unique_violation then
            null;  -- a sister database was faster
        end;
    end loop;
    perform core.ensure_leaves(v_bot_id);  -- a trigger can't make a leaf of its own table
    insert into core.bots (bot_id, name) overriding system value values (v_bot_id, p_name);
    execute format('alter role %I set statement_timeout = ''30s''', v_login);
    execute format('alter role %I set idle_in_transaction_session_timeout = ''60s''', v_login);
    perform security.equip_login(v_login, 'bot ' || v_bot_id, p_verifier);
    return v_bot_id;
end
$func$;

comment on function security.create_bot(text, text) is
    'Makes a bot and its login bot_<id>; returns bot_id. At most 20 connections, 30 s a statement,
60 s idle in a transaction (alter role changes these). Without a SCRAM verifier the login has no
password yet. MB005: the name is taken; MB102: no verifier; MB104: an impossible name.';

create function security.require_bot(p_bot_id bigint)
returns text
language plpgsql
stable
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
    if security.kind(to_regrole(v_login)) is distinct from 'bot ' || p_bot_id then
        raise exception using
            errcode = 'MB105',
            message = format('bot %s has no login of this database', p_bot_id),
            detail  = format('Role %s: %s.', v_login, case when to_regrole(v_login) is null
                             then 'not there' else 'without this database''s mark' end),
            hint    = 'See security.check(); the rows are there, the login is not.';
    end if;
    return v_login;
end
$func$;

comment on function security.require_bot(bigint) is
    'The login of a bot. MB003: there is no such bot; MB105: it has no login that we made.';

create function security.rotate_bot_password(p_bot_id bigint, p_verifier text)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    perform security.require_verifier(coalesce(p_verifier, ''));
    perform security.set_password(security.require_bot(p_bot_id), p_verifier);
    perform security.tell('password_set', jsonb_build_object('role', 'bot_' || p_bot_id), p_bot_id);
end
$func$;

comment on function security.rotate_bot_password(bigint, text) is
    'Gives a bot another password (a SCRAM verifier); connections that are open stay. MB003, MB102,
MB105.';

create function security.end_connections(p_login text)
returns void
language plpgsql
volatile
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
volatile
set search_path = pg_catalog, pg_temp
as $func$
begin
    perform security.end_connections(p_login);
    perform security.await_turn();
    execute format('revoke connect on database %I from %I', current_database(), p_login);
    -- a large object or default privileges of its own, which any login may make, would keep it
    execute format('drop owned by %I', p_login);
    execute format('drop role %I', p_login);
    perform security.tell('role_dropped', jsonb_build_object('role', p_login),
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
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_holds  regproc;
    v_found  boolean := exists (select from core.girls_profiles where bot_id = p_bot_id)
                     or exists (select from core.bot_metrics where bot_id = p_bot_id);
begin
    for v_holds in
        select k.holds::regprocedure::oid::regproc from security.keeper as k order by k.holds
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
volatile
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
        select k.discard::regprocedure::oid::regproc from security.keeper as k order by k.holds
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
volatile
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
    delete from core.bots where bot_id = p_bot_id;
    perform security.drop_role(v_login);
end
$func$;

comment on function security.drop_bot(bigint, boolean) is
    'Drops a bot and its login and ends its connections; with p_discard its contacts, conversations,
messages and metrics too, and what an import kept of them. Its id is not used again. MB003, MB105;
MB106: it has rows.';

create function security.create_login(p_name text, p_what text, p_verifier text)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
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
    if to_regrole(p_name) is not null then
        raise exception using
            errcode = 'MB103',
            message = format('role %s is there already', p_name),
            hint    = 'Choose another name: a role that is there is never taken over.';
    end if;
    execute format('create role %I login', p_name);
    perform security.equip_login(p_name, p_what, p_verifier);
end
$func$;

comment on function security.create_login(text, text, text) is
    'Makes a login for this database, a member of nothing. MB102, MB103, MB104.';

create function security.create_admin(
    p_name      text,
    p_verifier  text     default null,
    p_is_super  boolean  default false
)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_level  text := case when p_is_super then 'app_super_admin' else 'app_admin' end;
begin
    perform security.create_login(p_name, 'admin', p_verifier);
    execute format('grant %I to %I', v_level, p_name);
    perform security.tell('role_granted', jsonb_build_object('role', v_level, 'to', p_name));
end
$func$;

comment on function security.create_admin(text, text, boolean) is
    'Makes a login for a person: an admin, who sees and may become the bots granted to them, or a
super_admin. MB102, MB103, MB104.';

create function security.create_worker(
    p_name      text,
    p_bots      bigint[],
    p_verifier  text      default null
)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    perform security.create_login(p_name, 'worker', p_verifier);
    execute format('alter role %I noinherit', p_name);
    perform security.grant_bot(b, p_name) from unnest(p_bots) as b;
end
$func$;

comment on function security.create_worker(text, bigint[], text) is
    'Makes a login for a pooled process: by itself it may do nothing, with SET ROLE bot_<id> what
that bot may. MB003, MB102 to MB105.';

create function security.require_login(p_name text)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $func$
begin
    if security.kind(to_regrole(quote_ident(p_name))) in ('admin', 'worker') then
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
volatile
set search_path = pg_catalog, pg_temp
as $func$
begin
    execute format('grant %I to %I', security.require_bot(p_bot_id), p_name)
            -- what the bot may do, only after SET ROLE
            || case when current_setting('server_version_num')::integer >= 160000
                    then ' with inherit false, set true' else '' end;
    perform security.tell('role_granted',
                          jsonb_build_object('role', 'bot_' || p_bot_id, 'to', p_name), p_bot_id);
end
$func$;

comment on function security.grant_bot(bigint, text) is 'Lets a login SET ROLE to a bot.';

create function security.grant_bot_to_admin(p_bot_id bigint, p_name text)
returns void
language plpgsql
volatile
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
    'Lets an admin (or a worker) see what is kept about a bot, and SET ROLE to it. MB003, MB105.';

create function security.revoke_bot_from_admin(p_bot_id bigint, p_name text)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_login  text := security.require_bot(p_bot_id);
begin
    perform security.require_login(p_name);
    execute format('revoke %I from %I', v_login, p_name);
    -- what another one granted (16 and newer) a revoke leaves, with a warning
    if exists (
        select
        from pg_auth_members
        where roleid = v_login::regrole and member = p_name::regrole) then
        raise exception using
            errcode = 'MB101',
            message = format('%s stays a member of %s, by another''s grant', p_name, v_login),
            hint    = format('As a superuser: revoke %I from %I granted by <who \drg names>.',
                             v_login, p_name);
    end if;
    perform security.tell('role_revoked', jsonb_build_object('role', v_login, 'from', p_name),
                          p_bot_id);
end
$func$;

comment on function security.revoke_bot_from_admin(bigint, text) is
    'Takes a bot from an admin or a worker; a session that has become the bot keeps it until RESET
ROLE. MB003, MB105; MB101: another one granted it.';

create function security.drop_login(p_name text)
returns void
language plpgsql
volatile
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
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_logins  name[] := array(
        select r.rolname
        from security.made() as m
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

-- Tokens ----------------------------------------------------------------------

create table security.bot_token (
    bot_id      bigint       not null,
    token       text         not null,
    created_at  timestamptz  not null default now(),
    updated_at  timestamptz  not null default now(),

    constraint bot_token_pk primary key (bot_id)
);

comment on table security.bot_token is
    'What a bot shows its messenger. Nobody reads it but the bot, its own, by get_bot_token(). No
constraint on the token: its error would show the row.';
comment on column security.bot_token.token is 'In clear: the messenger wants it so.';
comment on column security.bot_token.created_at is 'When the bot first got one.';
comment on column security.bot_token.updated_at is 'When it got this one.';

create function security.set_bot_token(p_bot_id bigint, p_token text)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    perform security.require_bot(p_bot_id);
    -- a regular expression counts to 255 only
    if p_token is null or p_token !~ '^[!-~]+$' or length(p_token) > 1000 then
        raise exception using
            errcode = 'MB107',
            message = format('the token for bot %s is empty, too long or holds a blank '
                             '(it is not shown here)', p_bot_id),
            hint    = 'Pass it as the messenger gave it.';
    end if;
    insert into security.bot_token as t (bot_id, token)
    values (p_bot_id, p_token)
    on conflict (bot_id) do update set token = excluded.token, updated_at = now();
end
$func$;

comment on function security.set_bot_token(bigint, text) is
    'Gives a bot its token; no error shows it. MB003, MB105; MB107: it can''t be one.';

create function security.get_bot_token()
returns text
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_bot_id  bigint := substring(security.caller() from '^bot_([1-9][0-9]{0,17})$')::bigint;
begin
    if v_bot_id is null then
        raise exception using
            errcode = 'MB003',
            message = format('%s is no bot', security.caller()),
            hint    = 'Log in as the bot whose token you need.';
    end if;
    return (select token from security.bot_token where bot_id = v_bot_id);
end
$func$;

comment on function security.get_bot_token() is
    'The token of the bot that asks, null if none was set. MB003: the caller is no bot.';

create function security.list_bots()
returns table (bot_id bigint, name text, status text, login name, token_set_at timestamptz,
               connections bigint)
language sql
stable
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
language plpgsql
stable
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

-- The database ----------------------------------------------------------------

create table security.public_right (
    privilege  text  not null,

    constraint public_right_pk primary key (privilege)
);

comment on table security.public_right is
    'What PUBLIC might do with this database before: the rollback gives it back.';
comment on column security.public_right.privilege is 'CONNECT, TEMPORARY or CREATE.';

insert into security.public_right (privilege)
select a.privilege_type
from pg_database as d
cross join lateral aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) as a
where d.datname = current_database() and a.grantee = 0;

create function security.admit_logins()
returns integer
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_login  name;
    v_count  integer := 0;
begin
    perform security.await_turn();
    for v_login in
        select r.rolname
        from security.made() as m
        join pg_roles as r on r.oid = m.role
        left join core.bots as b on r.rolname = 'bot_' || b.bot_id
        where m.kind in ('admin', 'worker', 'bot ' || b.bot_id)
        order by r.rolname
    loop
        execute format('grant connect on database %I to %I', current_database(), v_login);
        v_count := v_count + 1;
    end loop;
    return v_count;
end
$func$;

comment on function security.admit_logins() is
    'Lets the logins that bear this database''s mark connect to it; returns how many they are.';

create function security.protect_database()
returns integer
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
begin
    perform security.await_turn();
    execute format('revoke all on database %I from public', current_database());
    execute format('grant connect on database %I to app_provisioner with grant option',
                   current_database());
    return security.admit_logins();
end
$func$;

comment on function security.protect_database() is
    'Leaves CONNECT to the logins that were made for this database, and temporary tables to nobody.
A dump holds no rights on the database and a clone does not get them: call it after either, as the
owner. Returns how many logins were let in again.';

-- The tables of core: who may do what --------------------------------------------

do $protect$
declare
    v_table  regclass;
begin
    for v_table in select core.bot_tables() loop
        perform security.protect(v_table);
        perform security.admit_bots(v_table);
        perform security.admit(v_table, r, 'select')
        from unnest(array['app_super_admin', 'app_backup']) as r;
        perform security.admit(v_table, 'app_provisioner', 'all');
        execute format('grant select on %s to app_bot, app_backup, app_provisioner', v_table);
        execute format('grant delete, update (updated_at) on %s to app_provisioner', v_table);
    end loop;
    perform security.admit_admins(t) from unnest(array['core.bots', 'core.bot_metrics']) as t;
    perform security.protect(t) from unnest(array['core.bot_names', 'core.stale_days']) as t;
    perform security.admit('core.bot_names', r, 'select')
    from unnest(array['app_super_admin', 'app_backup']) as r;
    perform security.admit('core.stale_days', 'app_backup', 'select');
    perform security.protect('security.bot_token');
    perform security.admit('security.bot_token', 'app_provisioner', 'all');
end
$protect$;

grant usage on schema core to app_base, app_upkeep, app_backup, app_provisioner;
grant usage on schema core_partitions to app_backup;
grant usage on schema security to app_bot, app_owner;
grant select on core.error_code to app_bot, app_backup;
grant select on core.bot_names to app_super_admin, app_backup;
grant select on core.leaf_hook, core.stale_days to app_backup;

-- By column: no id, no counter, no bot_id of an existing row, no delete.
grant insert (bot_id, telegram_id, chat_id, last_activity, name, previous_response_id, summary,
              profile, extra),
      update (chat_id, last_activity, name, previous_response_id, summary, profile, extra)
    on core.girls_profiles to app_bot;
grant insert (bot_id, profile_id, chat_id, started_at, metadata),
      update (chat_id, metadata)
    on core.conversations to app_bot;
grant insert (bot_id, conversation_id, sent_at, direction, body, metadata),
      update (body, metadata)
    on core.messages to app_bot;

grant execute on function
    core.current_bot_id(),
    core.record_message(bigint, text, text, timestamptz, text, bigint),
    core.check_message(bigint, text, text, timestamptz),
    core.ensure_contact(bigint, bigint, text),
    core.ensure_conversation(bigint, bigint, text),
    security.policy_bot_id(),
    security.policy_user(),
    security.get_bot_token()
to app_bot;
-- own_rows is asked for everybody who reads: whoever is no bot gets nothing by it.
grant execute on function security.policy_bot_id(), security.policy_user()
to app_backup, app_owner, app_upkeep;

-- What the triggers keep: for every bot, by column.
do $upkeep$
begin
    perform security.admit(t, 'app_upkeep', c)
    from (values ('core.bots', 'select'), ('core.messages', 'select'),
                 ('core.conversations', 'select'), ('core.conversations', 'update'),
                 ('core.bot_names', 'all'), ('core.stale_days', 'insert')) as u (t, c);
end
$upkeep$;

grant select (bot_id, name) on core.bots to app_upkeep;
grant select (bot_id, conversation_id, sent_at) on core.messages to app_upkeep;
grant select (bot_id, conversation_id, started_at, last_message_at, message_count),
      update (started_at, last_message_at, message_count)
    on core.conversations to app_upkeep;
grant select, insert, delete on core.bot_names to app_upkeep;
grant insert on core.stale_days to app_upkeep;
grant execute on function core.days_of(timestamptz[]) to app_upkeep;

grant insert (bot_id, name) on core.bots to app_provisioner;
grant usage on sequence core.bots_bot_id_seq to app_provisioner;
grant execute on function core.ensure_leaves(bigint) to app_provisioner;

-- The check -------------------------------------------------------------------

create function security.roles()
returns table (role oid, rolname name, kind text)
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select r.oid, r.rolname, k.kind
from (values
    ('app_base', 'level'), ('app_bot', 'level'), ('app_admin', 'level'),
    ('app_super_admin', 'level'), ('app_backup', 'reader'),
    ('app_owner', 'owner'), ('app_upkeep', 'owner'), ('app_provisioner', 'owner'),
    ('app_importer', 'owner'), ('app_auditor', 'owner'), ('app_maintainer', 'owner')
) as k (rolname, kind)
join pg_roles as r on r.rolname = k.rolname
$func$;

comment on function security.roles() is
    'The roles that are ours: (role, rolname, kind: level, reader or owner). Nobody logs in as
one.';

create function security.rooms()
returns table (room name, owner name)
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select n.nspname, r.rolname
from pg_namespace as n
join pg_roles as r on r.oid = n.nspowner
where r.oid in (select role from security.roles() where kind = 'owner')
   or n.nspname in ('core', 'core_partitions', 'core_upkeep', 'security')
$func$;

comment on function security.rooms() is 'The schemas that are ours, and who owns each.';

create function security.check_roles()
returns table (check_name text, ok boolean, severity text, detail text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
with role as (
    select r.*, r.oid = d.datdba as is_owner, m.kind as made_as,
           has_database_privilege(r.oid, d.oid, 'connect') as may_connect
    from pg_roles as r
    join pg_database as d on d.datname = current_database()
    left join security.made() as m on m.role = r.oid
)
select 'no role but a superuser bypasses row level security', count(*) = 0, 'critical',
       string_agg(rolname, ', ')
from role where rolbypassrls and not rolsuper
union all
select 'nobody who can connect makes roles, but the provisioner and the database''s owner',
       count(*) = 0, 'critical', string_agg(rolname, ', ')
from role
where rolcreaterole and may_connect and not is_owner and not rolsuper
  and rolname <> 'app_provisioner'
union all
select 'nobody else in the cluster makes roles', count(*) = 0, 'notice',
       string_agg(rolname, ', ')
       || case when current_setting('server_version_num')::integer < 160000
               then ': before 16, CREATEROLE may grant itself any role but a superuser''s'
               else ': roles that they made, and no others' end
from role
where rolcreaterole and (is_owner or not may_connect) and not rolsuper
  and rolname <> 'app_provisioner'
union all
select 'the roles of ours can''t log in and have no power beyond their grants', count(*) = 0,
       'critical', string_agg(r.rolname, ', ')
from role as r
join security.roles() as o on o.role = r.oid
where rolcanlogin or rolsuper or rolbypassrls or rolreplication or rolcreatedb
   or rolcreaterole <> (r.rolname = 'app_provisioner')
union all
select 'every login made here is plain', count(*) = 0, 'critical', string_agg(rolname, ', ')
from role
where made_as is not null and (
    rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls or is_owner)
union all
select 'no level and no login made here may set what is a superuser''s to set', count(*) = 0,
       'critical', string_agg(format('%s: %s', p.parname, a.grantee::regrole), ', ')
from pg_parameter_acl as p
cross join lateral aclexplode(p.paracl) as a
where a.grantee = 0 or a.grantee in (
    select role from security.made()
    union all
    select role from security.roles() where kind <> 'owner')
$func$;

comment on function security.check_roles() is 'The part of security.check() about roles.';

create function security.check_members()
returns table (check_name text, ok boolean, severity text, detail text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
with made as (
    select r.oid, r.rolname, r.rolinherit, m.kind
    from security.made() as m
    join pg_roles as r on r.oid = m.role
), member as (
    select m.roleid, m.member, m.admin_option, p.rolname as role, b.kind as role_kind,
           coalesce(a.kind, '') as kind, o.kind as own_kind,
           format('%s of %s', m.member::regrole, m.roleid::regrole) as shown
    from pg_auth_members as m
    join pg_roles as p on p.oid = m.roleid
    left join made as b on b.oid = m.roleid
    left join made as a on a.oid = m.member
    left join security.roles() as o on o.role = m.member
)
select 'a bot is a member of app_bot and of nothing else', count(*) = 0, 'critical',
       string_agg(u.shown, ', ')
from (
    select shown from member where kind ~ '^bot ' and role <> 'app_bot'
    union all
    select rolname || ' of nothing'
    from made where kind ~ '^bot ' and oid not in (select member from member where role = 'app_bot')
) as u (shown)
union all
select 'an admin is a member of a level and of bots made here, a worker of bots', count(*) = 0,
       'critical', string_agg(shown, ', ')
from member
where kind in ('admin', 'worker') and coalesce(role_kind !~ '^bot ', true)
  and not (kind = 'admin' and role in ('app_admin', 'app_super_admin'))
union all
select 'only admins and workers made here may become a bot', count(*) = 0, 'critical',
       string_agg(shown, ', ')
from member
where role_kind ~ '^bot ' and kind not in ('admin', 'worker')
  and member <> 'app_provisioner'::regrole
union all
select 'nobody may become an admin or a worker', count(*) = 0, 'critical', string_agg(shown, ', ')
from member where role_kind in ('admin', 'worker') and member <> 'app_provisioner'::regrole
union all
select 'a worker may do nothing before SET ROLE', count(*) = 0, 'critical',
       string_agg(w.rolname, ', ')
from made as w
where w.kind = 'worker' and (w.rolinherit or exists (
    select from member where member = w.oid and pg_has_role(w.oid, roleid, 'usage')))
union all
select 'no level and no login made here hands out a role', count(*) = 0, 'critical',
       string_agg(shown, ', ')
from member where admin_option and (kind <> '' or own_kind <> 'owner')
$func$;

comment on function security.check_members() is
    'The part of security.check() about who is a member of what.';

create function security.check_strangers()
returns table (check_name text, ok boolean, severity text, detail text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
with stranger as (
    select format('%s of %s', r.rolname, o.rolname) as shown, o.kind
    from pg_auth_members as m
    join pg_roles as r on r.oid = m.member
    join security.roles() as o on o.role = m.roleid
    where not r.rolsuper and r.oid not in (
        select role from security.roles() union all select role from security.made())
      and r.oid <> (select datdba from pg_database where datname = current_database())
      and has_database_privilege(r.oid, current_database(), 'connect')
)
select 'nobody who can connect acts for an owner of ours, but the database''s owner', count(*) = 0,
       'critical', string_agg(shown, ', ')
from stranger where kind = 'owner'
union all
select 'every login with a level, or that backs up, was made here', count(*) = 0, 'notice',
       string_agg(shown, ', ')
from stranger where kind <> 'owner'
union all
select 'no function elsewhere runs as a superuser, or as a role of ours, for a level', count(*) = 0,
       'notice', string_agg(p.oid::regprocedure::text, ', ')
from pg_proc as p
join pg_roles as r on r.oid = p.proowner
join pg_namespace as n on n.oid = p.pronamespace
where p.prosecdef and n.nspname not in (
          select room from security.rooms() union all values ('pg_catalog'), ('information_schema'))
  and (r.rolsuper or r.rolbypassrls or r.oid in (select role from security.roles()))
  and has_function_privilege('app_super_admin', p.oid, 'execute')
union all
-- it would see rows before the policy hides them
select 'no function but the server''s is declared leakproof', count(*) = 0, 'notice',
       string_agg(oid::regprocedure::text, ', ')
from pg_proc where proleakproof and pronamespace <> 'pg_catalog'::regnamespace
$func$;

comment on function security.check_strangers() is
    'The part of security.check() about what others made in the cluster and in this database.';

create function security.check_logins()
returns table (check_name text, ok boolean, severity text, detail text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
with login as (
    select r.rolname, r.oid, shobj_description(r.oid, 'pg_authid') as mark,
           m.kind, 'bot_' || b.bot_id as expected,
           coalesce(m.kind = 'bot ' || b.bot_id, false) as is_marked
    from pg_roles as r
    full join core.bots as b on r.rolname = 'bot_' || b.bot_id
    left join security.made() as m on m.role = r.oid
), granted as (
    select a.grantee, a.privilege_type, a.is_grantable, a.grantee = r.oid as to_provisioner,
           coalesce(g.rolcanlogin, false) as is_login
    from pg_database as d
    cross join lateral aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) as a
    join pg_roles as r on r.rolname = 'app_provisioner'
    left join pg_roles as g on g.oid = a.grantee
    where d.datname = current_database() and a.grantee <> d.datdba
)
-- one that can't connect is another database's affair
select 'every bot''s login bears the mark of this database and this bot', count(*) = 0, 'critical',
       string_agg(format('%s: %s', rolname, coalesce(mark, 'no mark')), ', ')
from login
where rolname ~ '^bot_[1-9][0-9]*$' and not is_marked
  and has_database_privilege(oid, current_database(), 'connect')
union all
select 'no login is left over from an earlier database of this name', count(*) = 0, 'notice',
       string_agg(format('%s (%s): drop role %1$I', rolname, mark), ', ')
from login where kind ~ '^bot ' and not is_marked
union all
select 'every bot has a login', count(*) = 0, 'notice', string_agg(expected, ', ')
from login where expected is not null and not is_marked
union all
select 'nobody gets anything on the database by being public', count(*) = 0, 'critical',
       string_agg(privilege_type, ', ')
from granted where grantee = 0
union all
select 'CONNECT is each login''s own, and only the provisioner hands it on', count(*) = 0,
       'critical', string_agg(format('%s to %s', privilege_type, grantee::regrole), ', ')
from granted
where grantee <> 0 and not (
    privilege_type = 'CONNECT' and (to_provisioner or is_login and not is_grantable))
union all
select 'no bot, admin or worker may make a schema, or anything in one, or a temporary table',
       count(*) = 0, 'critical', string_agg(rolname, ', ')
from login
where kind is not null
  and (has_database_privilege(oid, current_database(), 'temporary')
       or has_database_privilege(oid, current_database(), 'create')
       or exists (
           select from pg_namespace as n where has_schema_privilege(login.oid, n.oid, 'create')))
$func$;

comment on function security.check_logins() is
    'The part of security.check() about logins and the rights on the database.';

create function security.check_tables()
returns table (check_name text, ok boolean, severity text, detail text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
with kept as (
    select c.oid, c.relrowsecurity, c.relforcerowsecurity, c.relispartition, b.attnum
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    join security.rooms() as r on r.room = n.nspname
    join pg_attribute as b on b.attrelid = c.oid and b.attname = 'bot_id' and not b.attisdropped
    where c.relkind in ('r', 'p')
)
select 'a table with bot_id has row level security forced on its owner, too', count(*) = 0,
       'critical', string_agg(oid::regclass::text, ', ' order by oid::regclass::text)
from kept where not relispartition and not (relrowsecurity and relforcerowsecurity)
union all
select 'a leaf has row level security, not forced', count(*) = 0, 'critical',
       string_agg(oid::regclass::text, ', ' order by oid::regclass::text)
from kept where relispartition and (not relrowsecurity or relforcerowsecurity)
union all
select 'TRUNCATE and a new bot_id are refused, in replica mode too', count(*) = 0, 'critical',
       string_agg(format('%s on %s', e.tgname, k.oid::regclass), ', ')
from kept as k
-- 34: before truncate, for the statement; 18: before update, for the statement
join (values ('refuse_truncate', 34, true), ('refuse_new_bot_id', 18, false)
     ) as e (tgname, tgtype, on_leaves) on e.on_leaves or not k.relispartition
where not exists (
    select from pg_trigger as t
    where t.tgrelid = k.oid and t.tgname = e.tgname and t.tgtype = e.tgtype and t.tgenabled = 'A'
      and t.tgfoid = 'security.refuse_write()'::regprocedure and t.tgqual is null
      and t.tgattr::text = case when e.on_leaves then '' else k.attnum::text end)
union all
select 'no rule diverts what is written', count(*) = 0, 'critical',
       string_agg(format('%s on %s', w.rulename, k.oid::regclass), ', ')
from kept as k
join pg_rewrite as w on w.ev_class = k.oid
union all
select 'nobody has a right on a leaf, but app_backup to read', count(*) = 0, 'critical',
       string_agg(format('%s on %s to %s', a.privilege_type, k.oid::regclass,
                         a.grantee::regrole), ', ')
from kept as k
join pg_class as c on c.oid = k.oid
cross join lateral (
    select * from aclexplode(c.relacl)
    union all
    select x.* from pg_attribute as t cross join lateral aclexplode(t.attacl) as x
    where t.attrelid = k.oid) as a
where k.relispartition and a.grantee <> c.relowner
  and not (a.grantee = 'app_backup'::regrole and a.privilege_type = 'SELECT')
$func$;

comment on function security.check_tables() is
    'The part of security.check() about tables, leaves and their guards.';

create function security.check_pair()
returns table (check_name text, ok boolean, severity text, detail text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select 'the immutable pair is what it was', count(*) = 0, 'critical', string_agg(e.name, ', ')
from (values
    ('security.policy_bot_id()', 'begin return substring(current_user::text from '
                                 '''^bot_([1-9][0-9]{0,17})$'')::bigint; end'),
    ('security.policy_user()', 'begin return current_user; end')
) as e (name, body)
where not exists (
    select
    from pg_proc as p
    where p.oid = to_regprocedure(e.name)
      and p.provolatile = 'i' and p.proparallel = 's' and not p.prosecdef and not p.proisstrict
      and p.proconfig = array['search_path=pg_catalog, pg_temp']
      and btrim(regexp_replace(p.prosrc, '\s+', ' ', 'g')) = e.body)
$func$;

comment on function security.check_pair() is
    'The part of security.check() about the two functions that every policy of a bot calls.';

create function security.check_policies()
returns table (check_name text, ok boolean, severity text, detail text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
with policy as (
    select p.polrelid, p.polname, p.polcmd, p.polpermissive, c.relispartition,
           coalesce(r.rolname, 'public') as role, coalesce(o.kind, '') as kind,
           pg_get_expr(p.polqual, p.polrelid) as qual,
           pg_get_expr(p.polwithcheck, p.polrelid) as with_check
    from pg_policy as p
    join pg_class as c on c.oid = p.polrelid
    join pg_namespace as n on n.oid = c.relnamespace
    join security.rooms() as w on w.room = n.nspname
    cross join lateral unnest(p.polroles) as g (grantee)
    left join pg_roles as r on r.oid = g.grantee
    left join security.roles() as o on o.role = g.grantee
)
select 'every policy says what its role may have it say', count(*) = 0, 'critical',
       string_agg(format('%s on %s to %s', polname, polrelid::regclass, role), ', ')
from policy
where not polpermissive or not case
    when relispartition then role = 'app_backup' and polcmd = 'r' and qual = 'true'
    when role = 'public' then
        polcmd = '*' and with_check is null and qual = '((bot_id = security.policy_bot_id()) AND '
            '(CURRENT_USER = security.policy_user()))'
    when role = 'app_admin' then
        polcmd = 'r' and qual = 'pg_has_role((to_regrole((''bot_''::text || bot_id)))::oid, '
            '''member''::text)'
    when role in ('app_super_admin', 'app_backup') then polcmd = 'r' and qual = 'true'
    -- app_owner is let in nowhere: what it runs for others fails closed
    when kind = 'owner' and role <> 'app_owner' then
        coalesce(qual, 'true') = 'true' and coalesce(with_check, 'true') = 'true'
    else false
end
union all
select 'the immutable pair is used in policies only', count(*) = 0, 'critical',
       string_agg(u.place, ', ')
from (
    select pg_describe_object(d.classid, d.objid, d.objsubid)
    from pg_depend as d
    where d.refclassid = 'pg_proc'::regclass and d.classid <> 'pg_policy'::regclass
      and d.refobjid in ('security.policy_bot_id()'::regprocedure,
                         'security.policy_user()'::regprocedure)
    union all
    select p.oid::regprocedure::text
    from pg_proc as p
    where p.prosrc ~ 'policy_(bot_id|user)\M'
      and p.oid not in ('security.admit_bots(regclass)'::regprocedure,
                        'security.check_policies()'::regprocedure,
                        'security.check_pair()'::regprocedure)
) as u (place)
$func$;

comment on function security.check_policies() is 'The part of security.check() about policies.';

create function security.check_routines()
returns table (check_name text, ok boolean, severity text, detail text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
with routine as (
    select p.oid, p.oid::regprocedure::text as shown, p.proowner, p.prosecdef, p.proconfig,
           coalesce(p.proacl, acldefault('f', p.proowner)) as acl
    from pg_proc as p
    join pg_namespace as n on n.oid = p.pronamespace
    join security.rooms() as r on r.room = n.nspname
)
select 'no function of ours can be executed by everybody', count(*) = 0, 'critical',
       string_agg(r.shown, ', ')
from routine as r
cross join lateral aclexplode(r.acl) as a
where a.grantee = 0
union all
select 'rights on functions are those of the roles, and of nobody else', count(*) = 0, 'critical',
       string_agg(format('%s to %s', r.shown, a.grantee::regrole), ', ')
from routine as r
cross join lateral aclexplode(r.acl) as a
where a.grantee not in (0, r.proowner)
  and (a.is_grantable or a.grantee not in (select role from security.roles()))
union all
select 'every function of ours pins its search path', count(*) = 0, 'critical',
       string_agg(shown, ', ')
from routine
where not coalesce('search_path=pg_catalog, pg_temp' = any (proconfig), false)
  and shown <> 'performance.maintain()'  -- it commits, which a routine with settings can't
union all
select 'every definer runs with row level security on', count(*) = 0, 'critical',
       string_agg(shown, ', ')
from routine
where prosecdef and not coalesce('row_security=on' = any (proconfig), false)
union all
select 'no definer is a superuser or a login', count(*) = 0, 'critical', string_agg(r.shown, ', ')
from routine as r
join pg_roles as o on o.oid = r.proowner
where r.prosecdef and (o.rolsuper or o.rolcanlogin)
union all
select 'triggers rest for the import only', count(*) = 0, 'critical', string_agg(shown, ', ')
from routine
where array_to_string(proconfig, ',') ~* 'session_replication_role'
  and shown !~ '^json_import\.load_conversations\('
$func$;

comment on function security.check_routines() is
    'The part of security.check() about functions.';

create function security.check_owners()
returns table (check_name text, ok boolean, severity text, detail text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
with relation as (
    select c.oid, c.relkind, c.relowner, c.relacl, c.reloptions, n.nspowner,
           r.room is not null as is_ours
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    left join security.rooms() as r on r.room = n.nspname
)
select 'each schema has its owner', count(*) = 0, 'critical',
       string_agg(format('%s: %s', e.room, coalesce(r.owner, 'nobody')), ', ')
from (values ('core', 'app_owner'), ('core_partitions', 'app_owner'),
             ('core_upkeep', 'app_upkeep'), ('security', 'app_provisioner')) as e (room, owner)
left join security.rooms() as r on r.room = e.room
where r.owner is distinct from e.owner
union all
select 'everything in a schema is its owner''s', count(*) = 0, 'critical',
       string_agg(u.object, ', ')
from (
    select oid::regclass::text from relation where is_ours and relowner <> nspowner
    union all
    select p.oid::regprocedure::text
    from pg_proc as p
    join pg_namespace as n on n.oid = p.pronamespace
    join security.rooms() as r on r.room = n.nspname
    where p.proowner <> n.nspowner
) as u (object)
union all
select 'views see with the eyes of whoever reads them', count(*) = 0, 'critical',
       string_agg(v.oid::regclass::text, ', ')
from relation as v
where v.relkind in ('v', 'm')
  and not coalesce(v.reloptions && array['security_invoker=true', 'security_invoker=on'], false)
  -- somebody's view of our tables, elsewhere, as soon as others may read it
  and (v.is_ours or exists (select from aclexplode(v.relacl) where grantee <> v.relowner)
       and exists (
           select
           from pg_rewrite as w
           join pg_depend as d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid
           join relation as t on t.oid = d.refobjid and d.refclassid = 'pg_class'::regclass
           where w.ev_class = v.oid and t.is_ours))
union all
select 'what is made later is nobody else''s', count(*) = 0, 'critical',
       string_agg(o.rolname, ', ')
from security.roles() as o
where o.kind = 'owner' and o.rolname in (select owner from security.rooms()) and (
    not exists (
        select from pg_default_acl
        where defaclrole = o.role and defaclnamespace = 0 and defaclobjtype = 'f')
    or exists (
        select from pg_default_acl as d cross join lateral aclexplode(d.defaclacl) as a
        where d.defaclrole = o.role and a.grantee <> o.role))
$func$;

comment on function security.check_owners() is
    'The part of security.check() about owners, and views, which see what their owner sees.';

create function security.check_grants()
returns table (check_name text, ok boolean, severity text, detail text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
with granted as (
    select c.oid::regclass as relation, c.relkind = 'S' as is_sequence, t.attname as column_name,
           a.privilege_type, a.is_grantable, a.grantee, o.rolname, coalesce(o.kind, '') as kind,
           format('%s on %s to %s', a.privilege_type, c.oid::regclass, a.grantee::regrole) as shown
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    join security.rooms() as r on r.room = n.nspname
    cross join lateral (
        select null::name, c.relacl
        union all
        select attname, attacl from pg_attribute where attrelid = c.oid) as t (attname, acl)
    cross join lateral aclexplode(t.acl) as a
    left join security.roles() as o on o.role = a.grantee
    where a.grantee <> c.relowner
)
select 'rights on tables are those of the roles, and of nobody else', count(*) = 0, 'critical',
       string_agg(shown, ', ')
from granted where kind = '' or is_grantable
union all
select 'no level may delete, truncate, refer to or watch a table, or use a sequence', count(*) = 0,
       'critical', string_agg(shown, ', ')
from granted
where kind in ('level', 'reader') and privilege_type <> 'SELECT'
      and not (rolname = 'app_bot' and privilege_type in ('INSERT', 'UPDATE')
               and column_name is not null)
   or kind = 'level' and is_sequence
union all
select 'no bot writes an id, a counter, or the bot of a row that is there', count(*) = 0,
       'critical', string_agg(format('%s of %s.%s', privilege_type, relation, column_name), ', ')
from granted
where kind = 'level'
  and (privilege_type = 'UPDATE' and column_name in (
           'bot_id', 'profile_id', 'conversation_id', 'message_id', 'message_count',
           'last_message_at', 'started_at', 'created_at', 'updated_at', 'source_file_id')
       or privilege_type = 'INSERT' and column_name in (
           'message_id', 'message_count', 'last_message_at', 'created_at', 'updated_at',
           'source_file_id'))
union all
select 'nobody has a right on the tokens', count(*) = 0, 'critical', string_agg(shown, ', ')
from granted where relation = 'security.bot_token'::regclass
union all
select 'nobody enters core_partitions, but app_backup', count(*) = 0, 'critical',
       string_agg(format('%s to %s', a.privilege_type, a.grantee::regrole), ', ')
from pg_namespace as n
cross join lateral aclexplode(n.nspacl) as a
where n.nspname = 'core_partitions' and a.grantee <> n.nspowner
  and not (a.grantee = 'app_backup'::regrole and a.privilege_type = 'USAGE')
$func$;

comment on function security.check_grants() is
    'The part of security.check() about rights on tables and columns.';

create function security.check_entries()
returns table (check_name text, ok boolean, severity text, detail text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select 'a schema of ours lets roles of ours in, and nobody make things there', count(*) = 0,
       'critical', string_agg(format('%s on %s to %s', a.privilege_type, n.nspname,
                                     a.grantee::regrole), ', ')
from pg_namespace as n
join security.rooms() as r on r.room = n.nspname
cross join lateral aclexplode(n.nspacl) as a
where a.grantee <> n.nspowner
  and (a.privilege_type <> 'USAGE' or a.is_grantable
       or a.grantee not in (select role from security.roles()))
union all
select 'no level and no login made here has a right on what the server keeps to itself',
       count(*) = 0, 'critical',
       string_agg(format('%s on %s to %s', a.privilege_type,
                         pg_describe_object(u.class, u.object, u.part), a.grantee::regrole), ', ')
from (
    select 'pg_class'::regclass, oid, 0, relacl
    from pg_class where relnamespace = 'pg_catalog'::regnamespace
    union all
    select 'pg_class'::regclass, attrelid, attnum, attacl
    from pg_attribute
    where attacl is not null and attrelid in (
        select oid from pg_class where relnamespace = 'pg_catalog'::regnamespace)
    union all
    select 'pg_proc'::regclass, oid, 0, proacl
    from pg_proc where pronamespace = 'pg_catalog'::regnamespace
) as u (class, object, part, acl)
cross join lateral aclexplode(u.acl) as a
where a.grantee in (
    select role from security.roles() union all select role from security.made())
$func$;

comment on function security.check_entries() is
    'The part of security.check() about rights on schemas, and on the server''s own catalogs.';

create function security.check()
returns table (check_name text, ok boolean, severity text, detail text)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set jit = off
as $func$
select * from security.check_roles()
union all
select * from security.check_members()
union all
select * from security.check_strangers()
union all
select * from security.check_logins()
union all
select * from security.check_tables()
union all
select * from security.check_policies()
union all
select * from security.check_pair()
union all
select * from security.check_grants()
union all
select * from security.check_entries()
union all
select * from security.check_routines()
union all
select * from security.check_owners()
$func$;

comment on function security.check() is
    'Whether the rules of this schema hold, one row each: (check_name, ok, severity critical or
notice, detail: what breaks it). A notice names what only the cluster''s operator can change.';

-- Rights on what is in this schema, and owners -------------------------------------

revoke execute on all functions in schema security from public;

grant execute on function
    security.caller(), security.may_see(bigint), security.list_bots(), security.find_bot(text)
to app_admin, app_owner;
grant execute on function
    security.create_bot(text, text),
    security.drop_bot(bigint, boolean),
    security.rotate_bot_password(bigint, text),
    security.create_admin(text, text, boolean),
    security.create_worker(text, bigint[], text),
    security.drop_login(text),
    security.grant_bot_to_admin(bigint, text),
    security.revoke_bot_from_admin(bigint, text),
    security.set_bot_token(bigint, text),
    security.check()
to app_super_admin, app_owner;
grant execute on function security.drop_logins(), security.admit_logins() to app_owner;
grant execute on function
    security.refuse_write(), security.refuse_truncate(regclass),
    security.protect(regclass), security.protect_leaf(regclass),
    security.set_policy(regclass, text, text), security.admit(regclass, text, text),
    security.admit_bots(regclass)
to app_owner;
grant execute on function
    core_upkeep.claim_bot_name(), core_upkeep.count_new_messages(),
    core_upkeep.count_deleted_messages(), core_upkeep.count_moved_messages(),
    core_upkeep.note_started(), core_upkeep.misnamed_bots()
to app_owner;
grant usage on schema core_upkeep to app_owner;

insert into core.leaf_hook (hook) values ('security.protect_leaf(regclass)');

do $owners$
begin
    perform security.hand_over(s, 'app_owner') from unnest(array['core_partitions', 'core']) as s;
    perform security.hand_over('core_upkeep', 'app_upkeep');
    perform security.protect_database();
    perform security.hand_over('security', 'app_provisioner');
end
$owners$;
