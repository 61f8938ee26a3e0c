-- The policies: which role sees which rows.

create function security.set_policy(p_table regclass, p_name text, p_definition text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    if exists (select from pg_policy where polrelid = p_table and polname = p_name) then
        execute format('drop policy %I on %s', p_name, p_table);
    end if;
    execute format('create policy %I on %s %s', p_name, p_table, p_definition);
    if not exists (select from pg_class where oid = p_table and relispartition) then
        perform security.accept_facts(
            'security.set_policy', array[format('policy %s on %s', p_name, p_table)]);
    end if;
end
$func$;

comment on function security.set_policy(regclass, text, text) is
    'Makes a policy, in place of one of the same name, and accepts it.';

create function security.require_protected(p_table regclass)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    if exists (
        select
        from core.bot_table as t
        join pg_class as c on c.oid = t.relation
        where t.relation = p_table and c.relrowsecurity and c.relforcerowsecurity
          -- the two guards: refuse_truncate, refuse_new_bot_id
          and (select count(*) from pg_trigger as g
               where g.tgrelid = c.oid and g.tgenabled = 'A'
                 and g.tgfoid = 'security.refuse_write()'::regprocedure) = 2) then
        return;
    end if;
    raise exception using
        errcode = 'MB121',
        message = format('table %s is not protected', coalesce(p_table::text, 'null')),
        hint    = format('First call: select security.protect(%L).', p_table);
end
$func$;

comment on function security.require_protected(regclass) is
    'MB121 unless a table is as security.protect leaves it.';

create function security.admit(p_table regclass, p_role text, p_command text)
returns void
language sql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
select security.require_protected(p_table);
select security.set_policy(
    p_table, p_role || '_' || p_command,
    format('for %s to %I %s', p_command, p_role,
           case p_command when 'insert' then 'with check (true)' else 'using (true)' end))
$func$;

comment on function security.admit(regclass, text, text) is
    'Lets a role work on all rows of a protected table: select, insert, update, delete or all. For
definers and readers, whose grants say which columns. MB121: the table is not protected.';

create function security.admit_bots(p_table regclass)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $func$
select security.require_protected(p_table);
select security.set_policy(
    -- to public: a policy for a role can be dropped by all its members (drop owned by that role)
    -- coalesce: without it the planner takes this half, in core.chats, for one row in 200
    p_table, 'own_rows',
    'to public using ('
    'bot_id = security.policy_bot_id() and coalesce(current_user = security.policy_user(), false))')
$func$;

comment on function security.admit_bots(regclass) is
    'Lets each bot work on its own rows of a protected table, as far as its grants go. Whoever else
reads the table must be allowed to execute the two functions. MB121: it is not protected.';

create function security.admit_admins(p_table regclass)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $func$
select security.require_protected(p_table);
select security.set_policy(
    p_table, 'app_admin_select',
    'for select to app_admin using (pg_has_role(to_regrole(''bot_'' || bot_id)::oid, ''member''))')
$func$;

comment on function security.admit_admins(regclass) is
    'Lets an admin read, in a protected table, the rows of the bots that
security.grant_bot_to_admin gave them. MB121: the table is not protected.';
