//! Tests that each clause that DataFusion would ignore is refused by its name, and that other clauses are not.

use datafusion::error::Result;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use lake_schemas::Code;

use super::check;
use crate::QueryError;

/// Statements that are refused, and words of the refusal.
const REFUSED: [(&str, &str); 66] = [
    ("select x from t prewhere x = 1", "PREWHERE"),
    ("select x from t group by x with rollup", "WITH ROLLUP"),
    ("select x from t group by x with cube", "WITH ROLLUP"),
    ("select x from t group by x with totals", "WITH ROLLUP"),
    ("select x from t group by all with rollup", "WITH ROLLUP"),
    ("select x from t group by x grouping sets ((x))", "WITH ROLLUP"),
    ("select x from t connect by prior x = x", "CONNECT BY"),
    ("select x from t start with x = 1 connect by prior x = x", "CONNECT BY"),
    ("select x from t settings a = 1", "SETTINGS"),
    ("select x from t format JSON", "FORMAT"),
    ("select x from t for update", "FOR UPDATE"),
    ("select x from t for share", "FOR UPDATE"),
    ("select x from t for json auto", "FOR JSON"),
    ("select x from t limit 1 by x", "LIMIT … BY"),
    ("select x from t with (nolock)", "NOLOCK"),
    ("select /*+ broadcast(t) */ x from t", "optimizer hint"),
    ("select x from t final", "FINAL"),
    ("select x from t sample 0.1", "TABLESAMPLE"),
    ("select x from t tablesample bernoulli (10)", "TABLESAMPLE"),
    ("select x from (select 1 as x) tablesample bernoulli (10)", "TABLESAMPLE"),
    ("select a.x from t a global join t b on a.x = b.x", "GLOBAL JOIN"),
    ("select a.x from (t a global join t b on a.x = b.x)", "GLOBAL JOIN"),
    ("select a.x from f(1) with ordinality as a", "WITH ORDINALITY"),
    ("select a.x from t as a(x int)", "a type in the columns"),
    ("from t", "FROM without SELECT"),
    ("select * ilike 'x%' from t", "* ILIKE"),
    ("select t.* ilike 'x%' from t", "* ILIKE"),
    ("select x into y from t union all select 1", "SELECT INTO"),
    ("select x from (select x into y from t)", "SELECT INTO"),
    ("select 1 union all select x into y from t", "SELECT INTO"),
    ("with recursive r as (select 1 as n union all select n + 1 from r limit 3) select n from r", "WITH RECURSIVE"),
    ("with recursive r as (select 1 as n union select n + 1 from r order by n) select n from r", "WITH RECURSIVE"),
    ("select x from t window w as (order by x) order by sum(x) over w", "a window by its name"),
    ("select x from t window w as (order by x) qualify sum(x) over w > 1", "a window by its name"),
    ("select distinct on (sum(x) over w) x from t window w as (order by x)", "a window by its name"),
    ("select x from t where sum(x) over w > 1 window w as (order by x)", "a window by its name"),
    ("select * replace (sum(x) over w as x) from t window w as (order by x)", "a window by its name"),
    ("select x from t |> select sum(x) over w", "a window by its name"),
    ("select sum(x) over (w order by x) from t window w as (partition by x)", "a window that is made of another"),
    ("select sum(x) over v from t window w as (order by x), v as (w rows 1 preceding)", "made of another"),
    ("select sum(x) over (rows between 18446744073709551615 preceding and current row) from t", "a frame of more rows"),
    ("select sum(x) over (order by x groups 9223372036854775808 preceding) from t", "a frame of more rows"),
    ("select sum(x) over (rows between current row and 18446744073709551615 following) from t", "a frame of more rows"),
    ("select sum(x) over w from t window w as (rows 9223372036854775808 preceding)", "a frame of more rows"),
    ("select sum(x) over (rows interval '18446744073709551615' preceding) from t", "a frame of more rows"),
    ("select x from t |> aggregate sum(x) group by x desc", "an order in |> AGGREGATE"),
    ("select abs(distinct x) from t", "DISTINCT of abs()"),
    ("select Abs(x) filter (where x > 1) from t", "FILTER of abs()"),
    ("select abs(x) over () from t", "OVER of abs()"),
    ("select abs(x order by x) from t", "ORDER BY, IGNORE or RESPECT NULLS of abs()"),
    ("select abs(x) ignore nulls from t", "ORDER BY, IGNORE or RESPECT NULLS of abs()"),
    ("select upper(x) within group (order by x) from t", "WITHIN GROUP of upper()"),
    ("select unnest(distinct [1, 1])", "DISTINCT of unnest()"),
    ("select lag(distinct x) over (order by x) from t", "DISTINCT of lag() OVER"),
    ("select sum(0.9)(x) from t", "second pair of brackets"),
    ("select trim('abc', 'a', 'b')", "TRIM with several texts"),
    ("select cast(x as varchar(3)) from t", "the length in VARCHAR(3)"),
    ("select x::char(3) from t", "the length in CHAR(3)"),
    ("select cast(x as varchar(3)[]) from t", "the length in VARCHAR(3)"),
    ("select x from t where x similar to 'a%'", "SIMILAR TO"),
    ("select x from t where x not similar to 'a%'", "SIMILAR TO"),
    ("select cast(x as float(53)) from t", "the precision in FLOAT(53)"),
    ("select x from t where exists (select 1 from t where x::char(3) = 'a')", "the length in CHAR(3)"),
    ("copy (select x from t prewhere x = 1) to 'a.csv'", "PREWHERE"),
    ("explain select x from t prewhere x = 1", "PREWHERE"),
    ("create view v as select x from t prewhere x = 1", "PREWHERE"),
];

/// Statements that are not refused here: DataFusion honours all of each, or refuses it by itself.
const HONOURED: [&str; 29] = [
    "select x into y from t",
    "select * exclude (x) from t",
    "select * except (x) from t",
    "select * replace (x + 1 as x) from t",
    "select x from t as final",
    "select x from t \"final\"",
    "select x from t group by rollup (x), cube (y), grouping sets ((x), ())",
    "select x, sum(x) over w from t window w as (partition by y order by x rows 1 preceding) order by x",
    "select sum(x) over (rows between 9223372036854775807 preceding and 9223372036854775807 following) from t",
    "select x from t where x in (select sum(x) over w from t window w as (order by x))",
    "select sum(distinct x) filter (where x > 1) from t",
    "select sum(distinct x) over (order by x) from t",
    "select first_value(x) ignore nulls over (order by x) from t",
    "select array_agg(x order by y) from t",
    "select approx_percentile_cont(0.5) within group (order by x) from t",
    "select abs(all x), {fn abs(x)} from t",
    "select trim(both 'a' from x), trim('abc', 'a'), substring(x from 1 for 2) from t",
    "select cast(x as varchar), x::text, cast(x as decimal(10, 2)), cast(x as timestamp(3)), cast(x as float) from t",
    "select count(*) from t a natural join t b left join t c using (x)",
    "select x from t where x >= all (select x from t) and x = any (select x from t)",
    "with recursive r as (select 1 as n union all select n + 1 from r where n < 3) select n from r order by n limit 1",
    "with a as (select x from t order by x limit 1) select x from a",
    "select x from t order by x limit 2 offset 1 rows",
    "select x from t |> where x > 1 |> aggregate sum(x) as y group by x |> order by y desc |> limit 1",
    "select cast('it fits' as varchar(60)), cast(x as varchar(max)) from t",
    "values (1), (2)",
    "explain analyze select x from t",
    "select /* no hint */ x from t -- nor this",
    "create external table e stored as csv location 'a.csv'",
];

fn checked(context: &SessionContext, text: &str) -> Result<()> {
    let state = context.state();
    let dialect = state.config().options().sql_parser.dialect;
    let statement: Statement = state.sql_to_statement(text, &dialect).unwrap_or_else(|why| panic!("{text}: {why}"));
    check(&statement, &state)
}

#[test]
fn clauses_that_datafusion_would_ignore_are_refused_by_name() {
    let context = SessionContext::new();
    for (text, named) in REFUSED {
        let error = QueryError::from(checked(&context, text).expect_err(text));
        assert_eq!(error.code(), Some(Code::StatementUnsupported), "{text}: {error}");
        assert!(error.to_string().contains(named), "{text}: {error}");
    }
}

#[test]
fn statements_that_datafusion_honours_are_accepted() {
    let context = SessionContext::new();
    for text in HONOURED {
        checked(&context, text).unwrap_or_else(|why| panic!("{text}: {why}"));
    }
}

#[test]
fn clauses_of_other_dialects_are_refused_in_theirs() {
    let context = SessionContext::new();
    let state = context.state();
    for (dialect, text, named) in [
        ("mysql", "select sql_no_cache x from t", "MySQL's"),
        ("mysql", "select x from t partition (p0)", "partitions"),
        ("mysql", "select x from t use index (i)", "a hint for a table"),
        ("duckdb", "select x from t union all select 1 order by all", "ORDER BY ALL"),
        ("bigquery", "select as struct 1 as a", "AS STRUCT"),
        ("redshift", "select * exclude (x), 1 from t", ""),
        ("snowflake", "select x from t at (version => 1)", "VERSION AS OF 412"),
    ] {
        let dialect = dialect.parse().expect("DataFusion has it");
        let statement = state.sql_to_statement(text, &dialect).unwrap_or_else(|why| panic!("{text}: {why}"));
        match (check(&statement, &state), named) {
            (Ok(()), "") => {}
            (Err(why), named) if !named.is_empty() && why.to_string().contains(named) => {}
            (found, _) => panic!("{text}: {found:?}"),
        }
    }
}
