-- Nobody is given anything by being PUBLIC.

revoke execute on all functions in schema core, core_upkeep from public;
