-- Row level security on a table and its leaves; writes that are refused.

create function security.refuse_write()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
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
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    execute format('create or replace trigger refuse_truncate before truncate on %s '
                   'for each statement execute function security.refuse_write()', p_table);
    execute format('alter table %s enable always trigger refuse_truncate', p_table);
end
$func$;

comment on function security.refuse_truncate(regclass) is
    'Gives a table or leaf the trigger that refuses TRUNCATE, in replica mode too.';

create function security.revoke_from_bots(p_table regclass)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_grantee  oid;
begin
    for v_grantee in
        select distinct a.grantee
        from (
            select relacl from pg_class where oid = p_table
            union all
            select attacl from pg_attribute where attrelid = p_table
        ) as t (acl)
        cross join lateral aclexplode(t.acl) as a
        left join pg_roles as r on r.oid = a.grantee
        where a.grantee = 0 or r.rolname ~ '^bot_[1-9][0-9]*$'
           or r.rolname in ('app_base', 'app_bot', 'app_admin', 'app_super_admin')
    loop
        execute format('revoke all on %s from %s cascade', p_table,
                       case v_grantee when 0 then 'public' else v_grantee::regrole::text end);
    end loop;
end
$func$;

comment on function security.revoke_from_bots(regclass) is
    'Takes from PUBLIC, the levels and the bots'' logins what they may do with a table or leaf, and
with its columns.';

create function security.give_to_owner(p_table regclass)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_owner  name := (
        select r.rolname
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        join pg_roles as r on r.oid = n.nspowner
        where c.oid = p_table and c.relowner <> r.oid
          and not r.rolcanlogin and r.rolname !~ '^pg_');
begin
    if v_owner is not null then
        execute format('alter table %s owner to %I', p_table, v_owner);
    end if;
end
$func$;

comment on function security.give_to_owner(regclass) is
    'Makes a table or leaf the property of its schema''s owner, if nobody logs in as that role: a
restore then gives it the same owner.';

create function security.protect_leaf(p_leaf regclass)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    perform security.give_to_owner(p_leaf);
    -- not FORCE: a new foreign key is checked by the owner, who would see no row and find it valid
    execute format('alter table %s enable row level security, no force row level security', p_leaf);
    perform security.refuse_truncate(p_leaf);
    perform security.revoke_from_bots(p_leaf);
    perform security.set_policy(
        p_leaf, 'app_backup_select', 'for select to app_backup using (true)');
    execute format('grant select on %s to app_backup', p_leaf);
end
$func$;

comment on function security.protect_leaf(regclass) is
    'Closes a leaf to everybody but its owner and app_backup: rows are reached through the table in
core, whose policies count there. Each new leaf is given to it (core.leaf_hook).';

create function security.require_keyed(p_table regclass)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_fault  text := (
        select case
                   when c.relkind not in ('r', 'p') then 'is no table'
                   when c.relispartition then 'is a partition of another one'
                   when b.attnum is null then 'has no column bot_id of type bigint'
                   when i.indrelid is null
                       then 'has no primary key that begins with bot_id and is not deferrable'
               end
        from pg_class as c
        left join pg_attribute as b
            on b.attrelid = c.oid and b.attname = 'bot_id' and b.atttypid = 'bigint'::regtype
        left join pg_index as i
            on i.indrelid = c.oid and i.indisprimary and i.indimmediate
               and i.indkey[0] = b.attnum
        where c.oid = p_table);
begin
    if p_table is null or v_fault is not null then
        raise exception using
            errcode = 'MB109',
            message = format('table %s can''t be protected: it %s', coalesce(p_table::text, 'null'),
                             coalesce(v_fault, 'is not there')),
            hint    = 'Name a table that has a column bot_id bigint and a primary key that begins '
                      'with it: add constraint … primary key (bot_id, …).';
    end if;
end
$func$;

comment on function security.require_keyed(regclass) is
    'MB109 unless a table has bot_id, and a primary key that begins with it: without such a key a
publication of one bot''s rows would make every other bot''s UPDATE and DELETE fail.';

create function security.protect(p_table regclass)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_entry   core.bot_table;
    v_policy  name;
begin
    perform security.require_keyed(p_table);
    perform security.give_to_owner(p_table);
    insert into core.bot_table (relation) values (p_table) on conflict (relation) do nothing;
    select * into v_entry from core.bot_table where relation = p_table;

    if not (select relrowsecurity and relforcerowsecurity from pg_class where oid = p_table) then
        -- what was given while every row could be reached by it
        perform security.revoke_from_bots(p_table);
        for v_policy in select polname from pg_policy where polrelid = p_table loop
            execute format('drop policy %I on %s', v_policy, p_table);
        end loop;
    end if;
    execute format('alter table %s enable row level security, force row level security', p_table);
    perform security.refuse_truncate(p_table);
    execute format('create or replace trigger refuse_new_bot_id before update of bot_id on %s '
                   'for each statement execute function security.refuse_write()', p_table);
    execute format('alter table %s enable always trigger refuse_new_bot_id', p_table);
    if p_table in (select core.hash_tables()) then
        perform core.make_leaf(p_table, r)
        from generate_series(0, 9) as r
        where to_regclass(core.leaf_name(p_table, 'p' || r)) is null;
    end if;
    if exists (select from pg_partitioned_table where partrelid = p_table) then
        perform security.protect_leaf(l.leaf) from core.leaves(p_table) as l;
    end if;
    perform security.admit_provisioner(v_entry);
    perform security.accept_facts('security.protect', array[
        'row level security ' || p_table, 'trigger refuse_truncate on ' || p_table,
        'trigger refuse_new_bot_id on ' || p_table, format('row %s of core.bot_table', p_table)]);
end
$func$;

comment on function security.protect(regclass) is
    'Makes a table safe and registers it in core.bot_table (an entry that is there stays as it is).
Row level security is on for it and its leaves, for its owner too; TRUNCATE and an UPDATE of bot_id
are refused; what PUBLIC and bots had on it before is taken back, and so are policies that were
there. Its schema''s owner gets to own it, if nobody logs in as that role. A bot that is dropped
takes its rows along. Nobody else sees a row then: admit lets roles in. May be called again. MB109:
no column bot_id, or no primary key that begins with it.';
