"""What the programs of Python have in common: values as they are bound, and rows as they are compared."""

import datetime
import json

ENDLESS = "select count(*) from generate_series(1, 1000000000000) where value % 7 = 8"
COPIED = "select ad_id, clicks from clicks_daily where campaign_id = 'spring' order by 1"


def asks(path):
    with open(path) as file:
        return [(ask["sql"], [bound(kind, value) for kind, value in ask["values"]]) for ask in json.load(file)]


def bound(kind, value):
    if value is None or kind not in ("time", "times"):
        return value
    time = datetime.datetime.fromisoformat
    return time(value) if kind == "time" else [time(one) for one in value]


def shown(value):
    if isinstance(value, datetime.datetime):
        # One without a zone would be one of this machine's to most programs.
        return value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [shown(one) for one in value] if isinstance(value, list) else value


def rows(rows):
    return [[shown(value) for value in row] for row in rows]


def failed(error):
    return f"{type(error).__name__} {getattr(error, 'sqlstate', None)}: {error}"
