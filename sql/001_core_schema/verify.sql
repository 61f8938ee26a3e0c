-- 001_core_schema: is it there, and is it whole? Reads only; one row per check.

set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local jit = off;  -- compiling this query takes a hundred times as long as running it

with five (oid) as (
    select to_regclass(t)
    from unnest(array['core.bots', 'core.girls_profiles', 'core.conversations', 'core.messages',
                      'core.bot_metrics']) as t
), leaf as (
    select t.oid as root, l.leaf::oid as leaf, l.bound
    from core.hash_tables() as t (oid)
    cross join lateral core.leaves(t.oid) as l
), expected_key as (
    select l.leaf, k.parent || '_fk' as key_name,
           format('FOREIGN KEY (%s) REFERENCES %s(%s)', k.key_columns,
                  core.leaf_name(format('core.%I', k.parent),
                                 'p' || substring(l.bound from e'remainder (\\d)')),
                  k.parent_columns) as definition
    from core.foreign_keys() as k
    join leaf as l on l.root = format('core.%I', k.child)::regclass
), result (place, check_name, offenders) as (
    select 1, 'all five tables are partitioned by hash of bot_id', (
        select string_agg(coalesce(t.oid::text, 'one is missing'), ', ')
        from five as t
        where not exists (
            select
            from core.hash_tables() as h (oid)
            join pg_partitioned_table as p on p.partrelid = h.oid
            join pg_attribute as a on a.attrelid = p.partrelid and a.attnum = p.partattrs[0]
            where h.oid = t.oid and p.partstrat = 'h' and p.partnatts = 1
              and a.attname = 'bot_id'))
    union all
    select 2, 'every table has its ten leaves, in schema core_partitions', (
        select string_agg(format('%s p%s', t, r), ', ')
        from core.hash_tables() as t
        cross join generate_series(0, 9) as r
        where not exists (
            select
            from leaf as l
            where l.root = t
              and l.leaf = to_regclass(core.leaf_name(t, 'p' || r))
              and l.bound = format('FOR VALUES WITH (modulus 10, remainder %s)', r)))
    union all
    select 3, 'every leaf has its foreign keys to the parents'' leaves, enforced and validated', (
        select string_agg(e.leaf::regclass::text, ', ')
        from expected_key as e
        where not exists (
            select
            from pg_constraint as c
            where c.conrelid = e.leaf and c.conname = e.key_name
              and pg_get_constraintdef(c.oid) = e.definition and c.convalidated
              and not exists (
                select
                from pg_trigger as g
                where g.tgconstraint = c.oid and g.tgenabled <> 'O')))
    union all
    select 4, 'every index leads with bot_id', (
        select string_agg(i.indexrelid::regclass::text, ', ')
        from (select oid from core.hash_tables() as t (oid) union all select leaf from leaf) as t
        join pg_index as i on i.indrelid = t.oid
        left join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
        where a.attname is distinct from 'bot_id')
    union all
    select 5, 'every index is valid', (
        select string_agg(i.indexrelid::regclass::text, ', ')
        from pg_index as i
        join pg_class as c on c.oid = i.indrelid
        where c.relnamespace in ('core'::regnamespace, 'core_partitions'::regnamespace)
          and not (i.indisvalid and i.indisready))
    union all
    select 6, 'every trigger of the tables is enabled', (
        select string_agg(format('%s on %s', g.tgname, g.tgrelid::regclass), ', ')
        from pg_trigger as g
        join pg_class as c on c.oid = g.tgrelid
        where c.relnamespace in ('core'::regnamespace, 'core_partitions'::regnamespace)
          and not g.tgisinternal and g.tgenabled not in ('O', 'A'))
    union all
    select 7, 'the triggers that keep updated_at, names, counts, states and stale days are there', (
        select string_agg(format('%s on %s', e.tgname, e.tgrelid), ', ')
        from (
            select oid, 'core.touch_updated_at', 'touch_updated_at' from five
            union all
            select relation::regclass, 'core_upkeep.' || function, coalesce(name, function)
            from (values
                ('core.bots',          'claim_bot_name',         null),
                ('core.messages',      'count_new_messages',     null),
                ('core.messages',      'count_deleted_messages', null),
                ('core.messages',      'note_moving',            null),
                ('core.messages',      'count_moved_messages',   null),
                ('core.messages',      'check_message_state',    null),
                ('core.conversations', 'begin_counting',         null),
                ('core.conversations', 'end_counting',           null),
                ('core.conversations', 'note_started',           'note_new_start'),
                ('core.conversations', 'note_started',           'note_moved_start'),
                ('core.conversations', 'note_started',           'note_lost_start')
            ) as u (relation, function, name)
        ) as e (tgrelid, function, tgname)
        where not exists (
            select
            from pg_trigger as g
            where g.tgrelid = e.tgrelid and g.tgname = e.tgname
              and g.tgfoid = to_regproc(e.function)))
    union all
    select 8, 'every check constraint of the tables is there and validated on every leaf', (
        select string_agg(format('%s on %s', c.conname, l.leaf::regclass), ', ')
        from leaf as l
        join pg_constraint as c on c.conrelid = l.root and c.contype = 'c'
        where not exists (
            select
            from pg_constraint as k
            where k.conrelid = l.leaf and k.conname = c.conname and k.contype = 'c'
              and k.convalidated))
    union all
    select 9, 'the claimed names are the bots'' names', (
        select string_agg(b::text, ', ') from core_upkeep.misnamed_bots() as b)
    union all
    select 10, 'every function pins its search path', (
        select string_agg(p.oid::regprocedure::text, ', ')
        from pg_proc as p
        where p.pronamespace in ('core'::regnamespace, 'core_upkeep'::regnamespace)
          and not coalesce('search_path=pg_catalog, pg_temp' = any (p.proconfig), false))
    union all
    select 11, 'no function can be executed by everybody', (
        select string_agg(p.oid::regprocedure::text, ', ')
        from pg_proc as p
        cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as g
        where p.pronamespace in ('core'::regnamespace, 'core_upkeep'::regnamespace)
          and g.grantee = 0)
    union all
    select 12, 'no table is open to everybody', (
        select string_agg(format('%s on %s', g.privilege_type, g.name), ', ')
        from (
            select c.oid::regclass::text, (aclexplode(c.relacl)).*
            from pg_class as c
            where c.relnamespace in ('core'::regnamespace, 'core_partitions'::regnamespace)
            union all
            select n.nspname, (aclexplode(n.nspacl)).*
            from pg_namespace as n
            where n.nspname in ('core', 'core_partitions', 'core_upkeep')
        ) as g (name, grantor, grantee, privilege_type, is_grantable)
        where g.grantee = 0)
    union all
    select 13, 'every table is kept through a crash', (
        select string_agg(c.oid::regclass::text, ', ')
        from pg_class as c
        where c.relnamespace in ('core'::regnamespace, 'core_partitions'::regnamespace)
          and c.relkind = 'r' and c.relpersistence <> 'p')
    union all
    select 14, 'every column is there, with its type (! not null, = default, # identity)', (
        select string_agg(format('%s.%s', e.name, c.shown), '; ')
        from (values
            ('core.error_code', 'code text!, name text!, meaning text!, remedy text!'),
            ('core.bot_table', 'relation regclass!, place integer!#, is_derived boolean!=, '
             'is_audited boolean!=, on_bot_drop text!=, ranged_id name'),
            ('core.bot_names', 'bot_id bigint!, name text!'),
            ('core.message_kind', 'kind character varying(32)!, description text!'),
            ('core.leaf_hook', 'hook text!'),
            ('core.stale_days', 'bot_id bigint!, stale_id bigint!#, days datemultirange!'),
            ('core.bots',
             'bot_id bigint!#, name text!, owner_telegram_id bigint, status text!=, '
             'config jsonb!=, created_at timestamp with time zone!=, '
             'updated_at timestamp with time zone!='),
            ('core.girls_profiles',
             'bot_id bigint!=, profile_id bigint!#, telegram_id bigint!, chat_id bigint!, '
             'last_activity core.girls_profiles_last_activity, '
             'first_seen_at core.girls_profiles_first_seen_at, is_bot boolean, '
             'standing core.girls_profiles_standing!=, username core.girls_profiles_username, '
             'language core.girls_profiles_language, '
             'created_at timestamp with time zone!=, updated_at timestamp with time zone!=, '
             'message_count integer!=, name core.girls_profiles_name, '
             'previous_response_id core.girls_profiles_previous_response_id, '
             'summary core.girls_profiles_summary!=, profile core.girls_profiles_profile!=, '
             'extra core.girls_profiles_extra!='),
            ('core.conversations',
             'bot_id bigint!=, conversation_id bigint!#, profile_id bigint!, chat_id bigint!, '
             'thread_id bigint!=, started_at core.conversations_started_at!=, '
             'type core.conversations_type, title core.conversations_title, '
             'created_at timestamp with time zone!=, updated_at timestamp with time zone!=, '
             'metadata core.conversations_metadata!='),
            ('core.messages',
             'bot_id bigint!=, conversation_id bigint!, message_id bigint!#, '
             'sent_at core.messages_sent_at!=, created_at timestamp with time zone!=, '
             'updated_at timestamp with time zone!=, source_file_id bigint, sender_id bigint, '
             'edited_at timestamp with time zone, deleted_at timestamp with time zone, '
             'external_id character varying(255), reply_to character varying(255), '
             'kind character varying(32), delivery character varying(16), '
             'direction core.messages_direction!, body core.messages_body!, '
             'metadata core.messages_metadata'),
            ('core.bot_metrics',
             'bot_id bigint!=, day date!, messages_in integer!=, messages_out integer!=, '
             'new_conversations integer!=, active_contacts integer!=, reply_p50 interval, '
             'reply_p95 interval, created_at timestamp with time zone!=, '
             'updated_at timestamp with time zone!=')
        ) as e (name, columns)
        cross join lateral string_to_table(e.columns, ', ') as c (shown)
        where not exists (
            select
            from pg_attribute as a
            where a.attrelid = to_regclass(e.name) and a.attnum > 0 and not a.attisdropped
              and c.shown = a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
                            || case when a.attnotnull then '!' else '' end
                            || case when a.atthasdef then '=' else '' end
                            || case when a.attidentity = 'a' then '#' else '' end))
    union all
    select 15, 'every key, check and index is there', (
        select string_agg(format('%s on %s', e.name, t.owner), ', ')
        from (values
            ('core.error_code',     'error_code_pk error_code_name_uq error_code_code_ck'),
            ('core.bot_table',      'bot_table_pk bot_table_place_uq bot_table_drop_ck'),
            ('core.bot_names',      'bot_names_pk bot_names_name_uq'),
            ('core.stale_days',     'stale_days_pk'),
            ('core.conversation_totals', 'conversation_totals_pk conversation_totals_last_idx'),
            ('core.uncounted',      'uncounted_pk'),
            ('core.leaf_hook',      'leaf_hook_pk'),
            ('core.bots',           'bots_pk bots_id_ck bots_name_ck bots_owner_ck bots_status_ck '
                                    'bots_config_ck'),
            ('core.girls_profiles', 'girls_profiles_pk girls_profiles_telegram_uq '
                                    'girls_profiles_message_count_ck girls_profiles_chat_idx'),
            ('core.conversations',  'conversations_pk conversations_chat_uq '
                                    'conversations_profile_idx'),
            ('core.message_kind',   'message_kind_pk'),
            ('core.messages',       'messages_pk messages_sent_at_idx messages_external_uq'),
            ('core.bot_metrics',    'bot_metrics_pk bot_metrics_day_ck bot_metrics_counts_ck '
                                    'bot_metrics_reply_ck')
        ) as t (owner, names)
        cross join lateral string_to_table(t.names, ' ') as e (name)
        where not exists (
            select from pg_constraint as c
            where c.conrelid = to_regclass(t.owner) and c.conname = e.name)
          and not exists (
            select from pg_index as i
            where i.indrelid = to_regclass(t.owner)
              and i.indexrelid = to_regclass(format('core.%I', e.name))))
    union all
    select 16, 'every function is there', (
        select string_agg(e.signature, ', ')
        from unnest(array[
            'core.current_bot_id()', 'core.ensure_contact(bigint, bigint, text, timestamptz)',
            'core.ensure_conversation(bigint, bigint, text, timestamptz, bigint)',
            'core.set_contact(bigint, text, text, text, boolean, text, timestamptz, bigint)',
            'core.set_chat(bigint, text, text, bigint, bigint)',
            'core.record_edit(bigint, text, text, timestamptz, jsonb, bigint, bigint)',
            'core.record_deletion(bigint, text, timestamptz, bigint, bigint)',
            'core.record_delivery(bigint, text, text, bigint, bigint)',
            'core.read_messages(bigint, bigint, integer, bigint, bigint)',
            'core.ensure_leaves(bigint)',
            'core.ensure_partition(regclass, timestamptz)',
            'core.record_message(bigint, text, text, timestamptz, text, bigint, text, bigint, '
            'text, text, jsonb, text, text, bigint)',
            'core.check_message(bigint, text, text, timestamptz, text, text)'
        ]) as e (signature)
        where to_regprocedure(e.signature) is null)
    union all
    select 17, 'every table of a bot''s rows is registered, as what it is', (
        select string_agg(e.relation, ', ')
        from (values
            ('core.bots', false, true, 'delete'), ('core.bot_names', true, false, 'delete'),
            ('core.stale_days', true, false, 'delete'),
            ('core.conversation_totals', true, false, 'delete'),
            ('core.uncounted', true, false, 'delete'),
            ('core.girls_profiles', false, true, 'refuse'),
            ('core.conversations', false, true, 'refuse'),
            ('core.messages', false, true, 'refuse'), ('core.bot_metrics', true, true, 'refuse')
        ) as e (relation, is_derived, is_audited, on_bot_drop)
        where not exists (
            select
            from core.bot_table as t
            where t.relation = to_regclass(e.relation)
              and (t.is_derived, t.is_audited, t.on_bot_drop)
                  = (e.is_derived, e.is_audited, e.on_bot_drop)))
    union all
    select 18, 'every code that a function raises is in core.error_code', (
        select string_agg(format('%s in %s', m.code[1], p.oid::regprocedure), ', ')
        from pg_proc as p
        cross join lateral regexp_matches(p.prosrc, e'''(MB\\d{3})''', 'g') as m (code)
        where p.pronamespace in ('core'::regnamespace, 'core_upkeep'::regnamespace)
          and not exists (select from core.error_code as e where e.code = m.code[1]))
    union all
    select 19, 'every domain bounds what it is for', (
        select string_agg(format('%s of core.%s', e.name, e.domain), ', ')
        from (values
            ('girls_profiles_name',                 'girls_profiles_name_ck'),
            ('girls_profiles_previous_response_id', 'girls_profiles_previous_response_id_ck'),
            ('girls_profiles_last_activity',        'girls_profiles_activity_ck'),
            ('girls_profiles_summary',      'girls_profiles_summary_ck'),
            ('girls_profiles_summary',      'girls_profiles_summary_size_ck'),
            ('girls_profiles_profile',      'girls_profiles_profile_ck'),
            ('girls_profiles_profile',      'girls_profiles_profile_size_ck'),
            ('girls_profiles_extra',        'girls_profiles_extra_ck'),
            ('girls_profiles_extra',        'girls_profiles_extra_size_ck'),
            ('conversations_started_at',      'conversations_started_at_ck'),
            ('conversations_metadata',        'conversations_metadata_ck'),
            ('conversations_metadata',        'conversations_metadata_size_ck'),
            ('girls_profiles_first_seen_at', 'girls_profiles_first_seen_ck'),
            ('girls_profiles_standing',     'girls_profiles_standing_ck'),
            ('girls_profiles_username',     'girls_profiles_username_ck'),
            ('girls_profiles_language',     'girls_profiles_language_ck'),
            ('conversations_type',          'conversations_type_ck'),
            ('conversations_title',         'conversations_title_ck'),
            ('messages_sent_at',   'messages_sent_at_ck'),
            ('messages_direction', 'messages_direction_ck'),
            ('messages_body',      'messages_body_ck'),
            ('messages_metadata',  'messages_metadata_ck'),
            ('messages_metadata',  'messages_metadata_size_ck')
        ) as e (domain, name)
        where not exists (
            select
            from pg_constraint as k
            where k.contypid = to_regtype(format('core.%I', e.domain)) and k.conname = e.name
              and k.contype = 'c' and k.convalidated))
)
select check_name, offenders is null as ok, offenders as detail
from result
order by place;
