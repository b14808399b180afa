"""Time zones by name, for devices that send local time."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


def find_zone(name: str) -> ZoneInfo:
    """Find a time zone of the IANA database.

    Raises:
        ValueError: There is none of this name; the message says so in a few words.
    """
    try:
        return ZoneInfo(name)
    except (
        ZoneInfoNotFoundError,
        ValueError,
        OSError,
    ) as error:  # OSError: the name of a folder, or too long
        raise ValueError(
            f"no time zone {name!r}; expected a name such as 'Europe/Berlin' (are the system's time zones installed?)"
        ) from error
