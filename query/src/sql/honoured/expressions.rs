//! Refuses the parts of expressions that DataFusion's planner would ignore: in function calls, and in types.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, CharacterLength, DataType, DuplicateTreatment, ExactNumberInfo, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, ObjectName, TypedString, Value,
    WindowType,
};

use super::visitor::Honoured;

/// Functions that write a time in a format.
const WRITE_TIMES: [&str; 2] = ["to_char", "date_format"];

/// Functions that make rows of a list, and take nothing else.
const UNNEST: [&str; 2] = ["unnest", "unnest_outer"];

impl Honoured<'_> {
    /// Checks an expression, and not those in it.
    pub(super) fn expression(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) => self.function(function),
            Expr::Trim { trim_where: _, trim_what: _, expr: _, trim_characters } => {
                let has_more = trim_characters.as_ref().is_some_and(|characters| characters.len() > 1);
                self.refuse(has_more, "TRIM with several texts", "write the characters as one text")
            }
            // DataFusion takes the pattern for a regular expression, which need only match a part of the text.
            Expr::SimilarTo { negated: _, expr: _, pattern: _, escape_char: _ } => {
                self.refuse(true, "SIMILAR TO", "write ~ and a regular expression, or LIKE")
            }
            // DataFusion refuses a format, and arrays.
            Expr::Cast { kind: _, expr, data_type, array: _, format: _ } => match expr.as_ref() {
                Expr::Value(value) => self.data_type(data_type, Some(&value.value)),
                _ => self.data_type(data_type, None),
            },
            Expr::TypedString(TypedString { data_type, value, uses_odbc_syntax: _ }) => {
                self.data_type(data_type, Some(&value.value))
            }
            // DataFusion honours all parts of these, or refuses those that it does not take; a few fields only record
            // how a text was written.
            Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::CompoundFieldAccess { root: _, access_chain: _ }
            | Expr::JsonAccess { value: _, path: _ }
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotUnknown(_)
            | Expr::IsDistinctFrom(_, _)
            | Expr::IsNotDistinctFrom(_, _)
            | Expr::InList { expr: _, list: _, negated: _ }
            | Expr::InSubquery { expr: _, subquery: _, negated: _ }
            | Expr::Between { expr: _, negated: _, low: _, high: _ }
            | Expr::BinaryOp { left: _, op: _, right: _ }
            | Expr::Like { negated: _, any: _, expr: _, pattern: _, escape_char: _ }
            | Expr::ILike { negated: _, any: _, expr: _, pattern: _, escape_char: _ }
            | Expr::AnyOp { left: _, compare_op: _, right: _, is_some: _ }
            | Expr::AllOp { left: _, compare_op: _, right: _ }
            | Expr::UnaryOp { op: _, expr: _ }
            | Expr::AtTimeZone { timestamp: _, time_zone: _ }
            | Expr::Extract { field: _, syntax: _, expr: _ }
            | Expr::Ceil { expr: _, field: _ }
            | Expr::Floor { expr: _, field: _ }
            | Expr::Position { expr: _, r#in: _ }
            | Expr::Substring { expr: _, substring_from: _, substring_for: _, special: _, shorthand: _ }
            | Expr::Overlay { expr: _, overlay_what: _, overlay_from: _, overlay_for: _ }
            | Expr::Nested(_)
            | Expr::Value(_)
            | Expr::Case { case_token: _, end_token: _, operand: _, conditions: _, else_result: _ }
            | Expr::Exists { subquery: _, negated: _ }
            | Expr::Subquery(_)
            | Expr::GroupingSets(_)
            | Expr::Cube(_)
            | Expr::Rollup(_)
            | Expr::Tuple(_)
            | Expr::Struct { values: _, fields: _ }
            | Expr::Named { expr: _, name: _ }
            | Expr::Dictionary(_)
            | Expr::Map(_)
            | Expr::Array(_)
            | Expr::Interval(_)
            | Expr::Wildcard(_)
            | Expr::QualifiedWildcard(_, _)
            | Expr::Lambda(_) => ControlFlow::Continue(()),
            // DataFusion refuses these.
            Expr::IsNormalized { .. }
            | Expr::InUnnest { .. }
            | Expr::RLike { .. }
            | Expr::Convert { .. }
            | Expr::Collate { .. }
            | Expr::Prefixed { .. }
            | Expr::MatchAgainst { .. }
            | Expr::OuterJoin(_)
            | Expr::Prior(_)
            | Expr::MemberOf(_) => ControlFlow::Continue(()),
        }
    }

    fn function(&mut self, function: &Function) -> ControlFlow<()> {
        let Function { name, uses_odbc_syntax: _, parameters, args, filter, null_treatment, over, within_group } =
            function;
        let has_parameters = *parameters != FunctionArguments::None;
        let called = called(name);
        self.refuse(has_parameters, &format!("a second pair of brackets, as in {called}(…)(…),"), "name one pair")?;
        let (mut is_distinct, mut clauses) = (false, &[][..]);
        match args {
            FunctionArguments::None => {}
            FunctionArguments::Subquery(_) => {
                self.refuse(true, &format!("{called}(SELECT …)"), "put the query in brackets of its own")?;
            }
            FunctionArguments::List(FunctionArgumentList { duplicate_treatment, args, clauses: said }) => {
                is_distinct = *duplicate_treatment == Some(DuplicateTreatment::Distinct);
                clauses = said.as_slice();
                let has_options =
                    args.iter().any(|argument| matches!(value_of(argument), FunctionArgExpr::WildcardWithOptions(_)));
                self.refuse(has_options, &format!("a choice of columns in {called}(* …)"), "name the columns")?;
            }
        }
        // Such a format would be printed unchanged in each row.
        let has_no_field = WRITE_TIMES.contains(&called.as_str()) && format_of(args).is_some_and(is_of_no_field);
        let instead = "write it as strftime does, such as '%Y-%m-%d'";
        self.refuse(has_no_field, &format!("a format without % in {called}()"), instead)?;
        if let Some(WindowType::WindowSpec(window)) = over {
            self.window(window)?;
        }
        if self.is_of_one_row(&called) {
            // DataFusion refuses the other clauses, whatever the function is.
            let is_ordered = |clause: &FunctionArgumentClause| {
                matches!(clause, FunctionArgumentClause::OrderBy(_) | FunctionArgumentClause::IgnoreOrRespectNulls(_))
            };
            let said = [
                (is_distinct, "DISTINCT"),
                (filter.is_some(), "FILTER"),
                (null_treatment.is_some() || clauses.iter().any(is_ordered), "ORDER BY, IGNORE or RESPECT NULLS"),
                (over.is_some(), "OVER"),
                (!within_group.is_empty(), "WITHIN GROUP"),
            ];
            for (is_said, clause) in said {
                let instead = "it computes a value of each row by itself; leave that out";
                self.refuse(is_said, &format!("{clause} of {called}()"), instead)?;
            }
        }
        let is_distinct_window = is_distinct && over.is_some() && self.is_only_of_windows(&called);
        self.refuse(is_distinct_window, &format!("DISTINCT of {called}() OVER (…)"), "leave that out")
    }

    /// Returns whether a function computes a value of each row by itself.
    fn is_of_one_row(&self, name: &str) -> bool {
        self.state.scalar_functions().contains_key(name)
            || self.state.higher_order_functions().contains_key(name)
            || UNNEST.contains(&name)
    }

    /// Returns whether a function is for windows only.
    fn is_only_of_windows(&self, name: &str) -> bool {
        self.state.window_functions().contains_key(name) && !self.state.aggregate_functions().contains_key(name)
    }

    /// Checks a type to which a value is cast; the value may be known. DataFusion takes a text of limited length for a
    /// text of any length.
    fn data_type(&mut self, data_type: &DataType, value: Option<&Value>) -> ControlFlow<()> {
        let (letters_max, is_precise) = match data_type {
            DataType::Varchar(Some(CharacterLength::IntegerLength { length, unit: _ }))
            | DataType::Char(Some(CharacterLength::IntegerLength { length, unit: _ }))
            | DataType::String(Some(length)) => (Some(*length), false),
            DataType::Array(
                ArrayElemTypeDef::SquareBracket(element, _)
                | ArrayElemTypeDef::AngleBracket(element)
                | ArrayElemTypeDef::Parenthesis(element),
            ) => return self.data_type(element, None),
            DataType::Float(precision) => (None, *precision != ExactNumberInfo::None),
            // DataFusion honours all that other types say, or refuses them.
            _ => (None, false),
        };
        let fits = |most: u64| match value {
            Some(Value::SingleQuotedString(text)) => u64::try_from(text.chars().count()).is_ok_and(|many| many <= most),
            _ => false,
        };
        let is_short = letters_max.is_some_and(|most| !fits(most));
        let instead = "write TEXT, and left(…, n) for the first n letters";
        self.refuse(is_short, &format!("the length in {data_type}"), instead)?;
        self.refuse(is_precise, &format!("the precision in {data_type}"), "write REAL or DOUBLE PRECISION")
    }
}

/// Returns whether arguments are given by their names.
pub(super) fn has_names(arguments: &[FunctionArg]) -> bool {
    arguments.iter().any(|argument| match argument {
        FunctionArg::Named { name: _, arg: _, operator: _ }
        | FunctionArg::ExprNamed { name: _, arg: _, operator: _ } => true,
        FunctionArg::Unnamed(_) => false,
    })
}

/// Returns the format of a function that writes times, if it is a literal in the statement.
fn format_of(arguments: &FunctionArguments) -> Option<&str> {
    let FunctionArguments::List(list) = arguments else { return None };
    match list.args.get(1).map(value_of)? {
        FunctionArgExpr::Expr(Expr::Value(value)) => match &value.value {
            Value::SingleQuotedString(format) => Some(format),
            _ => None,
        },
        _ => None,
    }
}

/// Returns whether a format has letters, and nothing that stands for a part of a time.
fn is_of_no_field(format: &str) -> bool {
    !format.contains('%') && format.contains(char::is_alphabetic)
}

fn value_of(argument: &FunctionArg) -> &FunctionArgExpr {
    match argument {
        FunctionArg::Named { name: _, arg, operator: _ }
        | FunctionArg::ExprNamed { name: _, arg, operator: _ }
        | FunctionArg::Unnamed(arg) => arg,
    }
}

/// Returns the name of a function, as DataFusion looks it up.
fn called(name: &ObjectName) -> String {
    match name.0.as_slice() {
        [one] => match one.as_ident() {
            Some(ident) if ident.quote_style.is_none() => ident.value.to_ascii_lowercase(),
            Some(ident) => ident.value.clone(),
            None => name.to_string(),
        },
        _ => name.to_string(),
    }
}
