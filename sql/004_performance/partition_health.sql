-- Rows and sizes of each partition.

create view performance.partition_health
with (security_invoker = true)
as
select t.oid::regclass as table_name, c.oid::regclass as partition, s.n_live_tup as live_rows,
       s.n_dead_tup as dead_rows, pg_total_relation_size(c.oid) as octets,
       round(s.n_live_tup / nullif(avg(s.n_live_tup) over (partition by t.oid), 0), 2) as skew,
       greatest(s.last_vacuum, s.last_autovacuum) as vacuumed_at,
       greatest(s.last_analyze, s.last_autoanalyze) as analyzed_at
from pg_partitioned_table as p
join pg_class as t on t.oid = p.partrelid
join pg_inherits as i on i.inhparent = t.oid
join pg_class as c on c.oid = i.inhrelid
join pg_stat_all_tables as s on s.relid = c.oid
where t.relnamespace in ('core'::regnamespace, 'audit'::regnamespace);

comment on view performance.partition_health is
    'Each leaf and month: rows and dead rows by the server''s statistics, size in bytes with
indexes, rows as a multiple of the table''s average partition, when it was last vacuumed and
analyzed.';
