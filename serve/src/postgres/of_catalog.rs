//! Rewrites statements that query only PostgreSQL's own tables, by which tools find tables and columns, where
//! DataFusion cannot plan them: by the rules of the library that brings those tables, and by ours. Other statements are
//! left alone.
//!
//! Many of them describe a table: its indexes, sequences and defaults. Those of the lake have none.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, Function, ObjectName, Query, SetExpr, Statement, TableFactor, Value, With,
};
use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_postgres::datafusion_pg_catalog::sql::rules::{RewriteRegCastToSubquery, SqlStatementRewriteRule};
use query::sql::visited::{Look, look};

use super::calls::{arguments, is_named, parsed};
use super::catalog::{is_in_catalog, last_of};
use super::errors::Refused;
use super::parameters;
use super::subqueries::{is_correlated, is_of_bases, names, says_nothing, shielded};
use super::visited::{Change, change, relations};

/// Columns of PostgreSQL's that list the parts of an index.
const OF_INDEXES: [&str; 4] = ["indkey", "indclass", "indoption", "conkey"];

/// Functions that are tables of the lake.
const OF_LAKE: [&str; 4] = ["totals", "series", "history", "changes"];

/// Rewrites of the library: it knows whole statements of some tools, and has rules for others.
static LIBRARY: LazyLock<PostgresCompatibilityParser> = LazyLock::new(PostgresCompatibilityParser::new);

/// Rewrite of `'x'::regclass` and the like to a query that finds the number.
static NUMBERS: LazyLock<RewriteRegCastToSubquery> = LazyLock::new(RewriteRegCastToSubquery::new);

/// Columns of PostgreSQL's that list options and rights, none of which is ever set here.
const NEVER_SET: [&str; 9] =
    ["attacl", "attoptions", "datacl", "nspacl", "polroles", "proacl", "relacl", "reloptions", "setconfig"];

/// Null, as text.
static NO_TEXT: LazyLock<Expr> = LazyLock::new(|| parsed("cast(null as varchar)"));

/// Null, as number.
static NO_NUMBER: LazyLock<Expr> = LazyLock::new(|| parsed("cast(null as bigint)"));

/// Null as the base type of a type in the catalog.
static NO_BASE: LazyLock<Expr> = LazyLock::new(|| parsed("cast(null as int)"));

/// Null as the list of the parts of a type in the catalog.
static NO_PARTS: LazyLock<Expr> = LazyLock::new(|| parsed("cast(null as text[])"));

/// Returns the statement that the library has in place of one that it knows by its text, or else the statement itself.
pub(super) fn known(statement: Statement, text: &str) -> Statement {
    if !asks_only_catalog(&statement) {
        return statement;
    }
    let by_text = LIBRARY.parse(text).ok().and_then(|mut all| if all.len() == 1 { all.pop() } else { None });
    // The library knows texts, and has rules. It knows the text if the result differs from that of the rules alone.
    let by_rules = LIBRARY.rewrite(statement.clone()).to_string();
    by_text.filter(|known| known.to_string() != by_rules).unwrap_or(statement)
}

/// Rewrites a statement, if it queries only PostgreSQL's own tables.
pub(super) fn put(statement: Statement) -> Result<Statement, Refused> {
    let only_catalog = asks_only_catalog(&statement);
    let mut statement = NUMBERS.rewrite(statement);
    if !only_catalog {
        return Ok(statement);
    }
    shielded(&mut statement)?;
    let mut put = LIBRARY.rewrite(statement);
    let _ = change(&mut put, &mut Putting);
    Ok(put)
}

/// Returns whether a statement queries PostgreSQL's own tables or functions, and nothing else.
fn asks_only_catalog(statement: &Statement) -> bool {
    let mut asking = Asking::default();
    let _ = look(statement, &mut asking);
    asking.is_of_catalog && !asking.is_of_others
}

/// Kinds of tables that a statement queries.
#[derive(Default)]
struct Asking {
    /// Names given by `WITH` that each enclosing query sees, the innermost last.
    seen: Vec<BTreeSet<String>>,
    /// Names that queries of `WITH` see, which are visited later. Such a query may have the name of the table that it
    /// reads.
    seen_in: HashMap<*const Query, BTreeSet<String>>,
    /// Whether the statement queries a table, calls a function, or names a type, of PostgreSQL's own.
    is_of_catalog: bool,
    /// Whether the statement queries any other table.
    is_of_others: bool,
}

impl Asking {
    /// Returns whether a name is one that `WITH` gives to the current query.
    fn is_named(&self, name: &ObjectName) -> bool {
        name.0.len() == 1 && self.seen.last().is_some_and(|seen| seen.contains(&last_of(name)))
    }
}

impl Look for Asking {
    fn query(&mut self, query: &Query) -> ControlFlow<()> {
        let around = self.seen.last();
        let seen = self.seen_in.remove(&std::ptr::from_ref(query)).or_else(|| around.cloned());
        let mut seen = seen.unwrap_or_default();
        if let Some(With { recursive, cte_tables, .. }) = &query.with {
            for cte in cte_tables {
                let name = cte.alias.name.value.to_ascii_lowercase();
                let mut inner = seen.clone();
                // Only a query that is a union may refer to itself.
                if *recursive && matches!(cte.query.body.as_ref(), SetExpr::SetOperation { .. }) {
                    inner.insert(name.clone());
                }
                self.seen_in.insert(std::ptr::from_ref(cte.query.as_ref()), inner);
                seen.insert(name);
            }
        }
        self.is_of_others |= names_table(&query.body);
        self.seen.push(seen);
        ControlFlow::Continue(())
    }

    fn leave_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.seen.pop();
        ControlFlow::Continue(())
    }

    fn table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
                let last = last_of(name);
                self.is_of_others |= OF_LAKE.contains(&last.as_str());
                self.is_of_catalog |= last.starts_with("pg_");
            }
            TableFactor::Table { name, .. } if is_in_catalog(name) => self.is_of_catalog = true,
            TableFactor::Table { name, .. } => self.is_of_others |= !self.is_named(name),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.is_of_catalog |= match expr {
            Expr::Function(function) => {
                let name = last_of(&function.name);
                name.starts_with("pg_") || matches!(name.as_str(), "version" | "format_type" | "current_schemas")
            }
            Expr::Cast { data_type, .. } => data_type.to_string().to_ascii_lowercase().contains("reg"),
            _ => false,
        };
        ControlFlow::Continue(())
    }
}

/// Returns whether a query is, or combines, `TABLE name`.
fn names_table(body: &SetExpr) -> bool {
    let mut left = vec![body];
    while let Some(body) = left.pop() {
        match body {
            SetExpr::Table(_) => return true,
            SetExpr::SetOperation { left: one, right: other, .. } => left.extend([one.as_ref(), other.as_ref()]),
            _ => {}
        }
    }
    false
}

/// Rewrites that follow those of the library.
struct Putting;

impl Change for Putting {
    fn expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(among) = among_bound(expr) {
            *expr = among;
        }
        match expr {
            Expr::Subquery(query) if says_nothing(query) => *expr = Expr::value(Value::Null),
            Expr::Subquery(query) if is_of_bases(query) => *expr = NO_BASE.clone(),
            Expr::Subquery(query) if names(query, "reltype") && is_correlated(query) => *expr = NO_PARTS.clone(),
            // No role has members here.
            Expr::InSubquery { subquery, negated, .. } if is_of_members(subquery) => {
                *expr = Expr::value(Value::Boolean(*negated));
            }
            Expr::Function(function) if is_of_indexes(function) => *expr = NO_NUMBER.clone(),
            Expr::Function(function) if is_of_unset(function) => *expr = NO_TEXT.clone(),
            Expr::CompoundFieldAccess { access_chain, .. } if is_of_expanded(access_chain) => *expr = NO_NUMBER.clone(),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Restores `= ANY` of a bound list, which the library wrote as a function: the list is known only when it has a value.
fn among_bound(expr: &Expr) -> Option<Expr> {
    let Expr::Function(function) = expr else { return None };
    let called_with = arguments(function);
    let [list, left] = called_with.as_slice() else { return None };
    let is_bound = is_named(function, "array_contains") && parameters::list(list).is_some();
    is_bound.then(|| Expr::AnyOp {
        left: Box::new((*left).clone()),
        compare_op: BinaryOperator::Eq,
        right: Box::new((*list).clone()),
        is_some: false,
    })
}

/// Returns whether a query follows the memberships of roles recursively.
fn is_of_members(query: &Query) -> bool {
    let is_recursive = query.with.as_ref().is_some_and(|with| with.recursive);
    let of_members = relations(query, &mut |name| match last_of(name).as_str() {
        "pg_auth_members" => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    is_recursive && of_members.is_break()
}

/// Returns whether a function takes apart the parts of an index.
fn is_of_indexes(function: &Function) -> bool {
    let takes_apart = is_named(function, "unnest") || is_named(function, "generate_subscripts");
    let of = |argument: Option<&Expr>| match argument {
        Some(Expr::Identifier(name)) => name.value.clone(),
        Some(Expr::CompoundIdentifier(names)) => names.last().map_or_else(String::new, |name| name.value.clone()),
        _ => String::new(),
    };
    takes_apart && OF_INDEXES.contains(&of(arguments(function).first().copied()).as_str())
}

/// Returns whether a function writes a list of options or rights that are never set.
fn is_of_unset(function: &Function) -> bool {
    let list = arguments(function).first().copied();
    let is_of_unset = |list: &Expr| NEVER_SET.iter().any(|column| names(list, column));
    is_named(function, "array_to_string") && list.is_some_and(is_of_unset)
}

/// Returns whether a field is one of an expanded index: the number of a column, or its place.
fn is_of_expanded(chain: &[AccessExpr]) -> bool {
    let [AccessExpr::Dot(Expr::Identifier(field))] = chain else { return false };
    ["n", "x"].iter().any(|name| field.value.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::super::names::without_numbered;
    use super::super::parsed::{adapted, parse};

    fn put(asked: &str) -> String {
        let put = parse(asked).and_then(|statement| adapted(statement, asked)).expect("SQL");
        without_numbered(&put.to_string())
    }

    #[test]
    fn queries_of_the_lake_are_not_rewritten_for_the_catalog() {
        for asked in [
            "SELECT (SELECT max(clicks_minute.clicks) FROM clicks_minute)",
            "SELECT (SELECT sum(t.clicks) FROM (SELECT * FROM clicks_minute) t)",
            "SELECT now.ad_id, (SELECT sum(clicks) FROM was WHERE was.ad_id = now.ad_id) FROM clicks_minute now",
            "SELECT (SELECT sum(clicks) FROM totals($1, $2) WHERE campaign_id = $3), $4",
            "SELECT (SELECT clicks FROM clicks_minute)",
            "SELECT ad_id, * FROM clicks_minute",
            "SELECT (SELECT 1)",
            "SELECT (SELECT a FROM (VALUES (1), (2)) t (a))",
            "WITH a AS (SELECT 1 AS b) SELECT (SELECT a.b FROM a)",
            // A query that WITH names is neither the table of that name that it reads, nor one that has a schema.
            "WITH clicks AS (SELECT * FROM clicks) SELECT (SELECT max(clicks.cost) FROM clicks), version()",
            "WITH clicks AS (SELECT 1) SELECT (SELECT max(clicks.cost) FROM public.clicks), version()",
            "SELECT (WITH clicks AS (SELECT 1 AS a) SELECT a FROM clicks) + (SELECT max(clicks.cost) FROM clicks), \
             version()",
            "WITH RECURSIVE clicks AS (SELECT * FROM clicks) SELECT (SELECT max(clicks.cost) FROM clicks), version()",
            "SELECT (SELECT max(t.cost) FROM LATERAL totals(NULL, NULL) t), version()",
            // A statement that queries both is not rewritten.
            "SELECT (SELECT max(c.clicks) FROM clicks c WHERE c.ad_id = t.relname) FROM pg_catalog.pg_class t",
        ] {
            assert_eq!(put(asked).replace(" AS ", " "), asked.replace(" AS ", " "));
        }
    }

    #[test]
    fn what_asks_the_catalog_finds_what_is_there() {
        for (asked, expected) in [
            ("SELECT (SELECT adbin FROM pg_attrdef WHERE adnum = attnum)", "SELECT NULL"),
            (
                "SELECT (SELECT c.collname FROM pg_collation c, pg_type t WHERE c.oid = a.attcollation AND t.oid = \
                 a.atttypid) AS x FROM pg_attribute a",
                "SELECT NULL AS x FROM pg_catalog.pg_attribute a",
            ),
            (
                "SELECT unnest(i.indkey), unnest(a) FROM pg_index i",
                "SELECT CAST(NULL AS BIGINT), unnest(a) FROM pg_catalog.pg_index i",
            ),
            (
                "SELECT array_to_string(c.reloptions || array(SELECT 'toast.' || x FROM unnest(t.reloptions) x), ', ') \
                 FROM pg_class c, pg_class t",
                "SELECT CAST(NULL AS VARCHAR) FROM pg_catalog.pg_class c, pg_catalog.pg_class t",
            ),
            (
                "SELECT CASE WHEN t.typtype = 'c' THEN (SELECT array_agg(a.attname) FROM pg_attribute a JOIN pg_class \
                 c ON a.attrelid = c.oid WHERE c.reltype = t.oid) END FROM pg_type t",
                "SELECT CASE WHEN t.typtype = 'c' THEN CAST(NULL AS TEXT[]) END FROM pg_catalog.pg_type t",
            ),
            (
                "SELECT CASE WHEN t.typtype = 'd' THEN (WITH RECURSIVE b AS (SELECT typbasetype AS oid FROM pg_type x \
                 WHERE x.oid = t.oid UNION ALL SELECT x.typbasetype FROM pg_type x, b WHERE b.oid = x.oid) SELECT oid \
                 FROM b) END FROM pg_type t",
                "SELECT CASE WHEN t.typtype = 'd' THEN CAST(NULL AS INT) END FROM pg_catalog.pg_type t",
            ),
            (
                "SELECT 1 FROM pg_class WHERE relname = ANY($1) AND relkind <> ALL($2::text[])",
                "SELECT 1 FROM pg_catalog.pg_class WHERE relname = ANY($1) AND NOT relkind = ANY($2::TEXT[])",
            ),
            (
                "SELECT (information_schema._pg_expandarray(i.indkey)).n FROM pg_index i",
                "SELECT CAST(NULL AS BIGINT) FROM pg_catalog.pg_index i",
            ),
            (
                "WITH RECURSIVE c AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM c) SELECT (SELECT adbin FROM \
                 pg_attrdef WHERE adnum = a) FROM c",
                "WITH RECURSIVE c AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM c) SELECT NULL FROM c",
            ),
            (
                "SELECT 1 FROM pg_class WHERE relnamespace = 'public'::regnamespace",
                "SELECT 1 FROM pg_catalog.pg_class WHERE relnamespace = only_element((SELECT array_agg(oid) FROM \
                 pg_catalog.pg_namespace WHERE nspname = 'public'))",
            ),
            (
                "SELECT c.relname, (SELECT n.nspname FROM pg_namespace n WHERE n.oid = c.relnamespace) AS nsp FROM \
                 pg_class c",
                "SELECT c.relname, (only_element((SELECT array_agg(n.nspname) FROM pg_catalog.pg_namespace n WHERE \
                 n.oid = c.relnamespace))) AS nsp FROM pg_catalog.pg_class c",
            ),
        ] {
            assert_eq!(named(&put(asked)), expected);
        }
        assert!(put("SELECT (SELECT count(*) FROM pg_collation)").contains("count(*)"));
    }

    /// Removes the AS before the alias of a table.
    fn named(put: &str) -> String {
        ["n", "c", "t", "d"]
            .iter()
            .fold(format!("{put} "), |put, name| put.replace(&format!(" AS {name} "), &format!(" {name} ")))
            .trim_end()
            .to_owned()
    }
}
