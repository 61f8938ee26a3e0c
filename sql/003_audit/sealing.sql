-- audit.seal().

create function audit.collect_entries(p_previous audit.seal, p_limit integer)
returns table (entries int8multirange, months date[], month_entries int8multirange[],
               entry_count integer, row_count bigint, last_entry bigint, is_complete boolean,
               snapshot pg_snapshot, leaves bytea, salts bytea)
language sql
set search_path = pg_catalog, pg_temp
as $func$
-- one statement, one snapshot: what it does not see is not finished, or was rolled back
with seed as materialized (  -- kept nowhere: a salt that is destroyed can't be made again
    select uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) as octets
), chosen as materialized (
    select t.entry_id, t.row_count, t.occurred_at, t.month, x.salt,
           sha256(t.facts || sha256(x.salt || t.contents)) as leaf
    from (
        (select * from audit.sealable
         where entry_id > p_previous.last_entry order by entry_id limit p_limit)
        union all
        select s.*
        from unnest(p_previous.gaps) as g
        join audit.sealable as s on s.entry_id >= lower(g) and s.entry_id < upper(g)
    ) as t
    cross join seed
    cross join lateral (
        select substr(sha256(seed.octets || int8send(t.entry_id)), 1, 16) offset 0
    ) as x (salt)
), island as (
    select int8range(min(entry_id), max(entry_id), '[]') as entries,
           date_trunc('month', max(occurred_at) at time zone 'UTC')::date as month
    from (select month, entry_id, occurred_at,
                 entry_id - row_number() over (partition by month order by entry_id) as gap
          from chosen) as i
    group by month, gap
), by_month as (
    select month, range_agg(entries) as entries from island group by month
)
select coalesce((select range_agg(i.entries) from island as i), '{}'),
       array(select m.month from by_month as m order by m.month),
       array(select m.entries from by_month as m order by m.month),
       count(*)::integer, coalesce(sum(row_count), 0)::bigint,
       greatest(max(entry_id), p_previous.last_entry),
       not exists (select from audit.security_audit_log as l
                   where l.entry_id > greatest((select max(c.entry_id) from chosen as c),
                                               p_previous.last_entry)),
       pg_current_snapshot(),
       coalesce(string_agg(leaf, '' order by entry_id), ''),
       coalesce(string_agg(salt, '' order by entry_id), '')
from chosen
$func$;

comment on function audit.collect_entries(audit.seal, integer) is
    'What a next seal is to cover, how the transactions stood then, and whether nothing was left out
for p_limit.';

create function audit.next_seal(p_previous audit.seal, p_limit integer, p_at timestamptz)
returns audit.seal
language sql
set search_path = pg_catalog, pg_temp
as $func$
select s.seal_id, s.sealed_at, s.entries, s.entry_count, s.row_count, s.last_entry, s.gaps,
       s.xid_max, s.complete_at, s.complete_xid_min, s.complete_xid_max, s.cluster, s.machinery,
       s.leaves, s.salts, audit.seal_root(row(s.*)::audit.seal, p_previous.root), s.months,
       s.month_entries
from (
    select p_previous.seal_id + 1, p_at, c.entries, c.entry_count, c.row_count, c.last_entry,
           int8multirange(int8range(p_previous.last_entry, c.last_entry, '(]')) - c.entries
           -- whoever had drawn an entry_id by then may still be at work
           + case when x.is_same and x.xid_min < p_previous.xid_max
                  then p_previous.gaps - c.entries else '{}' end,
           x.xid_max,
           case when c.is_complete then p_at else p_previous.complete_at end,
           case when c.is_complete then x.xid_min else p_previous.complete_xid_min end,
           case when c.is_complete then x.xid_max else p_previous.complete_xid_max end,
           audit.cluster(), audit.machinery(), c.leaves, c.salts, ''::bytea, c.months,
           c.month_entries
    from audit.collect_entries(p_previous, p_limit) as c
    cross join lateral (
        select pg_snapshot_xmin(c.snapshot)::text::bigint,
               pg_snapshot_xmax(c.snapshot)::text::bigint, audit.cluster() = p_previous.cluster
    ) as x (xid_min, xid_max, is_same)
    offset 0
) as s (seal_id, sealed_at, entries, entry_count, row_count, last_entry, gaps, xid_max,
        complete_at, complete_xid_min, complete_xid_max, cluster, machinery, leaves, salts, root,
        months, month_entries)
$func$;

comment on function audit.next_seal(audit.seal, integer, timestamptz) is
    'The seal that follows one, for p_limit entries at most; p_at is a time before the call.';

create function audit.seal(p_limit integer default 50000)
returns table (seal_id bigint, entry_count integer, row_count bigint, root text)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_previous  audit.seal;
    v_seal      audit.seal;
begin
    if p_limit is null or p_limit not between 1 and 1000000 then
        raise exception using
            errcode = 'MB210',
            message = format('%s entries can''t be sealed at once', quote_nullable(p_limit)),
            hint    = 'Pass 1 to 1000000; call it again while entry_count is not 0.';
    end if;
    -- one at a time, and no erasure meanwhile; nobody who writes waits for it
    lock table audit.seal in share row exclusive mode;
    select * into v_previous from audit.seal as s order by s.seal_id desc limit 1;
    select * into v_seal from audit.next_seal(v_previous, p_limit, clock_timestamp());
    if v_seal.entry_count = 0 and v_seal.cluster = v_previous.cluster
       and v_seal.machinery = v_previous.machinery then
        return query select v_previous.seal_id, 0, 0::bigint, encode(v_previous.root, 'hex');
        return;
    end if;
    insert into audit.seal select v_seal.*;
    raise log 'audit: seal % of database %, root %',
        v_seal.seal_id, current_database(), encode(v_seal.root, 'hex');
    return query select v_seal.seal_id, v_seal.entry_count, v_seal.row_count,
                        encode(v_seal.root, 'hex');
end
$func$;

comment on function audit.seal(integer) is
    'Seals up to p_limit finished entries: (seal_id, entry_count, row_count, root in hex, for
keeping elsewhere; the server log has it, too). entry_count 0: nothing was left to seal. Writers
don''t wait for it. Maintenance calls it. MB210: p_limit is not 1 to 1000000.';

insert into audit.seal
select 0, s.at, '{}', 0, 0, 0, '{}', s.xid, s.at, s.xid, s.xid, audit.cluster(), '', '', '',
       sha256(uuid_send(gen_random_uuid()))
from (select clock_timestamp(), txid_current()) as s (at, xid);
