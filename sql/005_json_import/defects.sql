-- All that is wrong with one file.

create function json_import.is_too_deep(p_text text, p_doc jsonb)
returns boolean
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
-- strict: a lax filter would look into an array instead of at it
select case when p_doc is not null
    then p_doc @? 'strict $.**{512} ? (@.type() == "object" || @.type() == "array")'
    else coalesce((
        select max(depth)
        from (
            select sum(case when bracket[1] in ('[', '{') then 1 else -1 end)
                       over (order by ordinal) as depth
            from regexp_matches(p_text, e'"(?:[^"\\\\]|\\\\.)*"|([][{}])', 'g')
                with ordinality as m (bracket, ordinal)
            where bracket[1] is not null
        ) as d), 0) > 512
end
$func$;

comment on function json_import.is_too_deep(text, jsonb) is
    'Whether JSON, given as text and, where jsonb can hold it, as jsonb, has more than 512 levels.';

create function json_import.content_defects(
    p_text     text,
    p_kind     text,
    p_chat_id  bigint,
    p_strict   boolean
)
returns setof json_import.defect
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_doc  jsonb := json_import.parse(convert_to(p_text, 'UTF8'));
begin
    if json_import.is_too_deep(p_text, v_doc) then
        return query values ('', 'MB407', 'nested deeper than 512 levels', null::text);
        return;
    end if;
    if v_doc is null then
        return query
        select * from json_import.value_defects(json_import.mask_escapes(p_text)::json);
        return;
    end if;
    -- with a huge number the document is not to be printed, and is none to load anyway
    if json_import.has_huge_number(v_doc)
       or json_import.string_count(p_text) <> json_import.string_count(v_doc::text) then
        return query select * from json_import.duplicate_keys(p_text::json);
    end if;
    if json_import.may_be_large(p_text, v_doc) then
        return query select * from json_import.bound_defects(v_doc, p_kind);
    end if;
    if p_kind in ('profile', 'profiles') then
        return query select * from json_import.profile_defects(v_doc, p_kind, p_chat_id, p_strict);
        if p_kind = 'profiles' and not found then
            return query select * from json_import.duplicate_contacts(v_doc);
        end if;
    else
        return query select * from json_import.wrapper_defects(v_doc, p_chat_id, p_strict);
        if p_strict or json_import.are_plain(json_import.message_list(v_doc)) is not true then
            return query select * from json_import.message_defects(v_doc, p_strict);
        end if;
    end if;
end
$func$;

comment on function json_import.content_defects(text, text, bigint, boolean) is
    'Everything wrong with a JSON text of the given kind.';

create function json_import.defects(
    p_bytes    bytea,
    p_kind     text,
    p_chat_id  bigint,
    p_strict   boolean default false
)
returns setof json_import.defect
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_text  text;
begin
    if p_kind = 'other' then
        return query values ('', 'MB423', 'a JSON file of no known kind', null::text);
        return;
    end if;
    return query select * from json_import.byte_defects(p_bytes);
    if found then
        return;
    end if;
    v_text := json_import.decode(p_bytes);
    return query select * from json_import.syntax_defects(v_text);
    if found then
        return;
    end if;
    return query select * from json_import.content_defects(v_text, p_kind, p_chat_id, p_strict);
end
$func$;

comment on function json_import.defects(bytea, text, bigint, boolean) is
    'The diagnosis: every defect of a file''s bytes, none if it can be loaded. Bytes first, then
syntax, then content; a phase that finds something is the last.';
