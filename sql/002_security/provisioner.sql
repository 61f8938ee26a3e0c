-- The role that makes this installation's logins: its name, and what it may do.

create function security.provisioner()
returns name
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select ('app_provisioner_' || left(installation_id::text, 8))::name from security.installation
$func$;

comment on function security.provisioner() is
    'The role that makes this installation''s logins and lets them connect: app_provisioner_ and the
first 8 digits of the installation''s id. No other installation''s owner may act for it.';

-- Its rights are its own: by a role that it is a member of, the server would read all its
-- memberships, on 16 and newer one for each bot, to find them.
create function security.grant_to_provisioner(variadic p_rights text[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_right  text;
begin
    foreach v_right in array p_rights loop
        execute format('grant %s to %I', v_right, security.provisioner());
    end loop;
end
$func$;

comment on function security.grant_to_provisioner(text[]) is
    'Grants rights to the provisioner, as GRANT does: each is what stands between GRANT and TO. The
caller must be allowed to grant them.';

create function security.admit_provisioner(p_entry core.bot_table)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_command  text := case p_entry.on_bot_drop when 'keep' then 'select' else 'all' end;
begin
    perform security.require_protected(p_entry.relation);
    perform security.set_policy(
        p_entry.relation, 'provisioner_' || v_command,
        format('for %s to %I using (true)', v_command, security.provisioner()));
    perform security.grant_to_provisioner(
        format('select (bot_id%s)%s on %s',
               ', ' || quote_ident(nullif(p_entry.ranged_id, 'bot_id')),
               case v_command when 'all' then ', delete' else '' end, p_entry.relation),
        format('usage on schema %s', (
            select relnamespace::regnamespace from pg_class where oid = p_entry.relation)));
end
$func$;

comment on function security.admit_provisioner(core.bot_table) is
    'Lets the owner of security.drop_bot find a bot''s rows in a registered table, and delete them
unless they are to be kept.';
