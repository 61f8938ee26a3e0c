-- How long entries are kept.

create function audit.set_retention(p_days integer)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    if p_days is null or p_days not between 30 and 36500 then
        raise exception using
            errcode = 'MB206',
            message = format('the log can''t be kept for %s days', coalesce(p_days::text, 'null')),
            hint    = 'Pass 30 to 36500 days.';
    end if;
    perform audit.record_event('setting', 'warning', jsonb_build_object(
        'retention_days', p_days, 'was', (select retention_days from audit.setting)));
    update audit.setting set retention_days = p_days;
end
$func$;

comment on function audit.set_retention(integer) is
    'How many days a month of the log is kept after its end, at least 30. Logged. MB206.';

create function audit.months()
returns table (leaf regclass, ends_at timestamptz)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select leaf, substring(bound from e'TO \\(''([^'']+)''\\)')::timestamptz
from core.leaves('audit.security_audit_log')
$func$;

comment on function audit.months() is 'The months of the log: (leaf, when it ends).';

create function audit.expired_months()
returns table (leaf regclass, ends_at timestamptz, entries int8multirange)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_month    record;
    v_entries  int8multirange;
begin
    for v_month in
        select m.leaf, m.ends_at
        from audit.months() as m
        cross join audit.setting as s
        where m.ends_at < now() - make_interval(days => s.retention_days)
        order by m.ends_at
    loop
        execute format('select coalesce(range_agg(int8range(entry_id, entry_id, ''[]'')), ''{}'') '
                       'from %s', v_month.leaf) into v_entries;
        -- the oldest first: what is gone is all that came before
        exit when not audit.sealed_before(now() - interval '30 days') @> v_entries;
        return query select v_month.leaf, v_month.ends_at, v_entries;
    end loop;
end
$func$;

comment on function audit.expired_months() is
    'The months whose time is over and that have been sealed for 30 days, without a gap from the
oldest on: (leaf, ends_at, entries).';

create function audit.preview_drop_expired()
returns table (what text, row_count bigint)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select m.leaf::text, sum(upper(e) - lower(e))::bigint
from audit.expired_months() as m
left join lateral unnest(m.entries) as e on true
group by m.leaf, m.ends_at
order by m.ends_at
$func$;

comment on function audit.preview_drop_expired() is
    'What audit.drop_expired would drop, of which it does nothing: (what: a month of the log,
row_count: its entries).';

create function audit.drop_expired()
returns table (month text, entry_count bigint)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
declare
    v_month  record;
    v_days   integer := (select retention_days from audit.setting);
begin
    perform audit.claim_seals('the log can''t be shortened');
    if not exists (
        select from audit.security_audit_log
        where kind = 'setting' and occurred_at > now() - interval '30 days'
    ) and exists (select from audit.expired_months()) then
        -- what was last said of it may go with a month
        perform audit.record_event('setting', 'notice', jsonb_build_object(
            'retention_days', v_days, 'was', v_days));
    end if;
    for v_month in select * from audit.expired_months() loop
        perform audit.claim_month(v_month.leaf);
        month := v_month.leaf::text;
        select coalesce(sum(upper(e) - lower(e)), 0)::bigint into entry_count
        from unnest(v_month.entries) as e;
        perform audit.record_event('retention', 'notice', jsonb_build_object(
            'month', month, 'entry_count', entry_count, 'retention_days', v_days));
        execute format('drop table %s', v_month.leaf);
        return next;
    end loop;
end
$func$;

comment on function audit.drop_expired() is
    'Drops the months that audit.setting no longer keeps and that have been sealed, to the last
entry, for 30 days: (month, entry_count). Logged; the seals stay. Waits at most 2 s for a lock, then
ends the sessions of bots and workers that are in the way. MB130: another one''s is.';

create function audit.preview_rollback()
returns table (what text, row_count bigint)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
-- what was accepted is on record in security.acceptance, too
select 'entries of the audit log', count(*)
from audit.security_audit_log
where kind is distinct from 'inventory_accepted'
union all
select 'seals', count(*) from audit.seal where seal_id > 0
$func$;

comment on function audit.preview_rollback() is
    'What the rollback of 003_audit would throw away: (what, row_count). The entries are left as a
table in public, which nothing seals.';
