-- What an UPDATE of a message's text cost before its trigger was told whether a column that counts
-- is named: both versions of each row compared, found the same.

drop trigger note_moving on core.messages;

create or replace function core_upkeep.count_moved_messages()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_moved  record;
begin
    for v_moved in
        select array_agg(bot_id) as bots, array_agg(conversation_id) as conversations,
               array_agg(change) as changes, array_agg(days) as days
        from (
            select bot_id, conversation_id, sum(change)::bigint as change,
                   core.days_of(array_agg(sent_at)) as days
            from (
                select bot_id, conversation_id, sent_at, sum(change) as change
                from (
                    select *, -1 as change from old_rows
                    union all
                    select *, 1 from new_rows
                ) as r
                group by bot_id, conversation_id, message_id, sent_at, direction
                having sum(change) <> 0
            ) as moved
            group by bot_id, conversation_id
        ) as touched
        having count(*) > 0
    loop
        raise exception 'a bench that moves messages';
    end loop;
    return null;
end
$func$;
