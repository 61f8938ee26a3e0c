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
    select substring(row_key ->> 'profile_id' from '^[0-9]{1,18}$')::bigint
    from audit.events
    where bot_id = p_bot_id and table_name = 'core.girls_profiles'
      and p_telegram_id::text in (new_values ->> 'telegram_id', old_values ->> 'telegram_id')
), conversation as (
    select conversation_id
    from core.conversations
    where bot_id = p_bot_id and profile_id in (select profile_id from profile)
    union
    select substring(e.row_key ->> 'conversation_id' from '^[0-9]{1,18}$')::bigint
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

create function audit.match_rows(
    p_entry             audit.security_audit_log,
    p_profile_ids       text[],
    p_conversation_ids  text[]
)
returns boolean[]
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select array(
    select coalesce(v.profile #>> '{}' = any (p_profile_ids), false)
           or coalesce(v.conversation #>> '{}' = any (p_conversation_ids), false)
    from rows from (
        json_array_elements(case when p_entry.is_block then p_entry.row_keys -> 'profile_id'
                                 else json_build_array(p_entry.row_keys -> 'profile_id') end),
        json_array_elements(case when p_entry.is_block then p_entry.row_keys -> 'conversation_id'
                                 else json_build_array(p_entry.row_keys -> 'conversation_id') end)
    ) with ordinality as v (profile, conversation, place)
    order by v.place)
$func$;

comment on function audit.match_rows(audit.security_audit_log, text[], text[]) is
    'For each row of an entry, whether its key names one of these contacts or conversations.';

create function audit.match_values(
    p_bot_id            bigint,
    p_profile_ids       text[],
    p_conversation_ids  text[]
)
returns table (entry_id bigint, hit boolean[])
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with logged as materialized (
    select e.entry_id, e.place, e.table_name, e.row_key,
           p_profile_ids && array[e.old_values ->> 'profile_id', e.new_values ->> 'profile_id']
           or p_conversation_ids && array[e.old_values ->> 'conversation_id',
                                          e.new_values ->> 'conversation_id'] as is_named
    from audit.events as e
    where e.bot_id = p_bot_id and e.table_name = any (array(
        select distinct l.table_name
        from audit.security_audit_log as l
        where l.bot_id = p_bot_id and l.row_keys is not null
          and l.row_keys -> 'profile_id' is null and l.row_keys -> 'conversation_id' is null))
), person as (
    select distinct table_name, row_key from logged where is_named
)
select l.entry_id, array_agg(p.row_key is not null order by l.place)
from logged as l
left join person as p using (table_name, row_key)
group by l.entry_id
having bool_or(p.row_key is not null)
$func$;

comment on function audit.match_values(bigint, text[], text[]) is
    'The entries of rows whose key names nobody, but whose values on record named one of these
contacts or conversations at some time; as audit.person_entries.';

create function audit.person_entries(p_bot_id bigint, p_telegram_id bigint)
returns table (entry_id bigint, hit boolean[])
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with person as materialized (
    select profile_ids::text[], conversation_ids::text[]
    from audit.person_ids(p_bot_id, p_telegram_id)
)
select l.entry_id, h.hit
from person as p
join audit.security_audit_log as l on l.bot_id = p_bot_id
cross join lateral audit.match_rows(l, p.profile_ids, p.conversation_ids) as h (hit)
where true = any (h.hit)
union all
select v.*
from person as p
cross join lateral audit.match_values(p_bot_id, p.profile_ids, p.conversation_ids) as v
$func$;

comment on function audit.person_entries(bigint, bigint) is
    'The entries that hold something of a person: (entry_id, hit: which of their rows). Of whatever
table, also of one that is gone: rows with profile_id or conversation_id in their key, or among
their values on record.';

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
    'Destroys the salts of entries: the digests of what they held no longer tell what that was.';

create function audit.contents_of(p_entry_ids bigint[])
returns table (entry_id bigint, contents bytea)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select l.entry_id, sha256(e.salt || l.contents)
from audit.sealable as l
left join (
    select e.entry_id, e.salt
    from audit.seal as s
    cross join lateral audit.sealed_entries(s) as e
    where exists (select from unnest(p_entry_ids) as i where s.entries @> i)
) as e using (entry_id)
where l.entry_id = any (p_entry_ids)
$func$;

comment on function audit.contents_of(bigint[]) is
    'The salted digests of entries'' contents as they are now; null for one that is not sealed.';

create function audit.redact_entries(p_bot_id bigint, p_telegram_id bigint)
returns table (entry_id bigint, row_count integer, was bytea)
language sql
set search_path = pg_catalog, pg_temp
as $func$
with person as materialized (
    select entry_id, hit from audit.person_entries(p_bot_id, p_telegram_id)
), was as materialized (  -- by the statement's snapshot: as it is before the update
    select entry_id, contents from audit.contents_of(array(select entry_id from person))
), blanked as (
    update audit.security_audit_log as l
    set old_values = audit.redact_values(l.old_values, l.is_block, p.hit),
        new_values = audit.redact_values(l.new_values, l.is_block, p.hit)
    from person as p
    where l.entry_id = p.entry_id
    returning l.entry_id, cardinality(array_positions(p.hit, true)) as hits
)
select b.entry_id, b.hits, w.contents from blanked as b join was as w using (entry_id)
$func$;

comment on function audit.redact_entries(bigint, bigint) is
    'Blanks all values of a person''s rows; keys stay. Returns which entries, how many rows of each,
and the digest of its contents that each had (null: not sealed).';

create function audit.preview_erase(p_bot_id bigint, p_telegram_id bigint)
returns table (what text, row_count bigint)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select l.table_name, sum(cardinality(array_positions(p.hit, true)))
from audit.person_entries(p_bot_id, p_telegram_id) as p
join audit.security_audit_log as l using (entry_id)
group by l.table_name
order by l.table_name
$func$;

comment on function audit.preview_erase(bigint, bigint) is
    'What audit.erase would blank, of which it does nothing: (what: a table, row_count: how many of
its rows in the log). No row: the log knows nothing of this person.';

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
    perform security.require_reason(p_reason);
    perform audit.claim_seals('nothing was erased');  -- no entry gets its seal meanwhile
    perform set_config('audit.erasing', txid_current()::text, true);
    select array_agg(e.entry_id), sum(e.row_count),
           jsonb_object_agg(e.entry_id, encode(e.was, 'hex'))
    into v_entries, v_rows, v_was
    from audit.redact_entries(p_bot_id, p_telegram_id) as e;
    if v_entries is null then
        raise exception using
            errcode = 'MB207',
            message = format('nothing to erase for bot %s and telegram_id %s',
                             quote_nullable(p_bot_id), quote_nullable(p_telegram_id)),
            detail  = 'The log holds no entry of such a contact.',
            hint    = 'Check both numbers.';
    end if;
    perform audit.renew_salts(v_entries);
    perform set_config('audit.erasing', '', true);
    -- a reason is free text: no bot's to read, so it stands in an event of no bot
    perform audit.record_event('erasure_reason', 'warning', jsonb_build_object(
        'reason', p_reason, 'bot_id', p_bot_id));
    perform audit.record_event('erasure', 'warning', (
        select jsonb_build_object('row_count', v_rows, 'entries', jsonb_agg(
            jsonb_build_object('entry_id', l.entry_id, 'was', v_was ->> l.entry_id::text,
                               'now', encode(l.contents, 'hex'))))
        from audit.contents_of(v_entries) as l), p_bot_id);
    return v_rows;
end
$func$;

comment on function audit.erase(bigint, bigint, text) is
    'Blanks in the log all that it holds of a person, by the bot and the telegram_id of the contact,
and returns how many rows that were. The log stays provable, the erasure is on record with its
reason. What the tables still hold is not touched: delete it first, its last values are logged, and
then erased. Found is what has profile_id or conversation_id; what a table says of a person without
either (by a message''s id, a chat''s, a name) is not. MB116: no reason; MB130: somebody seals;
MB207: nothing to erase.';
