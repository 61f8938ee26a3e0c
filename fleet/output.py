"""Files that the user named, for results or a log."""

from collections.abc import Iterator
from contextlib import contextmanager

from fleet.errors import USAGE, FleetError


@contextmanager
def writing(what: object, hint: str = "Name a file in a folder that you may write to."
            ) -> Iterator[None]:
    """Turns the refusal of a file that the user named into MB900, with the system's reason."""
    try:
        yield
    except OSError as fault:
        raise FleetError("MB900", f"can't write {what}: {fault.strerror}", hint,
                         exit_code=USAGE) from None
