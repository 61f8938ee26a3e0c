-- Takes the foreign keys and triggers off a migrated database: what is left is what COPY must do.

do $bare$
declare
    v_statement  text;
begin
    for v_statement in
        select format('alter table %s drop constraint %I', c.conrelid::regclass, c.conname)
        from pg_constraint as c
        where c.contype = 'f' and c.conparentid = 0
          and c.connamespace in ('core'::regnamespace, 'core_partitions'::regnamespace)
        union all
        select format('drop trigger %I on %s', t.tgname, t.tgrelid::regclass)
        from pg_trigger as t
        join core.hash_tables() as b on b = t.tgrelid
        where not t.tgisinternal
    loop
        execute v_statement;
    end loop;
end
$bare$;
