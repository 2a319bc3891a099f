//! Accepts times without seconds, such as `'2026-03-07 12:00'`, as PostgreSQL does. Arrow's parser requires seconds.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Cast, TryCast};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, lit};
use datafusion::optimizer::AnalyzerRule;

/// Length of a time to the minute, such as `2026-03-07 12:00`, without the zone that may follow.
const TO_THE_MINUTE: usize = 16;

/// Analyzer rule that adds the seconds to times without them.
#[derive(Debug)]
pub(crate) struct WholeMinutes;

impl AnalyzerRule for WholeMinutes {
    fn name(&self) -> &'static str {
        "whole_minutes"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let written = plan.transform_up_with_subqueries(|plan| {
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let written = expr.transform_up(|expr| Ok(with_seconds(expr)))?;
                Ok(written.update_data(|expr| name.restore(expr)))
            })
        });
        written.data()
    }
}

/// Adds the seconds to a literal that is cast to a time.
fn with_seconds(mut expr: Expr) -> Transformed<Expr> {
    if let Expr::Cast(Cast { expr: of, field }) | Expr::TryCast(TryCast { expr: of, field }) = &mut expr
        && matches!(field.data_type(), DataType::Timestamp(..))
        && let Expr::Literal(value, _) = of.as_ref()
        && let Some(written) = value.try_as_str().flatten().and_then(to_the_second)
    {
        **of = lit(written);
        return Transformed::yes(expr);
    }
    Transformed::no(expr)
}

/// Adds the seconds to a time that is written to the minute; `None` for any other text.
fn to_the_second(text: &str) -> Option<String> {
    let text = text.trim();
    let (minute, zone) = text.split_at_checked(TO_THE_MINUTE)?;
    let is_minute = minute.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        10 => byte == b' ' || byte == b'T',
        13 => byte == b':',
        _ => byte.is_ascii_digit(),
    });
    let is_zone = zone.is_empty() || zone == "Z" || zone.starts_with(['+', '-', ' ']);
    (is_minute && is_zone).then(|| format!("{minute}:00{zone}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_time_without_seconds_is_given_some() {
        for (text, expected) in [
            ("2026-03-07 12:00", Some("2026-03-07 12:00:00")),
            (" 2026-03-07T12:00Z ", Some("2026-03-07T12:00:00Z")),
            ("2026-03-07 12:00+01:00", Some("2026-03-07 12:00:00+01:00")),
            ("2026-03-07 12:00:30", None),
            ("2026-03-07", None),
            ("2026-03-07 12.00", None),
            ("2026-03-07 12:0é", None),
            ("soon", None),
        ] {
            assert_eq!(to_the_second(text).as_deref(), expected, "{text}");
        }
    }
}
