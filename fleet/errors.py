"""The one exception that carries a fact to the user: code, message, place, next step, exit code."""

import psycopg

# Exit codes, the same for every command (the README lists them).
DONE, FAILED, USAGE, PENDING, DRIFT, LOCKED, QUARANTINED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130
BUSY = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)  # worth another try
DIFFERS = PENDING  # the database is not what was accepted: nothing is broken, something waits


class FleetError(Exception):
    """Something the user can act on; caught once, in `runner.main`.

    `code` is a row of core.error_code (SQLSTATE class MB); `message` states the fact with its
    value, `place` says where (a file and line, user@host:port/db), `hint` is the next step.
    """

    def __init__(self, code: str, message: str, hint: str = "", place: str = "",
                 exit_code: int = FAILED):
        super().__init__(message)
        self.code, self.message, self.hint, self.place = code, message, hint, place
        self.exit_code, self.part = exit_code, ""
