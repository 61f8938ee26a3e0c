-- The leaves of today, and their statistics.

do $leaves$
declare
    v_table  regclass;
begin
    for v_table in select core.hash_tables() loop
        perform core.make_leaf(v_table, r) from generate_series(0, 9) as r;
    end loop;
end
$leaves$;

create function core.analyze_tables()
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
declare
    v_table  regclass;
begin
    for v_table in select core.hash_tables() loop
        -- before 18 a partitioned table is analyzed with its leaves only
        execute format('analyze %s %s', case when current_setting('server_version_num')::integer
                       >= 180000 then 'only' else '' end, v_table);
    end loop;
end
$func$;

comment on function core.analyze_tables() is
    'Statistics over all bots, for whoever reads the rows of several: autovacuum makes them for the
leaves only. Takes SHARE UPDATE EXCLUSIVE on the tables, to the end of the transaction.';
