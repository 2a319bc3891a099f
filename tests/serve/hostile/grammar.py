"""Statements of somebody who means harm: each is one of some kinds of harm, filled in by chance, or an expression grown
over the grammar. A seed tells the same statements again."""

import random

# What is asked of, and columns that it has.
TABLES = {
    "clicks": ["ad_id", "campaign_id", "event_time", "cost_micros"],
    "clicks_minute": ["ad_id", "campaign_id", "window_start", "clicks", "cost_micros"],
    "clicks_hourly": ["ad_id", "campaign_id", "window_start", "clicks"],
    "totals(null, null)": ["ad_id", "campaign_id", "clicks"],
    "series(null, null, 'minute')": ["ad_id", "window_start", "clicks"],
    "information_schema.columns": ["table_name", "column_name", "ordinal_position"],
    "pg_catalog.pg_class": ["relname", "oid"],
    "pg_catalog.pg_attribute": ["attname", "attnum"],
}
NAMES = ["ad_id", "campaign_id", "clicks", "cost_micros", "window_start", "event_time", "value", "a", "b"]
FUNCTIONS = """abs ascii array_agg array_length array_to_string array_append bit_length btrim ceil chr coalesce concat
    concat_ws date_bin date_part date_trunc encode exp factorial floor gcd greatest initcap least left length ln
    lower lpad ltrim max md5 min now nullif octet_length overlay pi pow power random regexp_replace regexp_match
    regexp_like repeat replace reverse right round rpad sha256 split_part sqrt starts_with string_agg strpos substr
    sum to_char to_hex to_timestamp translate trim trunc upper count avg median stddev corr row_number rank lag lead
    first_value range generate_series unnest array_sort array_distinct array_union arrow_typeof arrow_cast struct
    named_struct make_date digest current_schemas pg_typeof format_type pg_get_expr has_table_privilege
    obj_description quote_ident array_position cardinality flatten make_array array_repeat map approx_distinct
    approx_percentile_cont bool_and nth_value ntile percent_rank var_pop isnan nanvl log cot cbrt degrees version
    current_database pg_table_is_visible pg_get_userbyid""".split()
OPERATORS = """+ - * / % || = <> < <= > >= and or like ilike ~ ~* !~ !~* & | # << >> @> <@ -> ->> ^ &&""".split()
OPERATORS += ["similar to", "is distinct from", "not like"]
TYPES = """int bigint text float8 numeric(38,10) timestamp date interval bytea bool int[] text[] varchar decimal(38,0)
    time smallint regclass uuid json oid""".split()
LITERALS = [
    "0",
    "1",
    "-1",
    "2147483647",
    "9223372036854775807",
    "-9223372036854775808",
    "1e308",
    "'NaN'",
    "''",
    "'a'",
    "null",
    "true",
    "false",
    "'2026-03-07'",
    "timestamp '9999-12-31'",
    "interval '1 month'",
    "'{1,2,3}'",
    "array[1,2,3]",
    "0.1",
    "'\\\\x00ff'",
    "E'\\\\u0041'",
    "$$x$$",
    "date '0001-01-01'",
    "1.7976931348623157e309",
    "x'ff'",
    "'ad-0'",
    "current_date",
    "interval '178956970 years'",
    "99999999999999999999999999999999999999",
]
PATTERNS = [
    "(a*)*b",
    "(a|a)*$",
    "(.*)*(.*)*(.*)*x",
    "a{1,1000}{1,1000}",
    "((((a?){50}){50}){50})",
    "[\\\\w]{1000}",
    "(x+x+)+y",
    "(?i)ad",
    "a|" * 300 + "b",
    "(" * 300 + "a" + ")" * 300,
    "\\\\p{L}{500}",
    "(?:a{100}){100}",
    "[a-z" * 50,
    ".{1000}.{1000}",
    "^(([a-z])+.)+$",
]


class Grammar:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.names = NAMES

    def statement(self, kinds):
        """The kind of a statement, which is one of these, and the statement."""
        kind = self.random.choice(kinds)
        return kind, getattr(self, f"of_{kind}")()

    def number(self, *sizes):
        return self.random.choice(sizes)

    def pick(self, options):
        return self.random.choice(options)

    def table(self):
        return self.pick(list(TABLES))

    def column(self):
        return self.pick(self.names if self.random.random() < 0.95 else NAMES)

    def text(self):
        return self.pick(
            ["ad_id", "campaign_id", "'a'", "value::text", "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab'", "md5(ad_id)"]
        )

    def series(self):
        count = self.number(10, 1_000, 100_000, 10_000_000, 1_000_000_000, 1_000_000_000_000)
        return self.pick(
            [
                f"generate_series(1, {count})",
                f"range(0, {count})",
                f"generate_series(1, {count}, 1)",
                f"(select unnest(range(0, {min(count, 10_000_000)})) as value)",
            ]
        )

    def expression(self, depth):
        """An expression grown over the grammar."""
        pick, again = self.pick, lambda: self.expression(depth - 1)
        if depth <= 0:
            return pick([self.column(), pick(LITERALS), "$1" if self.random.random() < 0.02 else "1"])
        operator = lambda: pick(OPERATORS)
        some = lambda most: ", ".join(again() for _ in range(self.random.randint(0, most)))
        return pick(
            [
                lambda: f"({again()} {operator()} {again()})",
                lambda: f"{again()} {operator()} {again()}",
                lambda: f"{pick(FUNCTIONS)}({some(3)})",
                lambda: f"{pick(FUNCTIONS)}({again()})",
                lambda: f"{pick(FUNCTIONS)}({again()}) over (partition by {again()} order by {again()})",
                lambda: f"cast({again()} as {pick(TYPES)})",
                lambda: f"({again()})::{pick(TYPES)}",
                lambda: f"case when {again()} then {again()} else {again()} end",
                lambda: f"case {again()} when {again()} then {again()} end",
                lambda: f"{again()} between {again()} and {again()}",
                lambda: f"{again()} in ({again()}, {some(3) or 'null'})",
                lambda: f"(select {again()} from {self.table()} limit 1)",
                lambda: f"exists ({self.query(depth - 1)})",
                lambda: f"{again()} in (select {again()} from {self.table()})",
                lambda: f"{again()} = any (array[{some(3)}])",
                lambda: f"array(select {again()} from {self.table()})",
                lambda: f"array[{some(4)}]",
                lambda: f"({again()})[{again()}]",
                lambda: f"not {again()}",
                lambda: f"-{again()}",
                lambda: f"extract(epoch from {again()})",
                lambda: f"{again()} is {pick(['null', 'not null', 'true', 'unknown', 'not distinct from 1'])}",
                lambda: f"interval '{self.random.randint(0, 10**6)} {pick(['year', 'day', 'second', 'month'])}' * {again()}",
                lambda: f"substring({again()} from {again()} for {again()})",
                lambda: f"row({some(3)})",
            ]
        )()

    def query(self, depth):
        """A query grown over the grammar."""
        pick = self.pick
        source = pick([self.table(), f"({self.query(depth - 1)}) as q" if depth > 0 else self.table()])
        self.names = TABLES.get(source, self.names)
        text = f"select {pick(['', 'distinct ', 'all '])}{', '.join(self.expression(depth) for _ in range(self.random.randint(1, 4)))} from {source}"
        if self.random.random() < 0.3:
            join = pick(["join", "left join", "right join", "full join", "cross join lateral", "natural join"])
            text += f" {join} {self.table()} as t" + (
                f" on {self.expression(depth - 1)}" if "cross" not in join and "natural" not in join else ""
            )
        if self.random.random() < 0.5:
            text += f" where {self.expression(depth)}"
        if self.random.random() < 0.3:
            text += f" group by {self.expression(depth - 1)}" + (
                f" having {self.expression(depth - 1)}" if self.random.random() < 0.5 else ""
            )
        if self.random.random() < 0.2 and depth > 0:
            text += f" {pick(['union', 'union all', 'except', 'intersect'])} {self.query(depth - 1)}"
        if self.random.random() < 0.3:
            text += f" order by {pick(['1', '2', self.column()])}"
        if self.random.random() < 0.5:
            text += f" limit {pick(['1', '10', '1000000000', self.expression(0)])}"
        return text

    def of_grown(self):
        return self.query(self.number(1, 2, 3))

    def of_grown_deep(self):
        return f"select {self.expression(self.number(4, 5, 6))}"

    def of_deep(self):
        deep = self.number(10, 50, 100, 200, 900, 3_000, 20_000, 60_000)
        one = self.pick(
            [
                ("(", ")"),
                ("not ", ""),
                ("- ", ""),
                ("abs(", ")"),
                ("case when true then ", " end"),
                ("array[", "]"),
                ("(select ", ")"),
                ("cast(", " as bigint)"),
                ("", "::bigint"),
                ("", "+1"),
                ("1 in (", ")"),
                ("exists(select ", ")"),
                ("coalesce(", ", 1)"),
                ("interval ", ""),
                ("", " is null"),
                ("", " is not distinct from 1"),
                ("row(", ")"),
                ("", "[1]"),
                ("array(select ", ")"),
                ("nullif(", ", 2)"),
                ("1 = any(array[", "])"),
                ("extract(epoch from ", ")"),
                ("concat(", ", 'a')"),
                ("", " between 0 and 2"),
                ("1 between ", " and 2"),
                ("1 between 0 and ", ""),
                ("", " at time zone 'UTC'"),
                ("", ' collate "C"'),
                ("~ ", ""),
                ("1 + interval ", ""),
            ]
        )
        return f"select {one[0] * deep}1{one[1] * deep}"

    def of_deep_from(self):
        deep = self.number(5, 20, 60, 120, 500, 3_000)
        one = self.pick(
            [
                ("(select * from ", ") t"),
                ("(select *, 1 as c from ", ") t"),
                ("(", ")"),
                ("(table ", ") t"),
                ("lateral (select * from ", ") t"),
                ("(select ad_id from ", " group by ad_id) t"),
                ("(select * from ", " order by 1 limit 10) t"),
                ("(with w as (select 1) select * from ", ") t"),
            ]
        )
        return f"select * from {one[0] * deep}{self.table()}{one[1] * deep} limit 1"

    def of_wide(self):
        wide = self.number(100, 1_000, 5_000, 20_000)
        return self.pick(
            [
                lambda: f"select {', '.join(f'{self.column()} as c{at}' for at in range(wide))} from clicks_minute",
                lambda: f"select {', '.join('*' for _ in range(min(wide, 2_000)))} from clicks_minute a, clicks_minute b limit 1",
                lambda: "select count(*) from clicks where ad_id in ("
                + ", ".join(f"'ad-{at}'" for at in range(wide))
                + ")",
                lambda: "select count(*) from clicks where " + " or ".join(f"ad_id = 'ad-{at}'" for at in range(wide)),
                lambda: "select " + " || ".join(["ad_id"] * wide) + " from clicks",
                lambda: "select 1" + " union all select 1" * wide,
                lambda: "values " + ", ".join(f"({at}, 'x', {at})" for at in range(wide)),
                lambda: "select " + ", ".join(f"sum(clicks + {at})" for at in range(wide)) + " from clicks_minute",
                lambda: "select "
                + ", ".join(f"row_number() over (order by clicks + {at})" for at in range(min(wide, 2_000)))
                + " from clicks_minute",
                lambda: "select concat(" + ", ".join(["ad_id"] * wide) + ") from clicks",
                lambda: "select case "
                + " ".join(f"when clicks = {at} then {at}" for at in range(wide))
                + " end from clicks_minute",
                lambda: "select 1 from clicks_minute order by " + ", ".join(f"clicks + {at}" for at in range(wide)),
                lambda: "select count(*) from clicks_minute group by "
                + ", ".join(f"clicks + {at}" for at in range(wide)),
                lambda: "select count(distinct clicks), "
                + ", ".join(f"count(distinct clicks + {at})" for at in range(min(wide, 500)))
                + " from clicks_minute",
                lambda: "select array[" + ", ".join(["1"] * wide) + "]",
                lambda: "select * from " + ", ".join(f"clicks_minute t{at}" for at in range(min(wide, 200))),
                lambda: "select * from " + " natural join ".join(f"clicks_minute t{at}" for at in range(min(wide, 12))),
            ]
        )()

    def of_doubling(self):
        times = self.number(5, 10, 20, 40, 100)
        return self.pick(
            [
                lambda: "with t0 as (select 1 as a)"
                + "".join(f", t{at + 1} as (select x.a from t{at} x, t{at} y)" for at in range(times))
                + f" select count(*) from t{times}",
                lambda: "with t0 as (select ad_id as a from clicks)"
                + "".join(f", t{at + 1} as (select a from t{at} union all select a from t{at})" for at in range(times))
                + f" select count(*) from t{times}",
                lambda: "with t0 as (select 'x' as a)"
                + "".join(f", t{at + 1} as (select a || a as a from t{at})" for at in range(times))
                + f" select length(a) from t{times}",
                lambda: "select " + "coalesce(" * times + "null" + ", 1)" * times,
                lambda: "select " + "(1 between " * times + "0" + " and 2)" * times,
                lambda: f"select count(*) from clicks_minute group by cube({', '.join(f'clicks + {at}' for at in range(times))})",
                lambda: "select * from (select ad_id a from clicks) q where "
                + " and ".join(["(a = 'x' or a = 'y')"] * times),
                lambda: "select " + "nullif(" * times + "clicks" + ", clicks)" * times + " from clicks_minute",
                lambda: f"select a from (select {'repeat(' * min(times, 20)}'x'{', 10)' * min(times, 20)} as a) t",
                lambda: "select * from "
                + " join ".join(f"(select ad_id from clicks) t{at}" for at in range(min(times, 8)))
                + " on true" * (min(times, 8) - 1),
                lambda: f"select count(*) from clicks_minute group by rollup({', '.join(f'clicks + {at}' for at in range(times))}), rollup(ad_id, campaign_id)",
                lambda: "with recursive r as (select 'x' as a union all select a || a from r) select length(a) from r",
            ]
        )()

    def of_hungry(self):
        count = self.number(1_000, 1_000_000, 100_000_000, 300_000_000, 2_000_000_000, 9_000_000_000)
        return self.pick(
            [
                lambda: f"select repeat({self.text()}, {count}) a, repeat({self.text()}, {count + 1}) b from clicks",
                lambda: f"select length(repeat(repeat('x', {min(count, 10_000_000)}), 1000))",
                lambda: f"select lpad({self.text()}, {count}, 'x') from clicks_minute",
                lambda: f"select rpad('x', {count}), rpad('y', {count})",
                lambda: f"select string_agg({self.text()}, repeat('x', 10000)) from {self.series()} s, clicks",
                lambda: f"select array_agg(value) from {self.series()} s",
                lambda: f"select array_repeat('xxxxxxxxxxxxxxxx', {count})",
                lambda: f"select count(distinct value) from {self.series()} s",
                lambda: f"select value, md5(value::text) from {self.series()} s order by 2 desc",
                lambda: f"select value % 1000003, array_agg(value) from {self.series()} s group by 1",
                lambda: f"select replace(repeat('a', {min(count, 100_000_000)}), 'a', repeat('b', 1000))",
                lambda: f"select overlay(repeat('a', {min(count, 300_000_000)}) placing 'b' from 1)",
                lambda: f"select encode(repeat('a', {min(count, 300_000_000)})::bytea, 'hex')",
                lambda: f"select regexp_replace(repeat('a', {min(count, 100_000_000)}), 'a', 'bbbbbbbbbb', 'g')",
                lambda: f"select translate(repeat('a', {min(count, 300_000_000)}), 'a', 'b')",
                lambda: f"select range(0, {count})",
                lambda: f"select generate_series(0, {count})",
                lambda: f"select array_union(range(0, {min(count, 100_000_000)}), range(0, {min(count, 100_000_000)}))",
                lambda: f"select array_to_string(range(0, {min(count, 100_000_000)}), ',')",
                lambda: f"select unnest(range(0, {count}))",
                lambda: f"select concat({', '.join(['repeat(ad_id, 10000000)'] * 30)}) from clicks",
                lambda: f"select split_part(repeat('a,', {min(count, 300_000_000)}), ',', {count})",
                lambda: f"select median(value) from {self.series()} s",
                lambda: f"select sum(a.value * b.value) over (order by a.value) from {self.series()} a, generate_series(1, 100) b",
                lambda: f"select factorial({count}), gcd({count}, 1), power(10, {count})",
                lambda: f"select to_char(now(), repeat('YYYY', {min(count, 10_000_000)}))",
                lambda: f"select date_bin(interval '1 nanosecond', now()), date_bin(interval '{min(count, 10**9)} days', now())",
                lambda: f"select to_timestamp({count}) + interval '{min(count, 10**9)} years'",
                lambda: f"select round(1.5, {count}), trunc(1.5::numeric, {count})",
            ]
        )()

    def of_endless(self):
        return self.pick(
            [
                lambda: f"select count(*) from {self.series()} s where value % 7 = 8",
                lambda: f"select count(*) from {self.series()} a, {self.series()} b, {self.series()} c",
                lambda: "select count(*) from clicks a, clicks b, clicks c, clicks d",
                lambda: "select a.ad_id || b.ad_id || c.ad_id from clicks a, clicks b, clicks c order by 1",
                lambda: "with recursive r as (select 1 as a union all select a + 1 from r) select count(*) from r",
                lambda: "with recursive r as (select 1 as a union all select a + 1 from r, clicks) select * from r",
                lambda: "with recursive r as (select 1 as a union select (a * 7 + 1) % 1000000007 from r) select max(a) from r",
                lambda: f"select max(md5(repeat(value::text, 10000))) from {self.series()} s",
                lambda: f"select count(*) from {self.series()} a join {self.series()} b on a.value < b.value",
                lambda: f"select count(*) from {self.series()} a full join {self.series()} b on a.value = b.value + 1",
                lambda: "select count(*) from clicks a join clicks b on regexp_like(a.ad_id, b.ad_id) join clicks c on a.ad_id like c.ad_id",
                lambda: f"select (select count(*) from clicks c where c.ad_id <> a.ad_id) from clicks a, {self.series()} s",
                lambda: f"select count(*) from {self.series()} s where exists (select 1 from {self.series()} t where t.value = s.value)",
                lambda: f"select value from {self.series()} s where value not in (select value from {self.series()} t)",
            ]
        )()

    def of_patterns(self):
        pattern = self.pick(PATTERNS)
        subject = self.pick(["ad_id", "repeat('a', 100000)", "repeat('x', 1000000)", "repeat(ad_id, 1000)"])
        return self.pick(
            [
                f"select count(*) from clicks where {subject} ~ '{pattern}'",
                f"select regexp_replace({subject}, '{pattern}', 'b', 'g') from clicks",
                f"select regexp_match({subject}, '{pattern}') from clicks",
                f"select count(*) from clicks where {subject} ~* '{pattern}' or {subject} !~ '{pattern}'",
                f"select count(*) from clicks where {subject} like '{'%a' * self.number(10, 1_000, 10_000)}%b'",
                f"select count(*) from clicks where {subject} similar to '{pattern}'",
                f"select count(*) from clicks a, clicks b where a.ad_id ~ (b.ad_id || '{'(a*)*'}')",
                f"select regexp_count({subject}, '{pattern}'), regexp_instr({subject}, '{pattern}') from clicks",
            ]
        )

    def of_times(self):
        count = self.number(10, 100, 127, 129, 5_000)
        return self.pick(
            [
                "select now()" + " + interval '1 day'" * count,
                "select " + "interval '1 day' + " * count + "now()",
                "select " + "interval " * count + "'1 day'",
                "select interval '" + "1 day " * count + "'",
                f"select * from series(null, null, 'minute') where window_start > now() - interval '{10**count if count < 20 else count} days'",
                "select totals.* from " + ", ".join(["totals(null, null)"] * min(count, 100)),
                "select * from totals('0001-01-01', '9999-12-31'), series('0001-01-01', '9999-12-31', 'minute')",
                f"select * from clicks VERSION AS OF {self.number(0, 1, 10**9, 10**18)}",
                f"select * from clicks TIMESTAMP AS OF '{self.pick(['1970-01-01', '9999-12-31', 'x', '2026-03-07T12:00:00Z'])}'",
                "select * from " + ", ".join(f"clicks VERSION AS OF {at % 3} t{at}" for at in range(min(count, 130))),
                f"select * from changes('clicks_minute', {self.number(0, -1)}, {self.number(1, 10**9)})",
                "select * from history('clicks_minute') a, history('clicks') b",
            ]
        )

    def of_broken(self):
        """What is no statement at all, or one whose end is missing."""
        whole = self.query(2)
        letters = "".join(
            chr(self.number(self.random.randint(1, 127), self.random.randint(128, 0xD7FF), 0x1F600)) for _ in range(200)
        )
        return self.pick(
            [
                whole[: self.random.randint(0, len(whole))],
                letters,
                whole.replace(
                    self.pick("abcdefghij ,("), self.pick(["'", '"', "$$", "/*", "--", "(", ";", "\\", "e'"])
                ),
                "/*" * self.number(10, 1_000, 60_000),
                "'" * self.number(1, 10_001),
                "$" * self.number(1, 10_001),
                ";" * self.number(31, 1_000, 100_000),
                "select 1;" * self.number(2, 31, 33, 5_000),
                "{" * 5_000,
                "[" * 5_000,
                "e'" + "\\" * 9_999,
                'select "' + "a" * 100_000 + '"',
                "select " + "a." * self.number(2, 500, 60_000) + "a",
                "select $" + "9" * self.number(1, 5, 30),
                " ".join(f"$t{at}$" for at in range(5_000)),
            ]
        )

    def of_other(self):
        """What else a client may say."""
        return self.pick(
            [
                "begin",
                "commit",
                "rollback",
                "abort",
                "discard all",
                "deallocate all",
                "show all",
                "select pg_sleep(1000)",
                "set statement_timeout = 0",
                "set statement_timeout = '1ms'",
                "reset all",
                "close all",
                "fetch all from c",
                f"declare c{self.random.randint(0, 99)} cursor for {self.of_endless()}",
                "set work_mem = '100GB'",
                f"copy ({self.of_hungry()}) to stdout",
                f"copy ({self.of_endless()}) to stdout (format binary)",
                f"copy (select * from {self.series()} s) to stdout (format csv)",
                "copy clicks to stdout",
                "copy clicks from stdin",
                "explain analyze " + self.of_endless(),
                "explain verbose " + self.of_wide(),
                "drop table clicks",
                "create table t as select * from clicks",
                "insert into clicks select * from clicks",
                "listen a",
                "create external table x stored as csv location '/etc/passwd'",
                "select * from '/etc/passwd'",
                "load 'x'",
                "select pg_read_file('/etc/passwd')",
                "select pg_terminate_backend(1)",
                "lock table clicks",
                "vacuum full",
                "select * from pg_catalog.pg_attribute a, pg_catalog.pg_attribute b, pg_catalog.pg_attribute c, pg_catalog.pg_attribute d",
                "select * from information_schema.columns a cross join information_schema.columns b cross join information_schema.columns c",
                "select set_config('statement_timeout', '0', false)",
                "do $$ begin loop end loop; end $$",
            ]
        )


KINDS = [name.removeprefix("of_") for name in dir(Grammar) if name.startswith("of_")]
