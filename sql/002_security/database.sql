-- Who may connect to this database.

create table security.public_right (
    privilege  text  not null,

    constraint public_right_pk primary key (privilege)
);

comment on table security.public_right is
    'What PUBLIC might do with this database before: the rollback gives it back.';
comment on column security.public_right.privilege is 'CONNECT, TEMPORARY or CREATE.';

create function security.database_rights()
returns table (grantee oid, privilege_type text, is_grantable boolean, is_owners boolean)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select a.grantee, a.privilege_type, a.is_grantable, a.grantee = d.datdba
from pg_database as d
-- entry by entry: for each row aclexplode would unpack the whole list, which names every bot
cross join lateral unnest(coalesce(d.datacl, acldefault('d', d.datdba))) as u (entry)
cross join lateral aclexplode(array[u.entry]) as a
where d.datname = current_database()
$func$;

comment on function security.database_rights() is
    'Who has which right on this database: (grantee, privilege_type, is_grantable, is_owners:
whether the grantee owns the database).';

insert into security.public_right (privilege)
select privilege_type from security.database_rights() where grantee = 0;

create function security.connecting_roles()
returns setof oid
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with let_in as materialized (
    select grantee from security.database_rights() where privilege_type = 'CONNECT'
)
select r.oid
from pg_roles as r
join pg_database as d on d.datname = current_database()
where r.oid in (select grantee from let_in)
   or (r.rolsuper or exists (select from let_in where grantee = 0)
       or r.oid in (select * from security.with_members(array(
           select grantee from let_in union all select datdba from pg_database
           where datname = current_database()))))
      and has_database_privilege(r.oid, d.oid, 'connect')
$func$;

comment on function security.connecting_roles() is
    'The roles that may connect to this database, logins or not.';

create function security.admit_logins()
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
declare
    v_logins  name[];
begin
    perform security.await_turn();
    v_logins := array(
        select r.rolname
        from security.marked_logins() as m
        join pg_roles as r on r.oid = m.role
        left join core.bots as b on r.rolname = 'bot_' || b.bot_id
        where m.kind in ('admin', 'worker', 'bot ' || b.bot_id)
        order by r.rolname);
    if v_logins <> '{}' then
        -- at once: each statement writes the list of all that may connect anew
        execute format('grant connect on database %I to %s', current_database(), (
            select string_agg(quote_ident(l), ', ') from unnest(v_logins) as l));
    end if;
    return cardinality(v_logins);
end
$func$;

comment on function security.admit_logins() is
    'Lets the logins that bear this database''s mark connect to it; returns how many they are.';

create function security.protect_database()
returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    perform security.await_turn();
    execute format('revoke all on database %I from public', current_database());
    execute format('grant connect on database %I to %I with grant option', current_database(),
                   security.provisioner());
    return security.admit_logins();
end
$func$;

comment on function security.protect_database() is
    'Leaves CONNECT to the logins that were made for this database, and temporary tables to nobody.
A dump holds no rights on the database and a clone does not get them: call it after either, as the
owner. Returns how many logins were let in again.';
