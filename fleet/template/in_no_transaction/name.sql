-- Say in one line what is in this file.

-- The SQL goes here; each statement is committed by itself and may be run again after a crash:
-- `drop index concurrently if exists` stands before `create index concurrently`.
