//! The filter of a question: dimensions with the values that they may have, and how people write both.

use datafusion::logical_expr::{Expr, col, lit};
use lake_schemas::Field;
use lake_schemas::field::Role;
use lake_schemas::minute::Parameters;

/// Returns the dimensions that a question may have, if the lake counts by them: the ad, its campaign, and those that a
/// lake may be made to count by beside them.
pub fn dimensions() -> impl Iterator<Item = Field> {
    [Field::AdId, Field::CampaignId].into_iter().chain(Field::of_role(Role::Dimension))
}

/// Returns the short name of a dimension, if it has one beside that of its column.
pub fn short_name(dimension: Field) -> Option<&'static str> {
    match dimension {
        Field::AdId => Some("ad"),
        Field::CampaignId => Some("campaign"),
        _ => None,
    }
}

/// Returns the dimension with this name: the name of its column, or its short name.
pub fn dimension(name: &str) -> Result<Field, String> {
    let found = dimensions().find(|dimension| dimension.column() == name || short_name(*dimension) == Some(name));
    found.ok_or_else(|| format!("{name:?} is no dimension; there are {}", names_of(dimensions())))
}

/// Returns the names of dimensions, separated by commas.
pub(crate) fn names_of(dimensions: impl IntoIterator<Item = Field>) -> String {
    dimensions.into_iter().map(Field::column).collect::<Vec<_>>().join(", ")
}

/// Returns the dimensions that a lake with these parameters counts by, in the order of its columns.
pub fn counted_by(parameters: &Parameters) -> Vec<Field> {
    parameters.dimension_columns().into_iter().filter_map(Field::of_column).collect()
}

/// Returns the first dimension that occurs twice.
pub fn repeated(dimensions: &[Field]) -> Option<Field> {
    let mut all = dimensions.iter().enumerate();
    all.find(|(at, dimension)| dimensions[..*at].contains(dimension)).map(|(_, dimension)| *dimension)
}

/// A condition on rows: a dimension has one of these values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Dimension that is compared.
    pub dimension: Field,
    /// Values that it may have; `None` is null.
    pub values: Vec<Option<String>>,
}

impl Filter {
    /// Makes the condition that a dimension has one value.
    pub fn one(dimension: Field, value: impl Into<String>) -> Self {
        Self::any(dimension, [value])
    }

    /// Makes the condition that a dimension has one of these values.
    pub fn any<V: Into<String>>(dimension: Field, values: impl IntoIterator<Item = V>) -> Self {
        Self { dimension, values: values.into_iter().map(|value| Some(value.into())).collect() }
    }

    /// Returns the condition as an expression of DataFusion.
    pub(crate) fn condition(&self) -> Expr {
        let column = || col(self.dimension.column());
        let named: Vec<_> = self.values.iter().flatten().map(|value| lit(value.as_str())).collect();
        let is_named = match <[Expr; 1]>::try_from(named) {
            Ok([value]) => Some(column().eq(value)),
            Err(none) if none.is_empty() => None,
            Err(several) => Some(column().in_list(several, false)),
        };
        let is_null = self.values.contains(&None).then(|| column().is_null());
        is_named.into_iter().chain(is_null).reduce(Expr::or).unwrap_or_else(|| lit(false))
    }
}

/// Parses values as a line of CSV: separated by commas. A value that contains a comma or a quote stands in quotes, and
/// its quotes are doubled. An empty value is null; two quotes with nothing between them are the empty string.
pub fn values(text: &str) -> Result<Vec<Option<String>>, String> {
    let (mut values, mut rest) = (Vec::new(), text);
    loop {
        let (value, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (value, after) = until_quote(quoted).ok_or("a quote has no end; write \"a,b\"")?;
                (Some(value), after)
            }
            None => {
                let (value, after) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
                (Some(value.to_owned()).filter(|value| !value.is_empty()), after)
            }
        };
        values.push(value);
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Ok(values),
            None => return Err("behind a quote is neither a comma nor the end; write \"a,b\"".to_owned()),
        }
    }
}

/// Splits a text at the quote that ends a value: returns the value before it, and the rest behind it.
fn until_quote(text: &str) -> Option<(String, &str)> {
    let (mut value, mut rest) = (String::new(), text);
    loop {
        let (part, after) = rest.split_once('"')?;
        value.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => rest = more,
            None => return Some((value, after)),
        }
        value.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_in_csv() {
        let read = |text| values(text).expect(text);
        let texts = |texts: &[&str]| texts.iter().map(|text| Some((*text).to_owned())).collect::<Vec<_>>();
        assert_eq!(read("DE"), texts(&["DE"]));
        assert_eq!(read("DE,AT"), texts(&["DE", "AT"]));
        assert_eq!(read("\"a,\"\"b\"\"\",c"), texts(&["a,\"b\"", "c"]));
        assert_eq!(read("inch\""), texts(&["inch\""]), "a quote that does not begin a value is a quote");
        assert_eq!(read("\"\""), texts(&[""]));
        assert_eq!(read(""), vec![None]);
        assert_eq!(read("DE,"), vec![Some("DE".to_owned()), None]);
        for wrong in ["\"a", "\"a\"b", "\"\"\"", "a,\""] {
            assert!(values(wrong).expect_err(wrong).contains("write \"a,b\""), "{wrong}");
        }
    }

    #[test]
    fn a_dimension_goes_by_its_column_and_ads_and_campaigns_for_short() {
        for found in dimensions() {
            assert_eq!(dimension(found.column()), Ok(found));
        }
        assert_eq!((dimension("ad"), dimension("campaign")), (Ok(Field::AdId), Ok(Field::CampaignId)));
        for none in ["ip", "window_start", "Country", ""] {
            let why = dimension(none).expect_err(none);
            assert!(why.ends_with("there are ad_id, campaign_id, publisher_id, country, device"), "{why}");
        }
    }

    #[test]
    fn a_condition_knows_null() {
        let of = |values: &[Option<&str>]| {
            let values = values.iter().map(|value| value.map(str::to_owned)).collect();
            Filter { dimension: Field::Country, values }.condition()
        };
        let country = || col("country");
        assert_eq!(of(&[Some("DE")]), country().eq(lit("DE")));
        assert_eq!(of(&[Some("DE"), Some("AT")]), country().in_list(vec![lit("DE"), lit("AT")], false));
        assert_eq!(of(&[None]), country().is_null());
        assert_eq!(of(&[Some("DE"), None]), country().eq(lit("DE")).or(country().is_null()));
        assert_eq!(of(&[]), lit(false));
    }
}
