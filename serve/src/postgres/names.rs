//! Names of columns that a query gives no name: as PostgreSQL names them, after the function or the type. Programs ask
//! for `count` in the rows of `SELECT count(*)`; DataFusion names a column by its whole expression.
//!
//! The rules are those of `FigureColname` in PostgreSQL's `parse_target.c`.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::{
    AccessExpr, DataType as SqlType, Expr, Function, Ident, Query, Select, SelectItem, SetExpr, Statement,
    TrimWhereField,
};
use datafusion_postgres::arrow_pg::datatypes::PG_OID_ALIAS_KEY;

use super::arrays::ONLY_ELEMENT;
use super::calls::arguments;
use super::catalog::last_of;
use super::visited::{Change, change, expressions};

/// Name of a column that has none.
const UNNAMED: &str = "?column?";

/// Private-use character between a column's name and its number, where the same expression is selected more than once;
/// no name contains it.
const NUMBERED: char = '\u{e000}';

/// Names of types in SQL, and those in `pg_type`.
const TYPES: [(&str, &str); 15] = [
    ("bigint", "int8"),
    ("boolean", "bool"),
    ("char", "bpchar"),
    ("character varying", "varchar"),
    ("character", "bpchar"),
    ("decimal", "numeric"),
    ("double precision", "float8"),
    ("float", "float8"),
    ("int", "int4"),
    ("integer", "int4"),
    ("real", "float4"),
    ("smallint", "int2"),
    ("time without time zone", "time"),
    ("timestamp with time zone", "timestamptz"),
    ("timestamp without time zone", "timestamp"),
];

/// Returns the name of a type as `pg_type` has it.
pub(super) fn listed_as(kind: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    TYPES.iter().find(|(sql, _)| *sql == kind).map_or(kind, |(_, here)| (*here).to_owned())
}

/// Numbers columns that are written alike: DataFusion requires unique names.
pub(super) fn tell_apart(statement: &mut Statement) {
    let _ = change(statement, &mut TellingApart);
}

struct TellingApart;

impl Change for TellingApart {
    fn select(&mut self, select: &mut Select) -> ControlFlow<()> {
        number(select);
        ControlFlow::Continue(())
    }
}

/// Returns the names of a statement's columns as it is written, for those that it gives no name.
pub(super) fn as_written(statement: &Statement) -> Vec<Option<String>> {
    let Statement::Query(query) = statement else { return Vec::new() };
    let items = first(query).map(|select| select.projection.as_slice()).unwrap_or_default();
    let called = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) => Some(name(expr)),
        _ => None,
    };
    items.iter().map(called).collect()
}

/// Gives columns these names, if rewriting has changed the names that follow from their expressions.
pub(super) fn call_as_written(statement: &mut Statement, names: &[Option<String>]) {
    let Statement::Query(query) = statement else { return };
    let Some(select) = first_mut(query).filter(|select| select.projection.len() == names.len()) else { return };
    for (number, (item, written)) in select.projection.iter_mut().zip(names).enumerate() {
        if let SelectItem::UnnamedExpr(expr) = item
            && let Some(written) = written
            && name(expr) != *written
        {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: numbered(written, number) };
        }
    }
}

/// Returns a name that no other column has; the client is told only its first part.
fn numbered(name: &str, number: usize) -> Ident {
    Ident::with_quote('"', format!("{name}{NUMBERED}{number}"))
}

/// Numbers expressions that are selected again.
fn number(select: &mut Select) {
    let mut written = BTreeSet::new();
    for (number, item) in select.projection.iter_mut().enumerate() {
        if let SelectItem::UnnamedExpr(expr) = item
            && !written.insert(as_planned(expr))
        {
            let alias = numbered(&name(expr), number);
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// Returns the text of a column's expression. DataFusion gives all subqueries within one the same name.
fn as_planned(expr: &Expr) -> String {
    let has_query = expressions(expr, &mut |expr| match expr {
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    if has_query.is_break() { String::new() } else { expr.to_string() }
}

/// Returns the columns of a statement's answer with PostgreSQL's names. A column without a type is text, as in
/// PostgreSQL: a parameter of unknown type, and `NULL`.
pub(super) fn named(columns: SchemaRef, statement: &Statement) -> SchemaRef {
    let typed = columns.fields().iter().map(|field| match field.data_type() {
        DataType::Null => Arc::new(Field::clone(field).with_data_type(DataType::Utf8)),
        DataType::Int32 => Arc::clone(field),
        // A cast column keeps the metadata of the original, but is no longer a number of the catalog.
        _ if field.metadata().contains_key(PG_OID_ALIAS_KEY) => {
            let mut said = field.metadata().clone();
            said.remove(PG_OID_ALIAS_KEY);
            Arc::new(Field::clone(field).with_metadata(said))
        }
        _ => Arc::clone(field),
    });
    let columns: SchemaRef = Arc::new(Schema::new_with_metadata(typed.collect::<Vec<_>>(), columns.metadata().clone()));
    let Statement::Query(query) = statement else { return columns };
    let Some(select) = first(query) else { return columns };
    let is_wild = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    let items = &select.projection;
    // A star stands for an unknown number of columns; those before and behind it can be counted.
    let before = items.iter().position(is_wild).unwrap_or(items.len());
    let behind = items.iter().rev().take_while(|item| !is_wild(item)).count();
    let all = columns.fields().len();
    let item = |at: usize| match (at < before, all - at <= behind) {
        (true, _) => items.get(at),
        (_, true) => items.len().checked_sub(all - at).and_then(|at| items.get(at)),
        _ => None,
    };
    let fields = columns.fields().iter().enumerate().map(|(at, field)| {
        let numbered = || field.name().split_once(NUMBERED).map(|(name, _)| name.to_owned());
        match item(at).and_then(name_of).or_else(numbered) {
            Some(name) if name != *field.name() => Arc::new(Field::clone(field).with_name(name)),
            _ => Arc::clone(field),
        }
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), columns.metadata().clone()))
}

/// Returns the first select of a query, which names the columns of all.
fn first(query: &Query) -> Option<&Select> {
    let mut body = query.body.as_ref();
    loop {
        match body {
            SetExpr::Select(select) => return Some(select),
            SetExpr::Query(query) => body = query.body.as_ref(),
            SetExpr::SetOperation { left, .. } => body = left,
            _ => return None,
        }
    }
}

/// Returns the first select of a query, mutably.
fn first_mut(query: &mut Query) -> Option<&mut Select> {
    let mut body = query.body.as_mut();
    loop {
        match body {
            SetExpr::Select(select) => return Some(select),
            SetExpr::Query(query) => body = query.body.as_mut(),
            SetExpr::SetOperation { left, .. } => body = left,
            _ => return None,
        }
    }
}

/// Returns PostgreSQL's name of a selected item, if DataFusion's differs.
fn name_of(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => None,
        SelectItem::UnnamedExpr(expr) => Some(name(expr)),
        SelectItem::ExprWithAlias { alias, .. } => alias.value.split_once(NUMBERED).map(|(name, _)| name.to_owned()),
        _ => None,
    }
}

fn name(expr: &Expr) -> String {
    figured(expr).unwrap_or_else(|| UNNAMED.to_owned())
}

/// Returns the name that follows from an expression, if one does.
fn figured(expr: &Expr) -> Option<String> {
    let known = match expr {
        Expr::Identifier(name) => return Some(called(name)),
        Expr::CompoundIdentifier(names) => return names.last().map(called),
        Expr::CompoundFieldAccess { root, access_chain } => {
            return match access_chain.last() {
                Some(AccessExpr::Dot(Expr::Identifier(field))) => Some(called(field)),
                _ => figured(root),
            };
        }
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => return figured(inner),
        Expr::Function(function) => return of_function(function),
        Expr::Cast { expr, data_type, .. } => return strong(expr).or_else(|| Some(of_type(data_type))),
        Expr::TypedString(typed) => return Some(of_type(&typed.data_type)),
        Expr::Case { else_result, .. } => {
            return else_result.as_deref().and_then(strong).or_else(|| Some("case".to_owned()));
        }
        Expr::Subquery(query) => {
            return match first(query)?.projection.first()? {
                SelectItem::ExprWithAlias { alias, .. } => Some(called(alias)),
                SelectItem::UnnamedExpr(expr) => figured(expr),
                _ => None,
            };
        }
        Expr::Array(_) => "array",
        Expr::AtTimeZone { .. } => "timezone",
        Expr::Ceil { .. } => "ceil",
        Expr::Exists { negated: false, .. } => "exists",
        Expr::Extract { .. } => "extract",
        Expr::Floor { .. } => "floor",
        Expr::Interval(_) => "interval",
        Expr::Overlay { .. } => "overlay",
        Expr::Position { .. } => "position",
        Expr::Substring { .. } => "substring",
        Expr::Trim { trim_where: Some(TrimWhereField::Leading), .. } => "ltrim",
        Expr::Trim { trim_where: Some(TrimWhereField::Trailing), .. } => "rtrim",
        Expr::Trim { .. } => "btrim",
        _ => return None,
    };
    Some(known.to_owned())
}

/// Returns a name as it is resolved: in lower case, unless quoted.
fn called(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

/// Returns the name that follows from an expression, unless that of a type or a CASE around it takes precedence.
fn strong(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } | Expr::Cast { expr: inner, .. } => strong(inner),
        Expr::Case { else_result, .. } => else_result.as_deref().and_then(strong),
        Expr::TypedString(_) | Expr::Interval(_) => None,
        expr => figured(expr),
    }
}

/// Returns the name of a type without its length, or that of an array's elements.
fn of_type(kind: &SqlType) -> String {
    let written = kind.to_string();
    let element = written.split('[').next().unwrap_or_default();
    let element = element.strip_prefix("pg_catalog.").unwrap_or(element);
    match element.split_once('(') {
        Some((name, rest)) => {
            let behind = rest.split_once(')').map_or("", |(_, behind)| behind);
            listed_as(&format!("{name}{behind}"))
        }
        None => listed_as(element),
    }
}

/// Returns the name of a function, unless the function stands for a scalar subquery.
fn of_function(function: &Function) -> Option<String> {
    let name = last_of(&function.name);
    let rows = match arguments(function).first() {
        Some(Expr::Subquery(rows)) if [ONLY_ELEMENT, "array_element"].contains(&name.as_str()) => first(rows)?,
        _ => return Some(name),
    };
    match rows.projection.first()? {
        SelectItem::UnnamedExpr(Expr::Function(collected)) => arguments(collected).first().copied().and_then(figured),
        _ => None,
    }
}

/// Returns a statement without the names that were given to rewritten columns.
#[cfg(test)]
pub(super) fn without_numbered(text: &str) -> String {
    let mut parts = text.split(" AS \"");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| match part.split_once('"') {
        Some((name, behind)) if name.contains(NUMBERED) => text + behind,
        _ => text + " AS \"" + part,
    })
}

#[cfg(test)]
mod tests {
    use super::super::parsed::{adapted, parse};
    use super::*;

    /// Returns the names of an answer with `columns` columns.
    fn names(text: &str, columns: usize) -> Vec<String> {
        let statement = parse(text).and_then(|statement| adapted(statement, text)).expect("SQL");
        let fields = (0..columns).map(|number| Field::new(format!("c{number}"), DataType::Int64, true));
        let columns = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        named(columns, &statement).fields().iter().map(|field| field.name().clone()).collect()
    }

    #[test]
    fn columns_are_called_as_postgresql_calls_them() {
        for (text, expected) in [
            ("select count(*), MAX(clicks), sum(clicks) as n from clicks_minute", vec!["count", "max", "c2"]),
            ("select 1, clicks + 1, -clicks, 'x' from clicks_minute", vec![UNNAMED; 4]),
            ("select count(*), count(*), 1, 1", vec!["count", "count", UNNAMED, UNNAMED]),
            ("select current_database(), ad_id, ad_id from clicks", vec!["current_database", "c1", "ad_id"]),
            (
                "select clicks::int, ad_id, m.ad_id, 1::bigint, '7'::text from clicks_minute m",
                vec!["clicks", "c1", "c2", "int8", "text"],
            ),
            (
                "select case when true then 1 end, case when true then 1 else clicks end from clicks_minute",
                vec!["case", "clicks"],
            ),
            (
                "select (select max(clicks) from clicks_minute), exists (select 1), (select 1 as x)",
                vec!["max", "exists", "x"],
            ),
            ("select count(*) from clicks union all select 2", vec!["count"]),
            ("(select lower(ad_id) from clicks limit 1)", vec!["lower"]),
            ("select count(*) over (), *, max(clicks) over () from clicks_minute", vec!["count", "c1", "c2", "max"]),
            (
                "select extract(hour from event_time), date '2026-03-07', interval '1 day' from clicks",
                vec!["extract", "date", "interval"],
            ),
            ("select 'a'::text::varchar, cast(case when true then 1 end as int)", vec!["varchar", "int4"]),
            ("select case when true then 1 else 2::int end, max(clicks)::int from clicks", vec!["case", "max"]),
            (
                "select 1::numeric(10, 2), null::text[], null::timestamp(3) with time zone",
                vec!["numeric", "text", "timestamptz"],
            ),
            ("select coalesce(ad_id, 'x'), upper(trim(ad_id)) from clicks", vec!["coalesce", "upper"]),
            ("select (select nspname from pg_namespace) from pg_class", vec!["nspname"]),
            (
                "select current_user, USER, current_role, session_user",
                vec!["current_user", "user", "current_role", "session_user"],
            ),
            (
                "select current_catalog, CURRENT_SCHEMA, (select current_user)",
                vec!["current_catalog", "current_schema", "current_user"],
            ),
            (
                "select 'a'::regclass, '1'::pg_catalog.regtype, to_regclass('a')",
                vec!["regclass", "regtype", "to_regclass"],
            ),
            ("select array[1], array(select 1), (array[1, 2])[1]", vec!["array"; 3]),
            ("select trim(leading 'x' from ad_id), trim(trailing 'x' from ad_id) from clicks", vec!["ltrim", "rtrim"]),
            (
                "select trim(both 'x' from ad_id), trim(ad_id), 'x'::char(3) from clicks",
                vec!["btrim", "btrim", "bpchar"],
            ),
            ("select exists (select 1 from pg_class), not exists (select 1)", vec!["exists", UNNAMED]),
            (
                "select (select oid from pg_attrdef), AD_ID::int, null, null from pg_class",
                vec!["oid", "ad_id", UNNAMED, UNNAMED],
            ),
            ("values (1)", vec!["c0"]),
        ] {
            assert_eq!(names(text, expected.len()), expected, "{text}");
        }
    }
}
