-- Say in one line what is in this file.

-- The SQL goes here. A second topic is a file of its own, which apply.sql includes.
