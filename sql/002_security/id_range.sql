-- Which ids this installation gives to bots and files.

create function security.has_ids(
    p_table   regclass,
    p_column  name,
    p_first   bigint,
    p_last    bigint
)
returns boolean
language plpgsql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
declare
    v_found  boolean;
begin
    execute format('select exists (select from %s where %I between $1 and $2)', p_table, p_column)
    into v_found using p_first, p_last;
    return v_found;
end
$func$;

comment on function security.has_ids(regclass, name, bigint, bigint) is
    'Whether a registered table has an id between two: sees every row, which its owner does not.';

create function security.hold_sequence(p_sequence regclass)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_next  bigint;
begin
    -- by the lock this takes: whoever draws a number waits, nobody draws one unseen
    execute format('alter sequence %s no cycle', p_sequence);
    execute format('select last_value + is_called::integer from %s', p_sequence) into v_next;
    return v_next;
end
$func$;

comment on function security.hold_sequence(regclass) is
    'Keeps everybody else from drawing of a sequence until the transaction ends; returns the number
that comes next. For the sequence''s owner.';

create function security.set_id_range_of(
    p_entry  core.bot_table,
    p_first  bigint,
    p_last   bigint
)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_sequence  regclass := to_regclass(
        pg_get_serial_sequence(p_entry.relation::text, p_entry.ranged_id));
    v_next      bigint   := security.hold_sequence(v_sequence);
    v_taken     text;
begin
    if v_next not between p_first and p_last + 1 then
        v_next := p_first;
    end if;

    select string_agg(t.relation::text, ', ' order by t.place) into v_taken
    from core.bot_tables() with ordinality as t (relation, place)
    where (t.relation = p_entry.relation or p_entry.ranged_id = 'bot_id')
      and security.has_ids(t.relation, p_entry.ranged_id, v_next, p_last);
    if v_taken is not null or v_next > p_last then
        raise exception using
            errcode = 'MB123',
            message = format('%s of %s can''t come from %s to %s: %s', p_entry.ranged_id,
                             p_entry.relation, p_first, p_last,
                             case when v_taken is null then 'that range is used up'
                                  else 'from ' || v_next || ' on there are such ids already' end),
            detail  = coalesce(format('They are in %s.', v_taken), ''),
            hint    = 'Pass a range that this installation and no other is to use.';
    end if;
    execute format('alter sequence %s minvalue %s maxvalue %s start %s restart %s',
                   v_sequence, p_first, p_last, p_first, v_next);
    return v_next;
end
$func$;

comment on function security.set_id_range_of(core.bot_table, bigint, bigint) is
    'The part of security.set_id_range about one column; returns the next id. MB123.';

create function security.set_id_range(p_first bigint, p_last bigint)
returns table (relation regclass, next_id bigint)
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    -- 18 digits: what a bot's login can be read back from
    if (p_first between 1 and p_last and p_last <= 999999999999999999) is not true then
        raise exception using
            errcode = 'MB123',
            message = format('there is no range of ids from %s to %s',
                             coalesce(p_first::text, 'null'), coalesce(p_last::text, 'null')),
            hint    = 'Pass two numbers from 1 to 999999999999999999, the lower one first.';
    end if;
    return query
        select t.relation, security.set_id_range_of(t, p_first, p_last)
        from core.bot_table as t
        join core.bot_tables() as r (relation) using (relation)
        where t.ranged_id is not null
        order by t.place;
end
$func$;

comment on function security.set_id_range(bigint, bigint) is
    'From now on bots and files (core.bot_table.ranged_id) get ids from p_first to p_last, 1 to
999999999999999999: one range for each installation of a fleet, so that a bot can move from one to
another. Returns each table with the id that comes next. A range may be called for again, or made
wider. For the tables'' owner. MB123: no range, used up, or with ids in it that were not given out
here; nothing is changed then.';
