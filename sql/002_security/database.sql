-- Who may connect to this database.

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
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
declare
    v_login  name;
    v_count  integer := 0;
begin
    perform security.await_turn();
    for v_login in
        select r.rolname
        from security.marked_logins() as m
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
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
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
