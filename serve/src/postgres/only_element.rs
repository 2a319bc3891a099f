//! Function `only_element(list)`: the only element of a list, and null for an empty list. More elements are an error.
//! It answers scalar subqueries whose rows are collected before it is known which row they are for.

use arrow::array::{Array, AsArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use super::arrays::ONLY_ELEMENT;
use super::errors::MORE_THAN_ONE_ROW;

/// Returns the function.
pub(super) fn only_element() -> ScalarUDF {
    OnlyElement { signature: Signature::new(TypeSignature::Any(1), Volatility::Stable) }.into()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OnlyElement {
    signature: Signature,
}

impl ScalarUDFImpl for OnlyElement {
    fn name(&self) -> &str {
        ONLY_ELEMENT
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [DataType::List(element)] => Ok(element.data_type().clone()),
            _ => Err(DataFusionError::Plan(format!("{ONLY_ELEMENT} takes a list"))),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let lists = arguments.args.first().map(|lists| lists.to_array(arguments.number_rows)).transpose()?;
        let lists = lists.as_ref().and_then(|lists| lists.as_list_opt::<i32>());
        let lists = lists.ok_or_else(|| DataFusionError::Plan(format!("{ONLY_ELEMENT} takes a list")))?;
        let place = |row: usize| match lists.value_length(row) {
            1 if lists.is_valid(row) => Ok(u32::try_from(lists.value_offsets()[row]).ok()),
            0 | 1 => Ok(None),
            _ if lists.is_null(row) => Ok(None),
            _ => Err(DataFusionError::Execution(MORE_THAN_ONE_ROW.to_owned())),
        };
        let places = (0..lists.len()).map(place).collect::<Result<UInt32Array>>()?;
        Ok(ColumnarValue::Array(take(lists.values().as_ref(), &places, None)?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, ListArray};
    use arrow::datatypes::{Field, Int32Type};
    use datafusion::config::ConfigOptions;

    use super::*;

    fn of(lists: Vec<Option<Vec<Option<i32>>>>) -> Result<ArrayRef> {
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(lists);
        let number_rows = lists.len();
        let arguments = ScalarFunctionArgs {
            arg_fields: vec![Arc::new(Field::new("lists", lists.data_type().clone(), true))],
            args: vec![ColumnarValue::Array(Arc::new(lists))],
            number_rows,
            return_field: Arc::new(Field::new("element", DataType::Int32, true)),
            config_options: Arc::new(ConfigOptions::new()),
        };
        only_element().invoke_with_args(arguments)?.into_array(number_rows)
    }

    #[test]
    fn a_list_of_one_is_its_value_an_empty_list_is_null_and_two_are_an_error() {
        let found = of(vec![Some(vec![Some(7)]), None, Some(vec![]), Some(vec![None])]).expect("at most one each");
        assert_eq!(found.as_ref(), &Int32Array::from(vec![Some(7), None, None, None]));
        assert!(of(vec![Some(vec![Some(7)]), Some(vec![Some(1), Some(1)])]).is_err());
    }
}
