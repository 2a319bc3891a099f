//! The parameters of requests, as `/openapi.json` says them. [`super::request`] takes them one by one.

use lake_schemas::{Field, Width};
use query::totals::{dimensions, short_name};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

/// One ad or one campaign; without either, everything that the key sees.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is what the document says; parameters are taken one by one")]
pub(super) struct NameAsked {
    /// Counts this ad only. Short for `ad_id` with one value. Not together with `campaign`.
    #[param(min_length = 1, max_length = 1024, example = "ad-7")]
    ad: Option<String>,
    /// Counts this campaign only. Short for `campaign_id` with one value. Not together with `ad`.
    #[param(min_length = 1, max_length = 1024, example = "campaign-3")]
    campaign: Option<String>,
}

/// Ads, or campaigns, each given as a parameter of its own, with a row for each; without any, and without `group_by`,
/// one row of everything that the key sees.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is what the document says; parameters are taken one by one")]
pub(super) struct NamesAsked {
    /// Counts this ad. Given several times, up to 1,000, the answer has a row for each, unless `group_by` says what
    /// has. Not together with `campaign`.
    #[param(example = json!(["ad-7"]))]
    ad: Option<Vec<String>>,
    /// Counts this campaign. Given several times, up to 1,000, the answer has a row for each, unless `group_by` says
    /// what has. Not together with `ad`.
    #[param(example = json!(["campaign-3"]))]
    campaign: Option<Vec<String>>,
}

/// Values that dimensions may have: a parameter for each dimension, of those that the lake counts by. It has no values
/// of its own: it is what the document says.
pub(super) enum FilterAsked {}

impl IntoParams for FilterAsked {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        dimensions().map(filter).collect()
    }
}

/// Returns the parameter by which a dimension is filtered.
fn filter(dimension: Field) -> Parameter {
    let column = dimension.column();
    let short = short_name(dimension).map(|short| format!(" Not together with `{short}`.")).unwrap_or_default();
    let about = format!(
        "Counts only clicks whose `{column}` is one of these values: up to 1,000, with commas between them, and double \
         quotes around one with a comma in it, as in CSV. Nothing stands for clicks without one. `/v1/dimensions` says \
         whether the lake counts by it.{short}"
    );
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    let parameter = ParameterBuilder::new().name(column).parameter_in(ParameterIn::Query).required(Required::False);
    parameter.description(Some(about)).schema(Some(text)).build()
}

/// Rows of groups.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is what the document says; parameters are taken one by one")]
pub(super) struct GroupsAsked {
    /// Dimensions by comma, of those that `/v1/dimensions` names: each combination of their values that has counts has
    /// a row, in that order. An answer has up to 10,000 such rows.
    #[param(example = "campaign,ad")]
    group_by: Option<String>,
}

/// Stretch of event time, and version of the lake.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is what the document says; parameters are taken one by one")]
pub(super) struct SpanAsked {
    /// Start, included: a whole minute in RFC 3339 (the `+` of an offset is written `%2B`), or a day, which begins at
    /// midnight UTC. Without it, from the first click on.
    #[param(example = "2026-03-07T12:00:00Z")]
    from: Option<String>,
    /// End, not included, written as `from`. Without it, up to the newest click, and `final` is false unless all
    /// topics are retired.
    #[param(example = "2026-03-08")]
    to: Option<String>,
    /// Length in place of `from` and `to`: as many minutes as this, up to and including the current one.
    #[param(example = "1h")]
    last: Option<String>,
    /// Version to ask: the number of a version of the minute counts, or a time, which means the latest version that is
    /// not after it. A time in the future means the newest version that there is now. Without it, the newest version.
    #[param(example = "412")]
    as_of: Option<String>,
}

/// Windows of a series.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is what the document says; parameters are taken one by one")]
pub(super) struct SeriesAsked {
    /// Length of a window. Minutes and hours need both ends, by `from` and `to` or by `last`, with 10,080 windows at
    /// most between them. By default minutes up to 3 hours, hours up to 7 days, days beyond or where an end is open.
    #[param(schema_with = granularity)]
    granularity: Option<String>,
}

/// Rows of a top.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is what the document says; parameters are taken one by one")]
pub(super) struct TopAsked {
    /// Dimensions that are ranked, by comma: ads by default. `ad` and `campaign` stand for `ad_id` and `campaign_id`.
    #[param(example = "campaign")]
    by: Option<String>,
    /// Another name of `by`. Not together with it.
    #[param(example = "campaign,ad")]
    group_by: Option<String>,
    /// Number of rows; 10 by default, 1,000 at most.
    #[param(minimum = 1, maximum = 1000)]
    n: Option<usize>,
    /// Number of the largest to leave out, for the next page; 0 by default, 100,000 at most. Clicks that come between
    /// two pages move rows from one to the other: give `version` of the first page as `as_of` of the others.
    #[param(minimum = 0, maximum = 100000)]
    offset: Option<usize>,
}

/// The words for the windows of a series.
fn granularity() -> Object {
    let words = Width::OF_WINDOWS.map(Width::word);
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).build()
}
