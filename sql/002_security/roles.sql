-- Roles: the levels, the owners of the schemas, and what makes them.

-- Roles belong to the cluster, not to the database: a sister database may have made them.

create function security.ensure_role(p_role text, p_makes_roles boolean default false)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
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
            hint    = format(e'alter role %I nologin %screaterole; take the rest away (see \\du).',
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
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    if not exists (
        select
        from pg_auth_members
        where roleid = to_regrole(p_role) and member = to_regrole(p_member)
          and (admin_option or not p_may_grant)
          -- what another login granted goes with that login (16 and newer)
          and (grantor in (10, current_user::regrole)
               or current_setting('server_version_num')::integer < 160000
               or not pg_has_role(to_regrole(p_role), 'member with admin option'))) then
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
    'Makes a role a member of another one, unless it is by the caller''s own grant, or a
superuser''s, or the caller may not grant it. For migrations. MB101: the caller may not.';

create function security.ensure_owner(p_role text, p_makes_roles boolean default false)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
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

create function security.let_go(p_role text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_parameter  text;
begin
    if pg_has_role(p_role, 'usage') then
        execute format('alter default privileges for role %I grant execute on functions to public',
                       p_role);
    end if;
    begin
        for v_parameter in
            select p.parname
            from pg_parameter_acl as p
            where exists (select from aclexplode(p.paracl) where grantee = to_regrole(p_role))
              and (select rolsuper from pg_roles where rolname = current_user)
        loop
            execute format('revoke set on parameter %I from %I', v_parameter, p_role);
        end loop;
        execute format('drop role %I', p_role);
    exception when dependent_objects_still_exist or insufficient_privilege then
        raise notice 'role % stays: %', p_role, sqlerrm;
        if pg_has_role(p_role, 'member') and not exists (
            select from pg_database
            where datname <> current_database() and pg_has_role(datdba, 'usage')) then
            begin
                execute format('revoke %I from %I', p_role, current_user);
            exception when insufficient_privilege then
                raise notice '% stays a member of %: who granted it takes it back', current_user,
                    p_role;
            end;
        end if;
    end;
end
$func$;

comment on function security.let_go(text) is
    'Drops a role that ensure_owner or ensure_role made. What a sister database of the cluster still
uses stays, with its rights; the caller, unless they own another database, is then no member of it
any more. For rollbacks.';

create table security.schema_owner (
    schema_name  name  not null,
    owner        name  not null,

    constraint schema_owner_pk primary key (schema_name)
);

comment on table security.schema_owner is
    'The schemas that are ours, and the role that owns each and all that is in it. Kept by
security.hand_over, which every migration calls for its own schemas.';

comment on column security.schema_owner.schema_name is 'Schema of ours.';
comment on column security.schema_owner.owner is 'Role that owns it; nobody logs in as it.';

-- In plpgsql: it is called from everywhere, and planned once for a session.
create function security.roles()
returns table (role oid, rolname name, kind text, purpose text)
language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    return query
        select r.role::oid, k.rolname, k.kind, k.purpose
        from (
            values ('app_base'::name, 'level', 'level base'), ('app_bot', 'level', 'level bot'),
                   ('app_admin', 'level', 'level admin'),
                   ('app_super_admin', 'level', 'level super_admin'),
                   ('app_backup', 'reader', 'reader for backups')
            union all
            -- a superuser's grants, which no owner could take back from a role to be dropped
            select 'app_provisioner', 'owner', 'rights of the provisioner'
            union all
            select o.owner, 'owner',
                   'owner of ' || string_agg(o.schema_name, ', ' order by o.schema_name)
            from security.schema_owner as o
            group by o.owner
        ) as k (rolname, kind, purpose)
        -- looked up one by one: a join would read every role of the cluster
        cross join lateral to_regrole(quote_ident(k.rolname)) as r (role)
        where r.role is not null;
end
$func$;

comment on function security.roles() is
    'The roles that are ours: (role, rolname, kind: level, reader or owner, purpose: what it is,
whatever it is called). Nobody logs in as one.';

create function security.with_members(p_roles oid[])
returns setof oid
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with recursive reached (role) as (
    select unnest(p_roles)
    union
    select m.member from reached as r join pg_auth_members as m on m.roleid = r.role
)
select role from reached
$func$;

comment on function security.with_members(oid[]) is
    'These roles and all their members, through others too. Whoever is not among them has no right
by these roles; to ask pg_has_role about each role of a cluster takes far longer.';

create function security.hand_over(p_schema text, p_owner text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
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
                      case relkind when 'v' then 'view' when 'S' then 'sequence' else 'table' end,
                      oid::regclass, p_owner)
        from pg_class
        where relnamespace = to_regnamespace(p_schema)
          and (relkind in ('r', 'p', 'v')
               or relkind = 'S' and not exists (  -- a column's goes with its table
                   select
                   from pg_depend
                   where classid = 'pg_class'::regclass and objid = pg_class.oid
                     and deptype in ('a', 'i')))
        union all
        select format('alter routine %s owner to %I', oid::regprocedure, p_owner)
        from pg_proc
        where pronamespace = to_regnamespace(p_schema)
        union all
        select format('alter type %s owner to %I', t.oid::regtype, p_owner)
        from pg_type as t
        left join pg_class as c on c.oid = t.typrelid
        where t.typnamespace = to_regnamespace(p_schema)
          and (c.relkind = 'c' or t.typtype in ('d', 'e', 'r'))
    loop
        execute v_statement;
    end loop;
    if p_owner <> current_user then
        execute format('revoke create on database %I from %I', current_database(), p_owner);
    end if;
    delete from security.schema_owner where schema_name = p_schema;
    if p_owner <> current_user then
        insert into security.schema_owner (schema_name, owner) values (p_schema, p_owner);
    end if;
end
$func$;

comment on function security.hand_over(text, text) is
    'Makes a role the owner of a schema and of all that is in it, and notes it in
security.schema_owner; the caller''s own role takes a schema back. One owner per schema: a dump is
restored with exactly these owners, so a definer never becomes somebody else.';

do $roles$
begin
    -- what people and programs are given, and what takes backups
    perform security.ensure_role(r)
    from unnest(array['app_base', 'app_bot', 'app_admin', 'app_super_admin', 'app_backup',
                      'app_provisioner']) as r;
    -- what owns the schemas, and works for them beyond their rights
    perform security.ensure_owner(r) from unnest(array['app_owner', 'app_upkeep']) as r;
    -- this installation's own: whoever acts for it may enter, as any of its bots
    perform security.ensure_owner(security.provisioner(), true);
end
$roles$;

-- Each level is a member of the one below, and adds to it; the provisioner hands them out.
do $levels$
begin
    perform security.ensure_member(g.role, g.member, g.may_grant)
    from (values
        ('app_base', 'app_bot', false), ('app_bot', 'app_admin', false),
        ('app_admin', 'app_super_admin', false),
        ('app_provisioner', security.provisioner(), false),
        ('app_bot', security.provisioner(), true), ('app_admin', security.provisioner(), true),
        ('app_super_admin', security.provisioner(), true)
    ) as g (role, member, may_grant);
end
$levels$;
