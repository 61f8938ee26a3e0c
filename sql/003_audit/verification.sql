-- audit.verify_seals().

create function audit.entries_in(p_entries int8multirange)
returns numeric
language sql immutable
set search_path = pg_catalog, pg_temp
as $func$
select coalesce(sum(upper(e)::numeric - lower(e)), 0) from unnest(p_entries) as e
$func$;

comment on function audit.entries_in(int8multirange) is
    'How many entries these are; null if there is no end to them.';

create function audit.sealed_entries(p_seal audit.seal)
returns table (entry_id bigint, leaf bytea, salt bytea)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with bytes as (
    select p_seal.leaves || ''::bytea as leaves, p_seal.salts || ''::bytea as salts  -- read once
    offset 0
), entry as (
    select i as entry_id, row_number() over (order by i)::integer as place
    from unnest(p_seal.entries) as e
    cross join lateral generate_series(lower(e), upper(e) - 1) as i
    -- or a seal that somebody wrote could go on for ever
    where length(p_seal.leaves) = 32 * audit.entries_in(p_seal.entries)
)
select e.entry_id, substr(b.leaves, e.place * 32 - 31, 32), substr(b.salts, e.place * 16 - 15, 16)
from entry as e
cross join bytes as b
$func$;

comment on function audit.sealed_entries(audit.seal) is
    'What a seal says of each entry: (entry_id, leaf, salt).';

create function audit.check_chain()
returns table (seal_id bigint, entry_id bigint, problem text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select s.seal_id, null::bigint,
       case when s.seal_id is distinct from coalesce(p.seal_id + 1, 0)
            then 'a seal before it is gone' else 'the seal was changed' end
from audit.seal as s
left join lateral (
    select b.seal_id, b.root from audit.seal as b
    where b.seal_id < s.seal_id order by b.seal_id desc limit 1
) as p on true
where s.seal_id is distinct from coalesce(p.seal_id + 1, 0)
   or p.seal_id is not null and s.root is distinct from audit.seal_root(s, p.root)
   or length(s.leaves) is distinct from 32 * audit.entries_in(s.entries)
   or length(s.salts) is distinct from 16 * audit.entries_in(s.entries)
union all
select null, null, 'there is no seal, not even the first' where not exists (select from audit.seal)
$func$;

comment on function audit.check_chain() is
    'The part of audit.verify_seals about the seals themselves.';

create function audit.check_sealed()
returns table (seal_id bigint, entry_id bigint, problem text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select s.seal_id, e.entry_id,
       case when l.entry_id is null then 'deleted'
            when x.entry_id is not null then 'changed, and not only by audit.erase'
            else 'changed, or there twice' end
from audit.seal as s
cross join lateral audit.sealed_entries(s) as e
left join audit.sealable as l on l.entry_id = e.entry_id
left join audit.erasures() as x on x.entry_id = e.entry_id
left join audit.ended_entries() as r on r.seal_id = s.seal_id and r.entries @> e.entry_id
where case when l.entry_id is null then r.entries is null
           when x.entry_id is null
               then sha256(l.facts || sha256(e.salt || l.contents)) <> e.leaf
           -- by the leaf the facts are what they were, and the contents were what the event says
           else not x.is_chain or sha256(l.facts || x.first_contents) <> e.leaf
                or sha256(e.salt || l.contents) <> x.last_contents end
union all
select null, l.entry_id, 'changed, and not only by audit.erase'
from audit.erasures() as x
join audit.security_audit_log as l on l.entry_id = x.entry_id
where not (audit.is_blanked(l.old_values, l.is_block, l.row_count)
           and audit.is_blanked(l.new_values, l.is_block, l.row_count)
           and coalesce(l.old_values, l.new_values) is not null)
$func$;

comment on function audit.check_sealed() is
    'The part of audit.verify_seals about entries that a seal covers. Of one that was erased, all
but the values is as it was sealed, and the values are marks.';

create function audit.sealed_before(p_at timestamptz)
returns int8multirange
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select coalesce(range_agg(e), '{}')
from audit.seal as s
cross join lateral unnest(s.entries) as e
where s.sealed_at < p_at
$func$;

comment on function audit.sealed_before(timestamptz) is
    'entry_id of all that was sealed before a time.';

create function audit.check_unsealed()
returns table (seal_id bigint, entry_id bigint, problem text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select null::bigint, l.entry_id, 'inserted among what was sealed'
from (select * from audit.seal order by seal_id desc limit 1) as last
join audit.security_audit_log as l on l.entry_id <= last.last_entry
where not (select audit.sealed_before('infinity')) @> l.entry_id
  and not last.gaps @> l.entry_id
$func$;

comment on function audit.check_unsealed() is
    'The part of audit.verify_seals about entries that should be in a seal, and are in none.';

create function audit.unsealed_since()
returns timestamptz
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select l.occurred_at
from (select * from audit.seal order by seal_id desc limit 1) as last
join audit.security_audit_log as l on l.entry_id > last.last_entry
order by l.entry_id
limit 1
$func$;

comment on function audit.unsealed_since() is
    'When the oldest entry was written that comes after the last seal; null if there is none. How
long the log has been without one.';

create function audit.preview_seal()
returns table (what text, row_count bigint)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select 'entries to seal', count(*)
from (select * from audit.seal order by seal_id desc limit 1) as last
join audit.security_audit_log as l on l.entry_id > last.last_entry
$func$;

comment on function audit.preview_seal() is
    'What audit.seal would seal, of which it does nothing: (what, row_count).';

create function audit.check_times()
returns table (seal_id bigint, entry_id bigint, problem text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
-- a server's clock may be set back a little
select s.seal_id, l.entry_id,
       case when l.occurred_at > s.sealed_at + interval '5 s' then 'dated later than its seal'
            else 'back-dated' end
from audit.seal as s
join audit.seal as p on p.seal_id = s.seal_id - 1 and p.cluster = s.cluster
cross join lateral unnest(s.entries) as e
join audit.security_audit_log as l on l.entry_id >= lower(e) and l.entry_id < upper(e)
where s.seal_id > 1 and (
    l.occurred_at > s.sealed_at + interval '5 s'
    or l.transaction_id < p.complete_xid_min
    or l.occurred_at < p.complete_at - interval '5 s' and (
        l.transaction_id >= p.complete_xid_max
        -- it was at work already: then it began after the last seal that did not know its id
        or l.occurred_at < (
            select max(q.sealed_at)
            from audit.seal as q
            where q.seal_id < s.seal_id
              and (q.xid_max <= l.transaction_id or q.cluster <> s.cluster)) - interval '5 s'))
$func$;

comment on function audit.check_times() is
    'The part of audit.verify_seals about times: an entry is from after the last seal, unless its
transaction was at work already.';

create function audit.check_machinery()
returns table (seal_id bigint, entry_id bigint, problem text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with state as (
    select seal_id, sealed_at, cluster, machinery, last_entry, gaps
    from audit.seal
    union all
    select null, clock_timestamp(), audit.cluster(), audit.machinery(), null, null
), step as (
    select s.*, lag(machinery) over by_time as old_machinery,
           lag(cluster) over by_time as old_place, lag(sealed_at) over by_time as since,
           lag(last_entry) over by_time as old_entry,
           lag(gaps) over by_time as old_gaps
    from state as s
    window by_time as (order by seal_id nulls last)
)
select s.seal_id, null::bigint,
       format('what captures was changed after %s, and no entry says so', s.since)
from step as s
where s.machinery <> s.old_machinery and s.old_machinery <> '' and s.cluster = s.old_place
  and not exists (
    select
    from audit.security_audit_log as l
    -- a month that goes takes its triggers along; a migration ends with its acceptance
    where (l.kind in ('capture', 'inventory_accepted')
           or l.entry_id in (select m.entry_id from audit.ended_months() as m))
      and l.occurred_at <= s.sealed_at
      and (l.entry_id > s.old_entry or s.old_gaps @> l.entry_id))
  -- as long as the entries of that time are kept
  and s.since >= coalesce((select max(m.ended_at) from audit.ended_months() as m), '-infinity')
$func$;

comment on function audit.check_machinery() is
    'The part of audit.verify_seals about triggers and functions that were touched between two
seals, if only for a moment.';

create function audit.check_acceptance()
returns table (seal_id bigint, entry_id bigint, problem text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select null::bigint, l.entry_id, 'what is accepted now is not what this entry says'
from (
    select entry_id, audit.unread_text(new_values, 'digest')
    from audit.security_audit_log
    where kind = 'inventory_accepted'
    order by entry_id desc
    limit 1
) as l (entry_id, digest)
where l.digest is distinct from security.accepted_digest()
$func$;

comment on function audit.check_acceptance() is
    'The part of audit.verify_seals about what was accepted: somebody who writes into security''s
tables does not write into the log.';

create function audit.verify_seals(p_seal_id bigint default null, p_root text default null)
returns table (seal_id bigint, entry_id bigint, problem text)
language plpgsql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set jit = off
as $func$
begin
    return query
        select * from audit.check_chain()
        union all
        select * from audit.check_sealed()
        union all
        select * from audit.check_unsealed()
        union all
        select * from audit.check_times()
        union all
        select * from audit.check_events()
        union all
        select * from audit.check_machinery()
        union all
        select * from audit.check_acceptance();
    if not exists (
        select from audit.seal as s
        where s.seal_id = p_seal_id and encode(s.root, 'hex') = lower(p_root))
       and (p_seal_id is not null or p_root is not null) then
        return query select p_seal_id, null::bigint, 'the root kept elsewhere is not this one';
    end if;
end
$func$;

comment on function audit.verify_seals(bigint, text) is
    'What is wrong with the log, no row if nothing is: (seal_id, entry_id, problem), by the seals
and, if given, by one root that was kept elsewhere. Reads the whole log.';
