-- Roles that another installation of the cluster made: what this one needs of them.

create function security.sister_provisioners()
returns setof oid
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select oid
from pg_roles
where rolname ~ '^app_provisioner_[0-9a-f]{8}$' and rolname <> (select security.provisioner())
  and not rolcanlogin and not rolsuper and not rolreplication and not rolbypassrls
  and not has_database_privilege(oid, current_database(), 'connect')
$func$;

comment on function security.sister_provisioners() is
    'The provisioners of other installations of the cluster, which can''t connect here.';

create function security.require_shared_roles()
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_needed  text[] := array(
        select case when f.hands_on
                    then format('grant %I to %I with admin option;', r.rolname, current_user)
                    else format('grant %I to %I;', r.rolname, current_user) end
               || '  -- ' || f.opens
        from pg_roles as r
        cross join lateral (
            select r.rolname in ('app_bot', 'app_admin', 'app_super_admin', 'app_provisioner'),
                   case r.rolname
                       when 'app_owner' then 'to own the tables of the bots here'
                       when 'app_upkeep' then 'to own what their triggers do here'
                       when 'app_provisioner' then 'to let this provisioner limit temporary files'
                       when 'app_bot' then 'to hand out the level of bots'
                       when 'app_admin' then 'to hand out the level of admins'
                       when 'app_super_admin' then 'to hand out the level of super_admins'
                       else 'to own what a later migration makes here'
                   end
        ) as f (hands_on, opens)
        where r.rolname ~ '^app_[a-z_]+$' and r.rolname not in ('app_base', 'app_backup')
          and not r.rolcanlogin and not r.rolcreaterole
          and not (select rolsuper from pg_roles where rolname = current_user)
          -- before 16 whoever makes roles may do all this
          and current_setting('server_version_num')::integer >= 160000
          and not pg_has_role(r.oid, 'member with admin option')
          and (f.hands_on or not (pg_has_role(r.oid, 'usage') and pg_has_role(r.oid, 'set')))
        order by r.rolname);
begin
    if v_needed = '{}' then
        return;
    end if;
    raise exception using
        errcode = 'MB120',
        message = format('%s may not use %s roles that another installation of this cluster made',
                         current_user, cardinality(v_needed)),
        detail  = array_to_string(v_needed, e'\n'),
        hint    = 'Let a superuser, or who made them, run what the detail lists; then migrate '
                  'again. None of it lets anybody connect to the other installation.';
end
$func$;

comment on function security.require_shared_roles() is
    'For migrations: MB120, with all grants that are missing and what each opens, where the cluster
has roles of another installation that the caller may not use (16 and newer).';

select security.require_shared_roles();
