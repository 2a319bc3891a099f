//! Functions of PostgreSQL's own that programs call before they query anything.
//!
//! Most of them describe properties that no object has here: a comment, a definition, a size. [`StandIn`] answers each
//! of these with one constant, whatever its arguments.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{Array, AsArray, BooleanArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility, create_udf, lit,
};
use datafusion::scalar::ScalarValue;
use lake_schemas::Code;
use lake_store::LakeError;

use super::settings::{self, LIMIT, Setting, VERSION};

/// Name of a function, and how many arguments it may take.
type Called = (&'static str, &'static [usize]);

/// Functions that describe an object in words: always null here.
const TEXTS: [Called; 19] = [
    ("obj_description", &[1, 2]),
    ("shobj_description", &[2]),
    ("col_description", &[2]),
    ("pg_get_indexdef", &[1, 3]),
    ("pg_get_viewdef", &[1, 2]),
    ("pg_get_ruledef", &[1, 2]),
    ("pg_get_triggerdef", &[1, 2]),
    ("pg_get_functiondef", &[1]),
    ("pg_get_function_result", &[1]),
    ("pg_get_function_arguments", &[1]),
    ("pg_get_function_identity_arguments", &[1]),
    ("pg_get_function_sqlbody", &[1]),
    ("pg_get_partition_constraintdef", &[1]),
    ("pg_get_serial_sequence", &[2]),
    ("pg_size_pretty", &[1]),
    ("pg_tablespace_location", &[1]),
    ("inet_server_addr", &[0]),
    ("inet_client_addr", &[0]),
    ("pg_describe_object", &[3]),
];

/// Functions that number or measure an object: always null here.
const NUMBERS: [Called; 8] = [
    ("pg_table_size", &[1]),
    ("pg_indexes_size", &[1]),
    ("pg_database_size", &[1]),
    ("pg_tablespace_size", &[1]),
    ("pg_sequence_last_value", &[1]),
    ("pg_relation_filenode", &[1]),
    ("inet_server_port", &[0]),
    ("inet_client_port", &[0]),
];

/// Functions that are always true here.
const TRUE: [Called; 4] = [
    ("pg_type_is_visible", &[1]),
    ("pg_function_is_visible", &[1]),
    ("pg_opclass_is_visible", &[1]),
    ("pg_has_role", &[2, 3]),
];

/// Functions that are always false here.
const FALSE: [Called; 4] = [
    ("pg_is_in_recovery", &[0]),
    ("pg_is_other_temp_schema", &[1]),
    ("pg_index_column_has_property", &[3]),
    ("pg_index_has_property", &[2]),
];

/// Functions that tell whether a privilege is granted.
const PRIVILEGES: [&str; 8] = [
    "has_table_privilege",
    "has_any_column_privilege",
    "has_column_privilege",
    "has_schema_privilege",
    "has_database_privilege",
    "has_function_privilege",
    "has_sequence_privilege",
    "has_tablespace_privilege",
];

/// Privileges that are granted here: none of them changes anything.
const MAY: [&str; 4] = ["SELECT", "USAGE", "CONNECT", "EXECUTE"];

/// Returns all functions of PostgreSQL's own that are answered here.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let version = Arc::new(|_: &[ColumnarValue]| Ok(text(format!("PostgreSQL {VERSION}"))));
    let texts = TEXTS.map(|called| StandIn::of(called, ScalarValue::Utf8(None)));
    let numbers = NUMBERS.map(|called| StandIn::of(called, ScalarValue::Int64(None)));
    let is_so = TRUE.map(|called| StandIn::of(called, ScalarValue::Boolean(Some(true))));
    let is_not = FALSE.map(|called| StandIn::of(called, ScalarValue::Boolean(Some(false))));
    let others = [
        create_udf("version", Vec::new(), DataType::Utf8, Volatility::Stable, version),
        create_udf("quote_literal", vec![DataType::Utf8], DataType::Utf8, Volatility::Immutable, Arc::new(quoted)),
        // Clients call it to look for types that extensions would bring.
        StandIn::of(("to_regtype", &[1]), ScalarValue::Int32(None)),
        // Nothing is locked here. In PostgreSQL the function returns void, in a row.
        StandIn::of(("pg_advisory_unlock_all", &[0]), ScalarValue::Utf8(Some(String::new()))),
        StandIn::of(("pg_my_temp_schema", &[0]), ScalarValue::Int32(Some(0))),
        StandIn::of(("getdatabaseencoding", &[0]), ScalarValue::Utf8(Some("UTF8".to_owned()))),
        // No index exists here, so none has columns.
        StandIn::of(("_pg_expandarray", &[1]), no_column()),
        StatementFunction::CurrentSetting.function(),
        StatementFunction::SetConfig.function(),
        StatementFunction::Transaction.function(),
        LocalTimestamp::function(),
    ];
    let privileges = PRIVILEGES.map(|name| ScalarUDF::from(Privilege::of(name)));
    texts.into_iter().chain(numbers).chain(is_so).chain(is_not).chain(others).chain(privileges).collect()
}

/// Returns the null answer of `_pg_expandarray`: a struct of `x` and `n`, as PostgreSQL gives for each column of an
/// index.
fn no_column() -> ScalarValue {
    let fields = ["x", "n"].map(|name| Field::new(name, DataType::Int64, true));
    let kind = DataType::Struct(Fields::from(Vec::from(fields)));
    ScalarValue::try_from(&kind).unwrap_or(ScalarValue::Null)
}

/// Returns the signature of a function that takes any of these numbers of arguments, of any type.
fn signature(counts: &[usize]) -> Signature {
    let counts = counts.iter().map(|count| match count {
        0 => TypeSignature::Nullary,
        count => TypeSignature::Any(*count),
    });
    Signature::one_of(counts.collect(), Volatility::Stable)
}

/// Function that returns a constant, whatever its arguments.
#[derive(Debug, PartialEq, Eq, Hash)]
struct StandIn {
    name: &'static str,
    signature: Signature,
    answer: ScalarValue,
}

impl StandIn {
    fn of((name, counts): Called, answer: ScalarValue) -> ScalarUDF {
        Self { name, signature: signature(counts), answer }.into()
    }
}

impl ScalarUDFImpl for StandIn {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.answer.data_type())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.answer.clone()))
    }
}

/// Functions that read or change a setting, or number a transaction. Their arguments must be literals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum StatementFunction {
    CurrentSetting,
    SetConfig,
    Transaction,
}

impl StatementFunction {
    fn function(self) -> ScalarUDF {
        let counts: &[usize] = match self {
            Self::CurrentSetting => &[1, 2],
            Self::SetConfig => &[3],
            Self::Transaction => &[0],
        };
        CatalogFunction { asking: self, signature: signature(counts) }.into()
    }
}

/// A [`StatementFunction`] as DataFusion calls it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CatalogFunction {
    asking: StatementFunction,
    signature: Signature,
}

impl ScalarUDFImpl for CatalogFunction {
    fn name(&self) -> &str {
        match self.asking {
            StatementFunction::CurrentSetting => "current_setting",
            StatementFunction::SetConfig => "set_config",
            StatementFunction::Transaction => "txid_current",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(if self.asking == StatementFunction::Transaction { DataType::Int64 } else { DataType::Utf8 })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let answer = match self.asking {
            StatementFunction::CurrentSetting => current_setting(&arguments.args),
            StatementFunction::SetConfig => set_config(&arguments.args),
            StatementFunction::Transaction => Ok(transaction()),
        };
        answer.map(ColumnarValue::Scalar)
    }
}

/// Time at which a statement begins, without its zone, which is UTC here.
#[derive(Debug, PartialEq, Eq, Hash)]
struct LocalTimestamp {
    signature: Signature,
}

impl LocalTimestamp {
    fn function() -> ScalarUDF {
        Self { signature: Signature::nullary(Volatility::Stable) }.into()
    }
}

impl ScalarUDFImpl for LocalTimestamp {
    fn name(&self) -> &str {
        "localtimestamp"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Nanosecond, None))
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), self.return_type(&[])?, false)))
    }

    /// Replaces the call by a constant while the statement is planned, since the time is the same wherever it stands.
    fn simplify(&self, arguments: Vec<Expr>, plan: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let Some(begun) = plan.query_execution_start_time() else {
            return Ok(ExprSimplifyResult::Original(arguments));
        };
        let begun = ScalarValue::TimestampNanosecond(begun.timestamp_nanos_opt(), None);
        Ok(ExprSimplifyResult::Simplified(lit(begun)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(refused("localtimestamp: it is not known when the statement began; write now()".to_owned()))
    }
}

/// Returns what `SHOW` would show; null for an unknown setting, if the call allows that.
fn current_setting(arguments: &[ColumnarValue]) -> Result<ScalarValue> {
    let name = string(arguments.first()).unwrap_or_default().to_ascii_lowercase();
    let may_lack = matches!(arguments.get(1), Some(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true)))));
    match settings::shown(&name) {
        // A function does not know in whose session it is called.
        Some((LIMIT, _)) => Err(refused(format!("current_setting does not show {name}; write SHOW {name}"))),
        Some((_, value)) => Ok(ScalarValue::Utf8(Some(value.to_owned()))),
        None if may_lack => Ok(ScalarValue::Utf8(None)),
        None => Err(refused("current_setting: there is no setting of that name".to_owned())),
    }
}

/// Accepts what `SET` would set, if that changes no answer.
fn set_config(arguments: &[ColumnarValue]) -> Result<ScalarValue> {
    let [name, value] = [0, 1].map(|place| string(arguments.get(place)));
    let name = name.ok_or_else(|| refused("set_config takes the name of a setting, in quotes".to_owned()))?;
    let value = value.unwrap_or_default();
    match settings::set_to(&name, &value) {
        // The name of a client changes no answer.
        Ok(Setting::Unheeded | Setting::Name(_) | Setting::NameAtFirst) => Ok(ScalarValue::Utf8(Some(value))),
        Ok(_) => Err(refused(format!("set_config does not set {name}; write SET {name} TO '{value}'"))),
        Err(why) => Err(refused(why.to_string())),
    }
}

/// Returns texts quoted as in a statement, by which drivers put values where no parameter can stand.
fn quoted(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let arrays = ColumnarValue::values_to_arrays(arguments)?;
    let texts = arrays.iter().flat_map(|texts| texts.as_string::<i32>());
    let quoted: StringArray = texts.map(|text| text.map(literal)).collect();
    match arguments {
        [ColumnarValue::Scalar(_)] => ScalarValue::try_from_array(&quoted, 0).map(ColumnarValue::Scalar),
        _ => Ok(ColumnarValue::Array(Arc::new(quoted))),
    }
}

/// Returns a text in quotes, as PostgreSQL writes it.
fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match quoted.contains('\\') {
        true => format!(" E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

/// Returns a number for a transaction, unique in this process.
fn transaction() -> ScalarValue {
    static LAST: AtomicI64 = AtomicI64::new(0);
    ScalarValue::Int64(Some(LAST.fetch_add(1, Ordering::Relaxed) + 1))
}

/// Function that tells whether a privilege is granted.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Privilege {
    name: &'static str,
    signature: Signature,
}

impl Privilege {
    fn of(name: &'static str) -> Self {
        // A column is named with its table; and each of them may be given a role first.
        let counts: &[usize] = if name == "has_column_privilege" { &[3, 4] } else { &[2, 3] };
        Self { name, signature: signature(counts) }
    }
}

impl ScalarUDFImpl for Privilege {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match arguments.args.last() {
            Some(ColumnarValue::Array(asked)) => {
                let asked = cast(asked.as_ref(), &DataType::Utf8)?;
                let may: BooleanArray = asked.as_string::<i32>().iter().map(|asked| asked.map(is_allowed)).collect();
                Ok(ColumnarValue::Array(Arc::new(may)))
            }
            asked => Ok(ColumnarValue::Scalar(ScalarValue::Boolean(string(asked).map(|asked| is_allowed(&asked))))),
        }
    }
}

/// Returns whether one of these privileges is granted.
fn is_allowed(asked: &str) -> bool {
    asked.split(',').any(|one| MAY.contains(&one.trim().to_ascii_uppercase().as_str()))
}

/// Returns an argument that is a string literal; `None` for any other.
fn string(argument: Option<&ColumnarValue>) -> Option<String> {
    match argument {
        Some(ColumnarValue::Scalar(value)) => value.try_as_str().flatten().map(str::to_owned),
        Some(ColumnarValue::Array(values)) if values.len() == 1 => {
            let value = ScalarValue::try_from_array(values.as_ref(), 0).ok()?;
            value.try_as_str().flatten().map(str::to_owned)
        }
        _ => None,
    }
}

fn refused(why: String) -> DataFusionError {
    DataFusionError::External(Box::new(LakeError::Refused(Code::ArgumentImpossible.because(why))))
}

fn text(text: String) -> ColumnarValue {
    ColumnarValue::Scalar(ScalarValue::Utf8(Some(text)))
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    fn scalar(text: &str) -> ColumnarValue {
        self::text(text.to_owned())
    }

    #[test]
    fn settings_are_what_show_shows_and_set_sets() {
        let lacking = ColumnarValue::Scalar(ScalarValue::Boolean(Some(true)));
        let shown = |arguments: &[ColumnarValue]| current_setting(arguments).ok();
        assert_eq!(shown(&[scalar("TimeZone")]), Some(ScalarValue::Utf8(Some("UTC".to_owned()))));
        assert_eq!(shown(&[scalar("nothing"), lacking]), Some(ScalarValue::Utf8(None)));
        assert_eq!(shown(&[scalar("nothing")]), None);
        assert_eq!(shown(&[scalar("statement_timeout")]), None, "it is one of the session");
        let set = |name: &str, value: &str| set_config(&[scalar(name), scalar(value)]).is_ok();
        assert!(set("bytea_output", "hex") && set("search_path", "") && set("application_name", "psql"));
        assert!(!set("timezone", "Europe/Berlin") && !set("statement_timeout", "5s"));
    }

    #[tokio::test]
    async fn localtimestamp_is_in_utc_and_the_same_throughout_a_statement() {
        let context = SessionContext::new();
        context.register_udf(LocalTimestamp::function());
        let rows = context.sql("select localtimestamp, localtimestamp = now() as is_now").await.expect("SQL");
        let rows = rows.collect().await.expect("an answer");
        assert_eq!(rows[0].schema().field(0).data_type(), &DataType::Timestamp(TimeUnit::Nanosecond, None));
        assert!(rows[0].column(1).as_boolean().value(0));
    }

    #[test]
    fn nothing_that_changes_anything_is_allowed() {
        assert!(is_allowed("select") && is_allowed("INSERT, SELECT") && is_allowed("usage"));
        assert!(!is_allowed("UPDATE") && !is_allowed("select with grant option") && !is_allowed(""));
    }

    #[test]
    fn texts_are_quoted_as_postgresql_quotes_them() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b"), " E'a\\\\b'");
        let one = quoted(&[scalar("1")]).expect("a text");
        assert!(matches!(one, ColumnarValue::Scalar(ScalarValue::Utf8(Some(text))) if text == "'1'"));
    }

    #[test]
    fn a_column_of_an_index_is_a_struct_of_two_fields() {
        assert!(matches!(no_column().data_type(), DataType::Struct(fields) if fields.len() == 2));
    }
}
