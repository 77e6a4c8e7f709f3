#!/usr/bin/env python3
"""When a cron schedule is due, found in the plainest way there is: by watching a clock on a wall.

Owns the answers that tests/virtual_time/recurrence.rs holds the scheduler against, and shares nothing with it: the zone is the
system's (zoneinfo), the wall is looked at every minute (every second where the expression has seconds), and each field
of the expression is compared as a person would. What is remembered is what the wall has shown.

    oracle.py ZONE FROM UNTIL EXPRESSION     prints the due times, from FROM and before UNTIL (seconds since 1970)
    oracle.py ZONE                           reads lines `FROM UNTIL EXPRESSION`; writes for each the number of its due
                                             times and the times, as unsigned 32-bit numbers, least byte first
"""

import datetime
import sys
import zoneinfo
from array import array

MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()
WEEKDAYS = "SUN MON TUE WED THU FRI SAT".split()
DAY = datetime.timedelta(days=1)


def number(text, low, names):
    return names.index(text) + low if text in names else int(text)


def numbers(field, low, high, names=()):
    """The numbers that the plain items of a field mean."""
    found = set()
    for item in field.split(","):
        body, _, step = item.partition("/")
        if body in ("*", "?"):
            row = list(range(low, high + 1))
        elif "-" in body:
            first, last = (number(end, low, names) for end in body.split("-"))
            row = [first]
            while row[-1] != last:
                row.append(row[-1] + 1 if row[-1] < high else low)
        else:
            first = number(body, low, names)
            row = list(range(first, high + 1)) if step else [first]
        found.update(row[:: int(step or 1)])
    return found


def last_day(date):
    """The last day of the date's month."""
    while (date + DAY).month == date.month:
        date += DAY
    return date.day


def nearest_workday(date, day):
    """The Monday to Friday of the date's month that is nearest to a day of it; None where there is no such day."""
    last = last_day(date)
    if day > last:
        return None
    workdays = [d for d in range(1, last + 1) if date.replace(day=d).weekday() < 5]
    return min(workdays, key=lambda workday: abs(workday - day))


def is_day_of_month(item, date):
    if item == "L":
        return date.day == last_day(date)
    if item == "LW":
        return date.day == nearest_workday(date, last_day(date))
    if item.startswith("L-"):
        return date.day == last_day(date) - int(item[2:])
    if item.endswith("W"):
        return date.day == nearest_workday(date, int(item[:-1]))
    return date.day in numbers(item, 1, 31)


def is_day_of_week(item, date):
    today = date.isoweekday() % 7
    if "#" in item:
        weekday, nth = item.split("#")
        return today == number(weekday, 0, WEEKDAYS) % 7 and (date.day - 1) // 7 + 1 == int(nth)
    if item.endswith("L"):
        return today == number(item[:-1], 0, WEEKDAYS) % 7 and (date + 7 * DAY).month != date.month
    body, _, step = item.partition("/")
    if "-" in body:
        first, last = (number(end, 0, WEEKDAYS) for end in body.split("-"))
        first %= 7
        row = range(first, last + (1 if first <= last else 8))
        return today in [weekday % 7 for weekday in row[:: int(step or 1)]]
    if body not in ("*", "?"):
        item = item.replace(body, str(number(body, 0, WEEKDAYS) % 7), 1)
    return today in numbers(item, 0, 6)


class Expression:
    """The fields, and what they say about a day and about a time of day."""

    def __init__(self, text):
        fields = text.upper().split()
        self.has_seconds = len(fields) == 6
        if not self.has_seconds:
            fields.insert(0, "0")
        self.second, self.minute, self.hour, self.day_of_month, self.month, self.day_of_week = fields
        self.follows_real_time = "*" in self.hour or "/" in self.hour
        self.days = {}

    def has_day(self, date):
        if date not in self.days:
            self.days[date] = self.sees_day(date)
        return self.days[date]

    def sees_day(self, date):
        if date.month not in numbers(self.month, 1, 12, MONTHS):
            return False
        by_date = any(is_day_of_month(item, date) for item in self.day_of_month.split(","))
        by_weekday = any(is_day_of_week(item, date) for item in self.day_of_week.split(","))
        if any(item[0] in "*?" for item in (self.day_of_month + "," + self.day_of_week).split(",")):
            return by_date and by_weekday
        return by_date or by_weekday

    def times(self):
        """The times of day, in seconds."""
        return [
            hour * 3600 + minute * 60 + second
            for hour in sorted(numbers(self.hour, 0, 23))
            for minute in sorted(numbers(self.minute, 0, 59))
            for second in sorted(numbers(self.second, 0, 59))
        ]


class Wall:
    """What a clock on a wall of the zone showed at every step of real time from `start` and before `end`.

    It is kept as pieces: runs of steps within one day, in which the clock did nothing but tick. `again` has the instants
    at which it showed what it had shown before; `skipped` the days and times that it left out, by the instant after."""

    def __init__(self, zone, start, end, step):
        self.pieces, self.again, self.skipped = [], set(), {}
        seen, before = set(), None
        for at in range(start, end, step):
            now = datetime.datetime.fromtimestamp(at, zone)
            day, time = now.toordinal(), now.hour * 3600 + now.minute * 60 + now.second
            wall = day * 86400 + time
            if before is not None and wall > before + step:
                self.skipped[at] = [divmod(missed, 86400) for missed in range(before + step, wall, step)]
            if wall in seen:
                self.again.add(at)
            if before is None or wall != before + step or time == 0:
                self.pieces.append([day, time, at, 0])
            self.pieces[-1][3] += step
            seen.add(wall)
            before = wall

    def due(self, expression):
        """The instants at which the expression is due."""
        due, times = set(), expression.times()
        for day, first, at, length in self.pieces:
            if expression.has_day(datetime.date.fromordinal(day)):
                due.update([at + time - first for time in times if first <= time < first + length])
        if not expression.follows_real_time:
            due -= self.again
            wanted = set(times)
            for at, missed in self.skipped.items():
                if any(time in wanted and expression.has_day(datetime.date.fromordinal(day)) for day, time in missed):
                    due.add(at)
        return due


class Oracle:
    """One zone, and the walls that were looked at."""

    def __init__(self, zone):
        self.zone, self.walls = zoneinfo.ZoneInfo(zone), {}

    def due(self, start, end, text):
        expression = Expression(text)
        # What was shown some hours before has to be known: no clock is set back by more.
        step, memory = (1, 4 * 3600) if expression.has_seconds else (60, 26 * 3600)
        key = (start - start % step - memory, end, step)
        if key not in self.walls:
            self.walls[key] = Wall(self.zone, *key)
        return sorted(at for at in self.walls[key].due(expression) if at >= start)


def main():
    oracle = Oracle(sys.argv[1])
    if len(sys.argv) == 5:
        for at in oracle.due(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]):
            print(at, datetime.datetime.fromtimestamp(at, oracle.zone).isoformat())
        return
    for line in sys.stdin:
        start, end, text = line.strip().split(" ", 2)
        due = array("I", oracle.due(int(start), int(end), text))
        out = array("I", [len(due)]) + due
        if sys.byteorder == "big":
            out.byteswap()
        out.tofile(sys.stdout.buffer)


main()
