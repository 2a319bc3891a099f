//! `3 * interval '1 day'`: multiplies a whole number and an interval, as in PostgreSQL. Tableau writes such products.

use std::sync::{Arc, LazyLock};

use arrow::array::AsArray;
use arrow::compute::try_binary;
use arrow::datatypes::{DataType, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit};
use arrow::error::ArrowError;
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Type of an interval in SQL: months, days and nanoseconds.
const SPAN: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

static TIMES: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(Times::new())));

/// Planner of products of whole numbers and intervals.
#[derive(Debug)]
pub(crate) struct SpansTimes;

impl ExprPlanner for SpansTimes {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let is_span = |expr: &Expr| expr.get_type(schema).is_ok_and(|kind| kind == SPAN);
        let is_whole = |expr: &Expr| expr.get_type(schema).is_ok_and(|kind| kind.is_integer());
        let RawBinaryExpr { op, left, right } = expr;
        let factors = match op {
            BinaryOperator::Multiply if is_whole(&left) && is_span(&right) => vec![left, right],
            BinaryOperator::Multiply if is_span(&left) && is_whole(&right) => vec![right, left],
            _ => return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right })),
        };
        Ok(PlannerResult::Planned(TIMES.call(factors)))
    }
}

/// Function of a number and the interval that it multiplies.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Times {
    signature: Signature,
}

impl Times {
    fn new() -> Self {
        Self { signature: Signature::exact(vec![DataType::Int64, SPAN], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Times {
    fn name(&self) -> &'static str {
        "times"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(SPAN)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_one = arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let factors = ColumnarValue::values_to_arrays(&arguments.args)?;
        let (many, spans) =
            (factors[0].as_primitive::<Int64Type>(), factors[1].as_primitive::<IntervalMonthDayNanoType>());
        let product = try_binary::<_, _, _, IntervalMonthDayNanoType>(many, spans, times)?;
        match is_one {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&product, 0)?)),
            false => Ok(ColumnarValue::Array(Arc::new(product))),
        }
    }
}

/// Multiplies an interval; fails if a part of it overflows.
fn times(many: i64, span: IntervalMonthDayNano) -> Result<IntervalMonthDayNano, ArrowError> {
    let short = |part: i32| many.checked_mul(part.into()).and_then(|part| i32::try_from(part).ok());
    let product = || {
        let (months, days) = (short(span.months)?, short(span.days)?);
        Some(IntervalMonthDayNano::new(months, days, span.nanoseconds.checked_mul(many)?))
    };
    product().ok_or_else(|| ArrowError::ArithmeticOverflow(format!("{many} times a span of time is too long")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_taken_so_many_times_or_is_too_long() {
        let span = IntervalMonthDayNano::new(1, -2, 3);
        assert_eq!(times(-3, span).expect("it is short"), IntervalMonthDayNano::new(-3, 6, -9));
        assert_eq!(times(0, span).expect("it is short"), IntervalMonthDayNano::new(0, 0, 0));
        for span in [(1, 0, 0), (0, 1, 0), (0, 0, 4)] {
            assert!(times(i64::MAX / 3, IntervalMonthDayNano::new(span.0, span.1, span.2)).is_err(), "{span:?}");
        }
    }
}
