//! `sum` over whole numbers that never wraps around.
//!
//! DataFusion adds them up in 64 bits, and wraps around on overflow: the sum of two large costs can be negative,
//! without an error. Here they are added up in 128 bits, whether in groups, in window frames or over several threads. A
//! sum that 64 bits do not hold is an error that names the expression. Sums of all other types are left to DataFusion's
//! `sum`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Decimal128Type, Field, FieldRef, Int64Type, UInt64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature,
};
use lake_schemas::exact::SUM_TYPE;

use crate::error::Overflow;

/// Aggregate function with the name of DataFusion's own.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct CheckedSum {
    /// DataFusion's own `sum`, which adds up all types but whole numbers.
    stock: Arc<AggregateUDF>,
}

impl CheckedSum {
    /// Makes the function, to be registered in a session.
    pub fn function() -> AggregateUDF {
        AggregateUDF::from(Self { stock: sum_udaf() })
    }

    fn whole(args: &AccumulatorArgs) -> Option<Whole> {
        let to = Width::of(args.return_type())?;
        let known = args.is_distinct.then(HashMap::new);
        Some(Whole { name: named(args.name), to, sum: 0, values: 0, known })
    }
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.stock.name()
    }

    fn signature(&self) -> &Signature {
        self.stock.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.stock.return_type(types)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match Self::whole(&args) {
            Some(whole) => Ok(Box::new(whole)),
            None => self.stock.accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match Self::whole(&args) {
            Some(whole) => Ok(Box::new(whole)),
            None => self.stock.create_sliding_accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        match Width::of(args.return_type()) {
            Some(_) if !args.is_distinct => {
                self.stock.state_fields(StateFieldsArgs { return_field: wide_field(args.name), ..args })
            }
            _ => self.stock.state_fields(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.stock.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let Some(to) = Width::of(args.return_type()) else { return self.stock.create_groups_accumulator(args) };
        let name = named(args.name);
        let args = AccumulatorArgs { return_field: wide_field(args.name), ..args };
        Ok(Box::new(WholeGroups { name, to, sums: self.stock.create_groups_accumulator(args)? }))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.stock.inner().set_monotonicity(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.stock.documentation()
    }
}

/// Returns the name of a sum for an error. A name without `sum(` was made up by the optimizer for a part of the sum, so
/// the error says what it is.
fn named(name: &str) -> String {
    if name.contains("sum(") { name.to_owned() } else { format!("a sum ({name})") }
}

fn wide_field(name: &str) -> FieldRef {
    Arc::new(Field::new(name, SUM_TYPE, true))
}

/// Type of the result of a sum of whole numbers.
#[derive(Clone, Copy, Debug)]
enum Width {
    Signed,
    Unsigned,
}

impl Width {
    fn of(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Int64 => Some(Self::Signed),
            DataType::UInt64 => Some(Self::Unsigned),
            _ => None,
        }
    }

    /// Returns a sum as a value of this type.
    fn value(self, sum: Option<i128>, name: &str) -> Result<ScalarValue> {
        Ok(match self {
            Self::Signed => ScalarValue::Int64(sum.map(|sum| narrow(sum, name)).transpose()?),
            Self::Unsigned => ScalarValue::UInt64(sum.map(|sum| narrow(sum, name)).transpose()?),
        })
    }

    /// Returns sums as a column of this type.
    fn column(self, sums: &PrimitiveArray<Decimal128Type>, name: &str) -> Result<ArrayRef> {
        Ok(match self {
            Self::Signed => Arc::new(sums.try_unary::<_, Int64Type, _>(|sum| narrow(sum, name))?),
            Self::Unsigned => Arc::new(sums.try_unary::<_, UInt64Type, _>(|sum| narrow(sum, name))?),
        })
    }

    /// Widens numbers to the type in which they are added up.
    fn widened(self, numbers: &ArrayRef) -> ArrayRef {
        fn wide<T: ArrowPrimitiveType<Native: Into<i128>>>(numbers: &ArrayRef) -> PrimitiveArray<Decimal128Type> {
            numbers.as_primitive::<T>().unary(Into::into)
        }
        let wide = match self {
            Self::Signed => wide::<Int64Type>(numbers),
            Self::Unsigned => wide::<UInt64Type>(numbers),
        };
        Arc::new(wide.with_data_type(SUM_TYPE))
    }
}

/// Narrows a sum to 64 bits, or fails if they do not hold it.
fn narrow<N: TryFrom<i128>>(sum: i128, name: &str) -> Result<N> {
    N::try_from(sum).map_err(|_| {
        let why = format!(
            "{name} is {sum}, which 64 bits do not hold; add up fewer rows, or cast what is added up to decimal(38, 0)"
        );
        DataFusionError::External(Box::new(Overflow(why)))
    })
}

/// Accumulator of one sum: of all rows, of a window frame, or of distinct numbers.
#[derive(Debug)]
struct Whole {
    name: String,
    to: Width,
    sum: i128,
    /// Count of the numbers in the sum; a sum of none is null.
    values: u64,
    /// Distinct numbers in the sum, and how often each was taken in: a window frame may give one of several copies
    /// back. `None` if the sum is not of distinct numbers.
    known: Option<HashMap<i128, u64>>,
}

impl Whole {
    fn take(&mut self, number: i128) {
        if let Some(known) = &mut self.known {
            let times = known.entry(number).or_default();
            *times += 1;
            if *times > 1 {
                return;
            }
        }
        self.sum += number;
        self.values += 1;
    }

    fn give_back(&mut self, number: i128) {
        if let Some(known) = &mut self.known {
            match known.get_mut(&number) {
                Some(times) if *times > 1 => return *times -= 1,
                _ => known.remove(&number),
            };
        }
        self.sum -= number;
        self.values -= 1;
    }

    fn each(&mut self, numbers: &ArrayRef, mut act: impl FnMut(&mut Self, i128)) {
        let wide = self.to.widened(numbers);
        wide.as_primitive::<Decimal128Type>().iter().flatten().for_each(|number| act(self, number));
    }
}

impl Accumulator for Whole {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.each(&values[0], Self::take);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.each(&values[0], Self::give_back);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let Some(known) = &self.known else {
            return Ok(vec![ScalarValue::Decimal128((self.values > 0).then_some(self.sum), 38, 0)]);
        };
        let numbers =
            known.keys().map(|number| self.to.value(Some(*number), &self.name)).collect::<Result<Vec<_>>>()?;
        let data_type = self.to.value(None, &self.name)?.data_type();
        Ok(vec![ScalarValue::List(ScalarValue::new_list(&numbers, &data_type, true))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        if self.known.is_some() {
            for numbers in states[0].as_list::<i32>().iter().flatten() {
                self.each(&numbers, Self::take);
            }
        } else {
            let sums = states[0].as_primitive::<Decimal128Type>();
            sums.iter().flatten().for_each(|sum| self.take(sum));
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.to.value((self.values > 0).then_some(self.sum), &self.name)
    }

    fn size(&self) -> usize {
        let known = self.known.as_ref().map_or(0, HashMap::capacity);
        size_of_val(self) + self.name.capacity() + known * size_of::<(i128, u64)>()
    }
}

/// Accumulator of the sums of groups: DataFusion's own over 128 bits, whose results are narrowed to 64.
struct WholeGroups {
    name: String,
    to: Width,
    sums: Box<dyn GroupsAccumulator>,
}

impl GroupsAccumulator for WholeGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_in_all: usize,
    ) -> Result<()> {
        self.sums.update_batch(&[self.to.widened(&values[0])], groups, filter, groups_in_all)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], groups_in_all: usize) -> Result<()> {
        self.sums.merge_batch(states, groups, groups_in_all)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        self.to.column(self.sums.evaluate(emit)?.as_primitive(), &self.name)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        self.sums.state(emit)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.sums.convert_to_state(&[self.to.widened(&values[0])], filter)
    }

    fn size(&self) -> usize {
        self.sums.size() + self.name.capacity()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::datasource::MemTable;
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;
    use crate::error::QueryError;

    /// Returns a session with a table of two columns, in several partitions: the numbers of two groups. The sum of the
    /// second group is one that 64 bits do not hold.
    fn context() -> SessionContext {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(4));
        context.register_udaf(CheckedSum::function());
        let part = |rows: &[(i64, Option<i64>)]| {
            let columns: [(&str, ArrayRef); 2] = [
                ("g", Arc::new(rows.iter().map(|(group, _)| Some(*group)).collect::<Int64Array>())),
                ("n", Arc::new(rows.iter().map(|(_, number)| *number).collect::<Int64Array>())),
            ];
            RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).expect("rows")
        };
        let parts = [
            part(&[(1, Some(5)), (1, None), (2, Some(i64::MAX))]),
            part(&[(1, Some(-7)), (2, Some(i64::MAX)), (1, Some(5))]),
        ];
        let table = MemTable::try_new(parts[0].schema(), parts.map(|part| vec![part]).into()).expect("a table");
        context.register_table("t", Arc::new(table)).expect("a name");
        context
    }

    async fn answer(sql: &str) -> Result<String, QueryError> {
        let rows = context().sql(sql).await?.collect().await?;
        let table = pretty_format_batches(&rows)?.to_string();
        let cells = table.lines().filter(|line| line.starts_with('|')).skip(1);
        Ok(cells
            .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned())
            .collect::<Vec<_>>()
            .join("; "))
    }

    #[tokio::test]
    async fn a_sum_that_fits_is_that_of_datafusion() {
        for (sql, expected) in [
            ("select sum(n) from t where g = 1", "3"),
            ("select g, sum(n) from t where g = 1 group by g", "1 3"),
            ("select sum(distinct n) from t where g = 1", "-2"),
            ("select sum(n) filter (where n > 0) from t where g = 1", "10"),
            ("select sum(n) from t where g = 3", ""),
            ("select sum(n) is null from t where n is null", "true"),
            ("select sum(arrow_cast(n, 'UInt64')) from t where g = 1 and n > 0", "10"),
            ("select sum(cast(n as double)) from t where g = 1", "3.0"),
            ("select sum(cast(n as decimal(38, 0))) from t where g = 2", "18446744073709551614"),
            ("select sum(n + 1) from t where g = 1", "6"),
            ("select arrow_typeof(sum(n)) from t where g = 1", "Int64"),
            // An intermediate sum may exceed 64 bits.
            ("select sum(n) from (select n from t where g = 2 union all select -n from t where g = 2) u", "0"),
            ("select sum(n) over (order by n) from t where g = 1 and n > 0 order by 1", "10; 10"),
            (
                "select sum(n) over (order by n rows between 1 preceding and current row) from t where g = 1 \
                 and n is not null order by n",
                "-7; -2; 10",
            ),
            (
                "select sum(distinct n) over (order by n rows between 1 preceding and current row) from t where g = 1 \
                 and n is not null order by n",
                "-7; -2; 5",
            ),
        ] {
            assert_eq!(answer(sql).await.map_err(|error| error.to_string()).as_deref(), Ok(expected), "{sql}");
        }
    }

    #[tokio::test]
    async fn a_sum_that_64_bits_do_not_hold_is_an_error_that_names_it() {
        for sql in [
            "select sum(n) from t",
            "select g, sum(n) from t group by g",
            "select g, count(distinct n), sum(n) from t group by g",
            "select sum(n) over (partition by g) from t",
            "select sum(n) over (order by g rows between 1 preceding and current row) from t where g = 2",
            "select sum(arrow_cast(n, 'UInt64')) + sum(arrow_cast(n, 'UInt64')) from (select n from t where g = 2 \
             union all select n from t where g = 2) u",
            "select sum(distinct n) from (select n from t where g = 2 union all select n - 1 from t where g = 2) u",
            "select sum(distinct n) over (order by n rows between 1 preceding and current row) from \
             (select n from t where g = 2 union all select n - 1 from t where g = 2) u",
            "select sum(n + 0) from t",
        ] {
            let error = answer(sql).await.expect_err(sql);
            assert!(matches!(error, QueryError::Overflow(_)), "{sql}: {error:?}");
            let said = error.to_string();
            assert!(said.contains("sum") && said.contains("64 bits do not hold"), "{sql}: {said}");
        }
    }
}
