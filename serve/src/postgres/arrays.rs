//! Arrays as PostgreSQL writes them in a string, `{spring,"a,b",NULL}`; membership in an array; and conversions between
//! arrays and rows.

use std::sync::LazyLock;

use datafusion::sql::sqlparser::ast::{
    Array, ArrayElemTypeDef, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArgumentClause,
    FunctionArguments, GroupByExpr, Ident, OrderByKind, Query, SelectItem, SetExpr, Value, ValueWithSpan,
};

use super::calls::{arguments, call, is_named, parsed};
use super::errors::Refused;

/// Function that makes a row of each number, wherever it stands. In DataFusion it is a list in one row, unless it
/// stands in place of a table.
const SERIES: &str = "generate_series";

/// Function that makes a row of each element.
const UNNEST: &str = "unnest";

/// Function that returns the only element of a list.
pub(super) const ONLY_ELEMENT: &str = "only_element";

/// Value of `array(...)` when there are no rows.
static EMPTY_ARRAY: LazyLock<Expr> = LazyLock::new(|| parsed("make_array()"));

/// Returns the elements of an array of one dimension; `None` if the text is no such array.
pub(super) fn elements(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let (mut elements, mut rest) = (Vec::new(), inner.trim());
    if rest.is_empty() {
        return Some(elements);
    }
    loop {
        let (element, after) = if let Some(quoted) = rest.strip_prefix('"') {
            let (element, after) = unescaped(quoted, '"')?;
            (Some(element), after.strip_prefix('"')?.trim_start())
        } else {
            let (element, after) = unescaped(rest, ',')?;
            let element = element.trim_end();
            if element.is_empty() {
                return None;
            }
            ((!element.eq_ignore_ascii_case("null")).then(|| element.to_owned()), after)
        };
        elements.push(element);
        match after.strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None => return after.is_empty().then_some(elements),
        }
    }
}

/// Splits a text at a character, or at its end: returns what stands before, unescaped, and the rest. A backslash takes
/// the next character literally.
fn unescaped(text: &str, until: char) -> Option<(String, &str)> {
    let (mut before, mut letters) = (String::new(), text.char_indices());
    while let Some((at, letter)) = letters.next() {
        match letter {
            letter if letter == until => return Some((before, &text[at..])),
            '\\' => before.push(letters.next()?.1),
            // Arrays of arrays, and quotes in the middle of an element, are not supported.
            '{' | '}' | '"' if until != '"' => return None,
            letter => before.push(letter),
        }
    }
    (until != '"').then_some((before, ""))
}

/// Returns the type of the elements of an array, if it is written.
pub(super) fn element_type(of: &ArrayElemTypeDef) -> Option<&DataType> {
    match of {
        ArrayElemTypeDef::SquareBracket(kind, _)
        | ArrayElemTypeDef::AngleBracket(kind)
        | ArrayElemTypeDef::Parenthesis(kind) => Some(kind),
        ArrayElemTypeDef::None => None,
    }
}

/// Returns a string that is cast to an array as that array; `None` if the cast does not name a type of elements.
pub(super) fn array_of(text: &str, of: &ArrayElemTypeDef) -> Result<Option<Expr>, Refused> {
    let Some(kind) = element_type(of) else { return Ok(None) };
    Ok(Some(Expr::Array(Array { elem: array(text, Some(kind))?, named: true })))
}

/// Returns the elements of the array that a string is, as values of a type, or as texts if none is given.
pub(super) fn array(text: &str, kind: Option<&DataType>) -> Result<Vec<Expr>, Refused> {
    let read = elements(text).filter(|_| !matches!(kind, Some(DataType::Array(_))));
    let read = read.ok_or_else(|| Refused::malformed("an array is of one dimension, and written '{a,b}'"))?;
    let value = |element: Option<String>| match element {
        None => Expr::value(Value::Null),
        Some(text) => of_type(Expr::value(Value::SingleQuotedString(text)), kind),
    };
    Ok(read.into_iter().map(value).collect())
}

/// Casts a value to a type, unless that is text.
pub(super) fn of_type(expr: Expr, kind: Option<&DataType>) -> Expr {
    let is_text = |kind: &DataType| {
        matches!(kind, DataType::Text | DataType::Varchar(_) | DataType::CharacterVarying(_) | DataType::String(_))
    };
    match kind {
        Some(kind) if !is_text(kind) && !matches!(expr, Expr::Cast { .. }) => Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(expr),
            data_type: kind.clone(),
            array: false,
            format: None,
        },
        _ => expr,
    }
}

/// Writes `= ANY` and `<> ALL` of a literal array as a list.
pub(super) fn write_membership(expr: &mut Expr) -> Result<(), Refused> {
    let (left, right, negated) = match expr {
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => (left, right, false),
        Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => (left, right, true),
        _ => return Ok(()),
    };
    let list = match right.as_ref() {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => Some(array(text, None)?),
        right => listed(right),
    };
    if let Some(list) = list {
        *expr = match list.is_empty() {
            true => Expr::value(Value::Boolean(negated)),
            false => Expr::InList { expr: left.clone(), list, negated },
        };
    }
    Ok(())
}

/// Returns an expression without the brackets around it, however many.
pub(super) fn unbracketed(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => unbracketed(inner),
        expr => expr,
    }
}

/// Removes the brackets around a value: drivers that write values into a statement put each in some.
pub(super) fn write_unbracketed(expr: &mut Expr) {
    let Expr::Nested(inner) = &*expr else { return };
    let value = unbracketed(inner);
    if matches!(value, Expr::Value(_)) {
        *expr = value.clone();
    }
}

/// Writes `= ANY` and `<> ALL` of an array of selected rows as `IN`.
pub(super) fn write_among(expr: &mut Expr) {
    let (left, right, negated) = match expr {
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => (left, right, false),
        Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => (left, right, true),
        _ => return,
    };
    if let Expr::Function(function) = right.as_ref()
        && is_named(function, "array")
        && let FunctionArguments::Subquery(subquery) = &function.args
    {
        *expr = Expr::InSubquery { expr: left.clone(), subquery: subquery.clone(), negated };
    }
}

/// Writes `array(select x ...)` as a list of the selected rows.
pub(super) fn write_collected(expr: &mut Expr) -> Result<(), Refused> {
    let Expr::Function(function) = expr else { return Ok(()) };
    let FunctionArguments::Subquery(query) = &mut function.args else { return Ok(()) };
    if !collect(query) {
        let how = "array(select ...) takes one column, without DISTINCT, GROUP BY and LIMIT";
        return Err(Refused::unsupported(how));
    }
    // Without rows, it is a list without elements.
    *expr = call("coalesce", vec![Expr::Subquery(query.clone()), EMPTY_ARRAY.clone()]);
    Ok(())
}

/// Makes a query return the list of its rows; returns whether it could. A query for which it returns `false` may be
/// half rewritten and must not be used.
#[must_use]
pub(super) fn collect(query: &mut Query) -> bool {
    if query.with.is_some() || query.limit_clause.is_some() || query.fetch.is_some() {
        return false;
    }
    let mut order = match query.order_by.take().map(|order| order.kind) {
        None => Vec::new(),
        Some(OrderByKind::Expressions(order)) => order,
        Some(_) => return false,
    };
    let SetExpr::Select(select) = query.body.as_mut() else { return false };
    if select.distinct.is_some() || select.having.is_some() || !is_ungrouped(&select.group_by) {
        return false;
    }
    let (one, called) = match select.projection.as_mut_slice() {
        [SelectItem::UnnamedExpr(one)] => (one, None),
        [SelectItem::ExprWithAlias { expr: one, alias }] => (one, Some(&*alias)),
        _ => return false,
    };
    for by in &mut order {
        match &by.expr {
            // A position or a name in `ORDER BY` orders by the selected expression.
            Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) if number == "1" => {}
            Expr::Value(_) => return false,
            Expr::Identifier(name) if called.is_some_and(|called| is_alias(called, name)) => {}
            _ => continue,
        }
        by.expr = one.clone();
    }
    let mut list = call("array_agg", vec![one.clone()]);
    if let Expr::Function(Function { args: FunctionArguments::List(list), .. }) = &mut list
        && !order.is_empty()
    {
        list.clauses.push(FunctionArgumentClause::OrderBy(order));
    }
    *one = list;
    true
}

/// Returns whether a query has no `GROUP BY`.
pub(super) fn is_ungrouped(group_by: &GroupByExpr) -> bool {
    matches!(group_by, GroupByExpr::Expressions(by, modifiers) if by.is_empty() && modifiers.is_empty())
}

fn is_alias(alias: &Ident, name: &Ident) -> bool {
    alias.value.eq_ignore_ascii_case(&name.value)
}

/// Gives a selected series the name that it has in PostgreSQL, before it is rewritten.
pub(super) fn name_series(item: &mut SelectItem) {
    if let SelectItem::UnnamedExpr(expr) = item
        && is_series(expr)
    {
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::new(SERIES) };
    }
}

/// Writes a series in place of a value as rows.
pub(super) fn write_series(expr: &mut Expr) {
    let series = std::mem::replace(expr, Expr::value(Value::Null));
    *expr = call(UNNEST, vec![series]);
}

/// Removes the `unnest` of what has just been written as rows.
pub(super) fn write_unnest(expr: &mut Expr) {
    let Expr::Function(function) = &*expr else { return };
    if let [rows @ Expr::Function(inner)] = arguments(function).as_slice()
        && is_named(inner, UNNEST)
        && arguments(inner).first().is_some_and(|series| is_series(series))
    {
        let rows = (*rows).clone();
        *expr = rows;
    }
}

fn is_series(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(function) if is_named(function, SERIES))
}

/// Returns the elements of a literal array.
fn listed(array: &Expr) -> Option<Vec<Expr>> {
    match array {
        Expr::Nested(inner) => listed(inner),
        Expr::Array(Array { elem, .. }) => Some(elem.clone()),
        Expr::Cast { expr, data_type: DataType::Array(of), .. } => {
            let kind = element_type(of)?;
            Some(listed(expr)?.into_iter().map(|element| of_type(element, Some(kind))).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_read_as_postgresql_reads_them() {
        let some = |texts: &[&str]| Some(texts.iter().map(|text| Some((*text).to_owned())).collect::<Vec<_>>());
        for (text, expected) in [
            ("{}", some(&[])),
            (" { } ", some(&[])),
            ("{spring}", some(&["spring"])),
            ("{\"spring\",\"a,b\"}", some(&["spring", "a,b"])),
            ("{ a b , 2 }", some(&["a b", "2"])),
            ("{\"a\\\"b\",c\\,d,\"\"}", some(&["a\"b", "c,d", ""])),
            ("{NULL,\"NULL\"}", Some(vec![None, Some("NULL".to_owned())])),
        ] {
            assert_eq!(elements(text), expected, "{text}");
        }
        for text in ["", "a", "{a", "a}", "{a,}", "{,}", "{{a}}", "{\"a}", "{\"a\"b}", "{a\"b\"}", "{a\\}"] {
            assert_eq!(elements(text), None, "{text}");
        }
    }
}
