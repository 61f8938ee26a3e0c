-- What a person may have erased.

create function audit.person_ids(p_bot_id bigint, p_telegram_id bigint)
returns table (profile_ids bigint[], conversation_ids bigint[])
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with profile as (
    select profile_id
    from core.girls_profiles
    where bot_id = p_bot_id and telegram_id = p_telegram_id
    union
    select (row_key ->> 'profile_id')::bigint
    from audit.events
    where bot_id = p_bot_id and table_name = 'core.girls_profiles'
      and p_telegram_id::text in (new_values ->> 'telegram_id', old_values ->> 'telegram_id')
), conversation as (
    select conversation_id
    from core.conversations
    where bot_id = p_bot_id and profile_id in (select profile_id from profile)
    union
    select (e.row_key ->> 'conversation_id')::bigint
    from audit.events as e
    join profile as p
        on p.profile_id::text in (e.new_values ->> 'profile_id', e.old_values ->> 'profile_id')
    where e.bot_id = p_bot_id and e.table_name = 'core.conversations'
)
select array(select profile_id from profile), array(select conversation_id from conversation)
$func$;

comment on function audit.person_ids(bigint, bigint) is
    'The contacts and conversations that a person is or was to a bot, by the tables and by the
log.';

create function audit.redact_values(p_values json, p_is_block boolean, p_hit boolean[])
returns json
language sql immutable
set search_path = pg_catalog, pg_temp
as $func$
select json_object_agg(
    c.key,
    case when not p_is_block then '"[erased]"'::json
         else (select json_agg(case when p_hit[v.place] then '"[erased]"'::json else v.value end
                               order by v.place)
               from json_array_elements(c.value) with ordinality as v (value, place)) end)
from json_each(p_values) as c
$func$;

comment on function audit.redact_values(json, boolean, boolean[]) is
    'The values of an entry with those of the rows hit replaced by [erased].';

create function audit.match_rows(p_entry audit.security_audit_log, p_key text, p_ids bigint[])
returns boolean[]
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select case when p_entry.is_block
            then array(select (v.value #>> '{}')::bigint = any (p_ids)
                       from json_array_elements(p_entry.row_keys -> p_key)
                           with ordinality as v (value, place)
                       order by v.place)
            else array[(p_entry.row_keys ->> p_key)::bigint = any (p_ids)] end
$func$;

comment on function audit.match_rows(audit.security_audit_log, text, bigint[]) is
    'For each row of an entry, whether a column of its key is one of these ids.';

create function audit.person_entries(p_bot_id bigint, p_telegram_id bigint)
returns table (entry_id bigint, hit boolean[])
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
select l.entry_id, h.hit
from audit.person_ids(p_bot_id, p_telegram_id) as p
cross join lateral (
    -- in whose primary key the contact stands, or else the conversation
    select k.relation::text, k.key,
           case k.key when 'profile_id' then p.profile_ids else p.conversation_ids end
    from (
        select b.relation, max(a.attname::text) as key
        from core.bot_table as b
        join pg_index as i on i.indrelid = b.relation and i.indisprimary
        join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
        where a.attname in ('profile_id', 'conversation_id')
        group by b.relation
    ) as k
) as t (table_name, key, ids)
join audit.security_audit_log as l on l.table_name = t.table_name and l.bot_id = p_bot_id
cross join lateral audit.match_rows(l, t.key, t.ids) as h (hit)
where true = any (h.hit)
$func$;

comment on function audit.person_entries(bigint, bigint) is
    'The entries that hold something of a person: (entry_id, hit: which of their rows). Of the
tables in core.bot_table it takes those with profile_id or conversation_id in their primary key.';

create function audit.renew_salts(p_entry_ids bigint[])
returns void
language sql
set search_path = pg_catalog, pg_temp
as $func$
update audit.seal as s
set salts = (
    select string_agg(case when e.entry_id = any (p_entry_ids)
                           then uuid_send(gen_random_uuid()) else e.salt end, ''
                      order by e.entry_id)
    from audit.sealed_entries(s) as e)
where exists (select from unnest(p_entry_ids) as i where s.entries @> i)
$func$;

comment on function audit.renew_salts(bigint[]) is
    'Destroys the salts of entries: their old leaves no longer tell what they held.';

create function audit.leaves_of(p_entry_ids bigint[])
returns table (entry_id bigint, leaf bytea)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select l.entry_id, sha256(e.salt || l.octets)
from audit.sealable as l
left join (
    select e.entry_id, e.salt
    from audit.seal as s
    cross join lateral audit.sealed_entries(s) as e
    where exists (select from unnest(p_entry_ids) as i where s.entries @> i)
) as e using (entry_id)
where l.entry_id = any (p_entry_ids)
$func$;

comment on function audit.leaves_of(bigint[]) is
    'The leaves of entries as they are now; null for one that is not sealed.';

create function audit.redact_entries(p_bot_id bigint, p_telegram_id bigint)
returns table (entry_id bigint, row_count integer, was bytea)
language sql
set search_path = pg_catalog, pg_temp
as $func$
with person as materialized (
    select entry_id, hit from audit.person_entries(p_bot_id, p_telegram_id)
), was as materialized (  -- by the statement's snapshot: as it is before the update
    select entry_id, leaf from audit.leaves_of(array(select entry_id from person))
), blanked as (
    update audit.security_audit_log as l
    set old_values = audit.redact_values(l.old_values, l.is_block, p.hit),
        new_values = audit.redact_values(l.new_values, l.is_block, p.hit)
    from person as p
    where l.entry_id = p.entry_id
    returning l.entry_id, cardinality(array_positions(p.hit, true)) as hits
)
select b.entry_id, b.hits, w.leaf from blanked as b join was as w using (entry_id)
$func$;

comment on function audit.redact_entries(bigint, bigint) is
    'Blanks all values of a person''s rows; keys stay. Returns which entries, how many rows of each,
and the leaf that each had (null: not sealed).';

create function audit.erase(p_bot_id bigint, p_telegram_id bigint, p_reason text)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_entries  bigint[];
    v_rows     bigint;
    v_was      jsonb;
begin
    lock table audit.seal in share row exclusive mode;  -- no entry gets its seal meanwhile
    perform set_config('audit.erasing', txid_current()::text, true);
    select array_agg(e.entry_id), sum(e.row_count),
           jsonb_object_agg(e.entry_id, encode(e.was, 'hex'))
    into v_entries, v_rows, v_was
    from audit.redact_entries(p_bot_id, p_telegram_id) as e;
    if v_entries is null or p_reason is null or p_reason !~ e'\\S' then
        raise exception using
            errcode = 'MB207',
            message = format('nothing to erase for bot %s and telegram_id %s',
                             quote_nullable(p_bot_id), quote_nullable(p_telegram_id)),
            detail  = case when v_entries is not null then 'No reason was given.'
                           else 'The log holds no entry of such a contact.' end,
            hint    = 'Check both numbers; p_reason says why, for the record.';
    end if;
    perform audit.renew_salts(v_entries);
    perform set_config('audit.erasing', '', true);
    perform audit.record_event('erasure', 'warning', (
        select jsonb_build_object('reason', p_reason, 'row_count', v_rows, 'entries', jsonb_agg(
            jsonb_build_object('entry_id', l.entry_id, 'was', v_was ->> l.entry_id::text,
                               'now', encode(l.leaf, 'hex'))))
        from audit.leaves_of(v_entries) as l), p_bot_id);
    return v_rows;
end
$func$;

comment on function audit.erase(bigint, bigint, text) is
    'Blanks in the log all that it holds of a person, by the bot and the telegram_id of the contact,
and returns how many rows that were. The log stays provable, the erasure is on record with its
reason. What the tables of core still hold is not touched: delete it first, its last values are
logged, and then erased. MB207: nothing to erase, or no reason.';
