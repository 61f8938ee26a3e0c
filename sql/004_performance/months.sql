-- Months made ahead, leaves made for new bots.

create table performance.monthly_table (
    relation      regclass  not null,
    ensure_month  text      not null,

    constraint monthly_table_pk primary key (relation)
);

comment on table performance.monthly_table is
    'The tables that are partitioned by month: each migration that makes one adds it here.';
comment on column performance.monthly_table.relation is 'The partitioned table.';
comment on column performance.monthly_table.ensure_month is
    'Signature of the function of a timestamptz that makes the month, as the table''s owner.';

insert into performance.monthly_table (relation, ensure_month)
values ('audit.security_audit_log', 'audit.ensure_month(timestamp with time zone)');

create function performance.make_months(p_ahead integer default 3)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
set timezone = 'UTC'  -- a month after 30 January, 23:30 in New York, is a day of March here
as $func$
declare
    v_table   performance.monthly_table;
    v_before  integer;
    v_made    integer := 0;
begin
    for v_table in select * from performance.monthly_table order by relation loop
        v_before := (select count(*)::integer from core.leaves(v_table.relation));
        for v_month in 0 .. p_ahead loop
            execute format('select %s($1)', core.routine_name(v_table.ensure_month))
            using now() + v_month * interval '1 month';
        end loop;
        v_made := v_made - v_before
                  + (select count(*)::integer from core.leaves(v_table.relation));
    end loop;
    return v_made;
end
$func$;

comment on function performance.make_months(integer) is
    'Makes this month and the next p_ahead of every table in performance.monthly_table where they
are missing; returns how many it made. Nobody who reads or writes waits for it.';

create function performance.follow_bots()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    perform core.ensure_leaves(new.bot_id);
    perform performance.make_months(1);
    return null;
end
$func$;

comment on function performance.follow_bots() is
    'Trigger on core.bots: a new bot finds the partitions it needs (its own leaf of core.bots
security.create_bot makes before).';

create trigger follow_bots
    after insert on core.bots
    for each row execute function performance.follow_bots();
