"""Pure words every floor speaks: money, time, ids, errors, pages, text."""
