//! Functions of PostgreSQL that programs call before they ask anything, and that nobody else has.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use datafusion::scalar::ScalarValue;
use lake_schemas::LakeError;

use super::settings::{self, VERSION};

/// All of them.
pub(super) fn functions() -> [ScalarUDF; 7] {
    let version = Arc::new(|_: &[ColumnarValue]| Ok(text(format!("PostgreSQL {VERSION}"))));
    let nothing = |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(ScalarValue::Utf8(None)));
    let visible = |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))));
    // It is asked for what extensions would bring.
    let no_type = |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(ScalarValue::Int32(None)));
    let of_index = vec![DataType::Int64, DataType::Int64, DataType::Boolean];
    // Tables and columns are described elsewhere.
    let of_table = vec![DataType::Int32, DataType::Utf8];
    let of_column = vec![DataType::Int32, DataType::Int32];
    let stable = Volatility::Stable;
    [
        create_udf("version", Vec::new(), DataType::Utf8, stable, version),
        create_udf("current_setting", vec![DataType::Utf8], DataType::Utf8, stable, Arc::new(current_setting)),
        create_udf("obj_description", of_table, DataType::Utf8, stable, Arc::new(nothing)),
        create_udf("col_description", of_column, DataType::Utf8, stable, Arc::new(nothing)),
        create_udf("pg_get_indexdef", of_index, DataType::Utf8, stable, Arc::new(nothing)),
        create_udf("pg_type_is_visible", vec![DataType::Int32], DataType::Boolean, stable, Arc::new(visible)),
        create_udf("to_regtype", vec![DataType::Utf8], DataType::Int32, stable, Arc::new(no_type)),
    ]
}

/// What SHOW would show.
fn current_setting(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let name = match arguments {
        [ColumnarValue::Scalar(name)] => name.try_as_str().flatten().unwrap_or_default().to_ascii_lowercase(),
        _ => String::new(),
    };
    let shown = settings::shown(&name).map(|(_, value)| text(value.to_owned()));
    shown.ok_or_else(|| {
        let why = "current_setting: there is no setting of that name".to_owned();
        DataFusionError::External(Box::new(LakeError::Refused(why)))
    })
}

fn text(text: String) -> ColumnarValue {
    ColumnarValue::Scalar(ScalarValue::Utf8(Some(text)))
}
