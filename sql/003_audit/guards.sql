-- What refuses a change of the log, or a write past it.

create function audit.refuse_change()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    if current_user = 'app_auditor'
       and current_setting('audit.erasing', true) = txid_current()::text then
        return null;
    end if;
    -- an entry would go with the transaction; the server log keeps this line
    raise log 'audit: % of % refused, login %, role %',
        lower(tg_op), tg_relid::regclass, session_user, current_user;
    raise exception using
        errcode = 'MB202',
        message = format('%s of %s is refused', lower(tg_op), tg_relid::regclass),
        detail  = format('Login %s, role %s.', session_user, current_user),
        hint    = 'Old months go by audit.drop_expired, what a person may have erased by '
                  'audit.erase.';
end
$func$;

comment on function audit.refuse_change() is
    'Trigger: the log and its seals only grow. Lets audit.erase through, by a mark that whoever may
act as app_auditor could set as well: audit.verify_seals names what they change.';

create function audit.refuse_leaf_write()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    raise log 'audit: % of % refused, login %, role %',
        lower(tg_op), tg_relid::regclass, session_user, current_user;
    raise exception using
        errcode = 'MB203',
        message = format('%s of partition %s is refused', lower(tg_op), tg_relid::regclass),
        detail  = format('Login %s, role %s.', session_user, current_user),
        hint    = format('Write through %s: the audit would not see it here.',
                         (select inhparent::regclass from pg_inherits where inhrelid = tg_relid));
end
$func$;

comment on function audit.refuse_leaf_write() is
    'Trigger of a leaf, fired by statements that name the leaf and by no others (MB203). Without
exemption: one by pg_trigger_depth() would let any trigger write unaudited.';

create function audit.guard_leaf(p_leaf regclass)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    if not exists (select from pg_class where oid = p_leaf and relkind = 'r') then
        raise exception using
            errcode = 'MB201',
            message = format('%s is no partition that could be guarded',
                             coalesce(p_leaf::text, 'null')),
            hint    = 'Name a partition of a table in core, or of the log.';
    end if;
    execute format('create or replace trigger refuse_leaf_write '
                   'before insert or update or delete on %s '
                   'for each statement execute function audit.refuse_leaf_write()', p_leaf);
    execute format('alter table %s enable always trigger refuse_leaf_write', p_leaf);
    perform audit.note_capture(jsonb_build_object('leaf', p_leaf::text, 'state', 'guarded'));
end
$func$;

comment on function audit.guard_leaf(regclass) is
    'Stops writes that are aimed at a leaf. Each new leaf is given to it (core.leaf_hook). MB201.';
