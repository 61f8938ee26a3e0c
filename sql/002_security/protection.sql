-- Row level security on a table and its leaves; writes that are refused.

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
