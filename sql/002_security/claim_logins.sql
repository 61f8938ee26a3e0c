-- A restored or cloned database takes the logins of its installation over.

create function security.claimable_logins()
returns table (login name, kind text, held_by text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select r.rolname, m.kind, m.database
from security.marks() as m
join security.installation as i on i.installation_id::text = m.installation
join pg_database as d on d.datname = current_database() and d.oid::text <> m.database
join pg_roles as r on r.oid = m.role
join security.made_login as l on l.login = r.rolname and l.kind = m.kind
$func$;

comment on function security.claimable_logins() is
    'Logins that this database knows, and that bear the mark of its installation in another
database: (login, kind, held_by: that database''s oid).';

create function security.copy_settings(p_logins name[], p_from oid)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_setting  record;
begin
    for v_setting in
        select r.rolname, s.setrole, split_part(c.setting, '=', 1) as name,
               substr(c.setting, strpos(c.setting, '=') + 1) as value
        from pg_db_role_setting as s
        join pg_roles as r on r.oid = s.setrole and r.rolname = any (p_logins)
        cross join lateral unnest(s.setconfig) as c (setting)
        where s.setdatabase = p_from
    loop
        -- a list would be taken for one name, and as it stands may hold any text
        if v_setting.name in ('search_path', 'temp_tablespaces', 'local_preload_libraries',
                              'session_preload_libraries') then
            raise notice '% of % is not taken over: it is a list', v_setting.name,
                         v_setting.rolname;
            continue;
        end if;
        begin
            execute format('alter role %I in database %I set %I = %L', v_setting.rolname,
                           current_database(), v_setting.name, v_setting.value);
        exception when insufficient_privilege then
            raise notice '% of % is not taken over: %', v_setting.name, v_setting.rolname, sqlerrm;
        end;
    end loop;
end
$func$;

comment on function security.copy_settings(name[], oid) is
    'Gives logins in this database the settings that they have in another one of the cluster. Says
what it may not set, and leaves lists out.';

create function security.take_over_logins()
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
declare
    v_here     oid := (select oid from pg_database where datname = current_database());
    v_logins   name[];
    v_holder   record;
    v_login    security.made_login;
begin
    perform security.await_turn();
    for v_holder in
        select c.held_by, d.oid, d.datname, array_agg(c.login order by c.login) as logins
        from security.claimable_logins() as c
        left join pg_database as d on d.oid::text = c.held_by
        group by 1, 2, 3
    loop
        for v_login in
            select m.* from security.made_login as m where m.login = any (v_holder.logins)
        loop
            execute format('comment on role %I is %L', v_login.login, security.mark(v_login.kind));
        end loop;
        if v_holder.oid is not null then
            perform security.copy_settings(v_holder.logins, v_holder.oid);
            execute format('revoke connect on database %I from %s', v_holder.datname, (
                select string_agg(quote_ident(l), ', ') from unnest(v_holder.logins) as l));
        end if;
        v_logins := v_logins || v_holder.logins;
        perform security.run_event_hooks('logins_claimed', jsonb_build_object(
            'from_database', v_holder.held_by, 'name', v_holder.datname,
            'to_database', v_here, 'logins', v_holder.logins));
    end loop;
    update security.installation
    set database_oid = v_here, settled_at = now()
    where database_oid <> v_here;
    perform security.admit_logins();
    perform security.limit_login(l)
    from (
        select (security.limits_of_bot(b.bot_id)).* from security.bot_limit as b
        union all
        select * from security.login_limit
    ) as l
    where l.login = any (v_logins);
    return coalesce(cardinality(v_logins), 0);
end
$func$;

comment on function security.take_over_logins() is
    'The part of security.claim_logins() that takes the provisioner''s rights.';

create function security.let_provisioner_administer()
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_options  text := 'admin true, inherit false, set false';  -- which 15 can't read
    v_logins   name[];
    v_login    name;
    v_given    record;
begin
    if current_setting('server_version_num')::integer < 160000 then
        return;
    end if;
    v_logins := array(
        select r.rolname
        from security.made_login as l
        join pg_roles as r on r.rolname = l.login
        where not pg_has_role(security.provisioner(), r.oid, 'member with admin option')
        order by r.rolname);
    foreach v_login in array v_logins loop
        execute format('grant %I to %I with %s', v_login, security.provisioner(), v_options);
    end loop;
    for v_given in
        select m.member::regrole as login, m.roleid::regrole as role, m.grantor::regrole as grantor
        from pg_auth_members as m
        join pg_roles as r on r.oid = m.member
        where r.rolname = any (v_logins) and m.grantor <> to_regrole(security.provisioner()::text)
        order by 1, 2
    loop
        -- of 15 no dump says who gave it, so that whoever restores has
        execute format('revoke %s from %s granted by %s', v_given.role, v_given.login,
                       v_given.grantor);
        execute format('grant %s to %s granted by %I', v_given.role, v_given.login,
                       security.provisioner());
    end loop;
exception when insufficient_privilege then
    raise exception using
        errcode = 'MB101',
        message = format('the provisioner may not administer login %s', v_login),
        detail  = 'A login that was made before PostgreSQL 16 lacks that grant after a move.',
        hint    = 'Call security.claim_logins() once as a superuser.';
end
$func$;

comment on function security.let_provisioner_administer() is
    'Lets the provisioner change and drop the logins made here, as on 16 and newer who makes a role
may, and makes their memberships the ones that the provisioner gave: a move from 15 brings neither
along. A login that the provisioner may administer is left as it is. MB101: it takes a superuser.';

create function security.claim_logins()
returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
begin
    perform security.require_acceptor();
    perform security.protect_database();
    perform security.let_provisioner_administer();
    return security.take_over_logins();
end
$func$;

comment on function security.claim_logins() is
    'After a restore, a clone or a move: makes the logins of this installation this database''s, and
no other''s. Marks them anew, lets them connect here and no longer to the database that had them,
gives them their limits, and here the settings that they had there. On record in the audit log;
returns how many were taken over. Their connections there go on until they end. For the database''s
owner. MB113: for somebody else; MB101: after a move from 15 it takes a superuser once.';

create function security.lost_logins()
returns table (what_happened text, is_gone boolean)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
select format(
           case when i.database_oid <> d.oid
                then 'this database is a copy, restored or cloned; %2$s still has the logins %1$s'
                else 'a copy of this database, %2$s, has claimed the logins %1$s' end
           || ': if they are to enter this one, its owner calls select security.claim_logins()',
           string_agg(c.login, ', ' order by c.login),
           coalesce('database ' || quote_ident(h.datname),
                    format('a database that is gone (oid %s)', c.held_by))),
       h.datname is null
from security.claimable_logins() as c
cross join security.installation as i
join pg_database as d on d.datname = current_database()
left join pg_database as h on h.oid::text = c.held_by
group by c.held_by, h.datname, i.database_oid, d.oid
$func$;

comment on function security.lost_logins() is
    'The logins of this installation that another database has, a row for each such database, in
words: (what_happened, is_gone: whether that database is no longer in the cluster).';
