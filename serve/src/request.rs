//! Parses the parameters of a request. An unknown parameter is refused, and each may be given once, except names. No
//! I/O, and no clock: the caller gives the time.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use lake_schemas::{EventTime, Field, Invalid, Width, Windowing, Windows, time};
use percent_encoding::percent_decode;
use query::RowAccess;
use query::totals::{AsOf, Bounds, Filter, Page, Question, dimension, dimensions, last, repeated, values, width_for};
use url::form_urlencoded;

use super::page::plot::{PIXELS_MAX, PIXELS_MIN};
use super::problem::Problem;

/// Parameters that name an ad or a campaign.
const AD: &str = "ad";
const CAMPAIGN: &str = "campaign";

/// Parameters that say what has rows of its own.
const GROUP_BY: &str = "group_by";
const BY: &str = "by";

/// Bytes of a name; the log has no ad and no campaign with more.
const NAME_BYTES_MAX: usize = 1_024;

/// Windows of a series between its ends: a week of minutes, more than anyone looks at, but a program may draw them.
pub(super) const WINDOWS_MAX: i64 = 7 * 24 * 60;

/// Rows of an answer with groups: a megabyte or two. For more groups, a top shows the largest, in pages; SQL shows all.
const ROWS_MAX: usize = 10_000;

/// Rows of a top; for more there is SQL.
const TOP_MAX: usize = 1_000;

/// Rows of a top that may be skipped: each page sorts all rows before it.
const OFFSET_MAX: usize = 100_000;

/// Names, or values, of one dimension: about as many as fit into an address that is not cut off on its way.
const NAMES_MAX: usize = 1_000;

/// Parameters of a request, names included: each of them is looked at.
const PARAMETERS_MAX: usize = NAMES_MAX + 100;

/// Prefixes of parameters that browsers, proxies and mails add to addresses, and that ask nothing.
const PASSED_OVER: [&str; 2] = ["_", "utm_"];

/// Rows of a top, by default.
const TOP_USUAL: usize = 10;

/// Width of a plot in pixels, by default.
const PIXELS_USUAL: u32 = 800;

/// Ads or campaigns that the short parameters `ad` or `campaign` name.
struct ShortFilter {
    dimension: Field,
    is_one: bool,
}

/// Parameters of a request that have not been taken yet.
pub struct RequestParameters<'a> {
    left: BTreeMap<Cow<'a, str>, Vec<Cow<'a, str>>>,
    now: DateTime<Utc>,
}

impl<'a> RequestParameters<'a> {
    /// Parses a query, which is asked at the time `now`.
    pub fn of(query: &'a str, now: DateTime<Utc>) -> Result<Self, Problem> {
        let is_text = percent_decode(query.as_bytes()).decode_utf8().is_ok();
        if !is_text {
            return Err(Problem::bad("the parameters are not UTF-8; write each byte of UTF-8 as %XX"));
        }
        let mut left: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (at, (name, value)) in form_urlencoded::parse(query.as_bytes()).enumerate() {
            if at >= PARAMETERS_MAX {
                return Err(Problem::bad(format!(
                    "there are more than {PARAMETERS_MAX} parameters; ask several times"
                )));
            }
            if name.is_empty() {
                return Err(Problem::bad("a parameter has no name; write NAME=VALUE, and & between two of them"));
            }
            if PASSED_OVER.iter().any(|begin| name.starts_with(begin)) {
                continue;
            }
            let is_name = dimension(&name).is_ok();
            let values = left.entry(name).or_default();
            if !values.is_empty() && !is_name {
                let (name, _) = form_urlencoded::parse(query.as_bytes()).nth(at).unwrap_or_default();
                return Err(Problem::bad(format!("{} is given twice; give it once", name.escape_debug())));
            }
            values.push(value);
        }
        Ok(Self { left, now })
    }

    /// Returns the question for a total. If several ads or campaigns are named, also returns the dimension whose names
    /// must each have a row, whether or not they have counts.
    pub fn total(mut self, access: &RowAccess) -> Result<(Question, Option<Field>), Problem> {
        let (named, filter) = self.filter(access)?;
        let (group_by, of_each) = match (self.dimensions(GROUP_BY)?, named) {
            (Some(group_by), _) => (group_by, None),
            (None, Some(ShortFilter { dimension, is_one: false })) => (vec![dimension], Some(dimension)),
            // The sum of one name may be known in advance, so it is asked as one sum.
            (None, named) => (Vec::new(), named.map(|named| named.dimension)),
        };
        let question = Question { group_by, ..self.question(filter, access)? };
        self.end((question, of_each))
    }

    /// Returns the question for a series.
    pub fn series(mut self, access: &RowAccess) -> Result<Question, Problem> {
        let (series, _) = self.take_series(access)?;
        let group_by = self.dimensions(GROUP_BY)?.unwrap_or_default();
        self.end(Question { group_by, ..series })
    }

    /// Returns the question for a plot: a series, the width of its windows, and the width of the drawing in pixels.
    pub fn plot(mut self, access: &RowAccess) -> Result<(Question, Width, u32), Problem> {
        let (question, by) = self.take_series(access)?;
        let width = self.take("width").map_or(Some(PIXELS_USUAL), |text| text.parse().ok());
        let width = width.filter(|width| (PIXELS_MIN..=PIXELS_MAX).contains(width));
        let expected = || format!("width is a number of pixels from {PIXELS_MIN} to {PIXELS_MAX}");
        let width = width.ok_or_else(|| Problem::bad(expected()))?;
        self.end((question, by, width))
    }

    /// Returns the question for a top, with the page of it that is asked for.
    pub fn top(mut self, access: &RowAccess) -> Result<(Question, Page), Problem> {
        let filter = self.of_one(access)?;
        let group_by = match (self.dimensions(BY)?, self.dimensions(GROUP_BY)?) {
            (Some(_), Some(_)) => return Err(Problem::bad("by and group_by are the same here; give one of them")),
            (None, None) => vec![Field::AdId],
            (by, group_by) => by.or(group_by).unwrap_or_default(),
        };
        let most = self.take("n").map_or(Some(TOP_USUAL), |text| text.parse().ok());
        let most = most.filter(|most| (1..=TOP_MAX).contains(most));
        let most = most.ok_or_else(|| Problem::bad(format!("n is a number from 1 to {TOP_MAX}")))?;
        let skip = self.take("offset").map_or(Some(0), |text| text.parse().ok());
        let skip = skip.filter(|skip| *skip <= OFFSET_MAX);
        let skip = skip.ok_or_else(|| Problem::bad(format!("offset is a number from 0 to {OFFSET_MAX}")))?;
        let question = Question { group_by, ..self.question(filter, access)? };
        self.end((question, Page { skip, most }))
    }

    /// Checks a request that takes no parameters.
    pub fn nothing(self) -> Result<(), Problem> {
        self.end(())
    }

    fn take_series(&mut self, access: &RowAccess) -> Result<(Question, Width), Problem> {
        let filter = self.of_one(access)?;
        let question = self.question(filter, access)?;
        let bounds = (question.from, question.to);
        let by = match self.take("granularity").as_deref() {
            None => width_for(bounds),
            Some(word) => Width::of_windows(word).ok_or_else(|| Problem::bad("granularity is minute, hour or day"))?,
        };
        let question = Question { granularity: Some(by), ..question };
        match windows_of(by, bounds) {
            _ if by == Width::Day => Ok((question, by)),
            Some(windows) if windows <= WINDOWS_MAX => Ok((question, by)),
            Some(_) => Err(Problem::bad(format!(
                "that may be more than {WINDOWS_MAX} windows: ask for less time, or a coarser granularity"
            ))),
            None => Err(Problem::bad("by minute and hour, a series needs both ends: give from and to, or last")),
        }
    }

    fn question(&mut self, filter: Vec<Filter>, access: &RowAccess) -> Result<Question, Problem> {
        let ((from, to), as_of) = (self.bounds()?, self.as_of()?);
        Ok(Question { filter, from, to, as_of, access: access.clone(), ..Question::default() })
    }

    /// Takes the filter of a request that may name one ad or one campaign at most by the short parameters.
    fn of_one(&mut self, access: &RowAccess) -> Result<Vec<Filter>, Problem> {
        match self.filter(access)? {
            (Some(ShortFilter { dimension, is_one: false }), _) => {
                let (short, column) = (if dimension == Field::AdId { AD } else { CAMPAIGN }, dimension.column());
                Err(Problem::bad(format!("this takes one {short}; /v1/total takes several, and so does {column}")))
            }
            (_, filter) => Ok(filter),
        }
    }

    /// Takes the filter of a request, and returns it with what the short parameters name.
    fn filter(&mut self, access: &RowAccess) -> Result<(Option<ShortFilter>, Vec<Filter>), Problem> {
        let (ads, campaigns) = (self.names(AD)?, self.names(CAMPAIGN)?);
        let (dimension, names) = match (ads.is_empty(), campaigns.is_empty()) {
            (false, false) => {
                seen_by(access, campaigns.iter().map(|campaign| Some(campaign.as_str())))?;
                return Err(Problem::bad("name one of ad and campaign, not both"));
            }
            (false, true) => (Field::AdId, ads),
            (true, _) => (Field::CampaignId, campaigns),
        };
        let named = (!names.is_empty()).then_some(ShortFilter { dimension, is_one: names.len() == 1 });
        let mut filter: Vec<_> = named.is_some().then(|| Filter::any(dimension, names)).into_iter().collect();
        for dimension in dimensions() {
            let Some(values) = self.values(dimension.column())? else { continue };
            if named.as_ref().is_some_and(|named| named.dimension == dimension) {
                let column = dimension.column();
                let short = if dimension == Field::AdId { AD } else { CAMPAIGN };
                return Err(Problem::bad(format!("{short} and {column} are the same; give one of them")));
            }
            filter.push(Filter { dimension, values });
        }
        for filter in filter.iter().filter(|filter| filter.dimension == Field::CampaignId) {
            seen_by(access, filter.values.iter().map(Option::as_deref))?;
        }
        Ok((named, filter))
    }

    /// Takes all values of a dimension; `None` if none is given.
    fn values(&mut self, what: &str) -> Result<Option<Vec<Option<String>>>, Problem> {
        let Some(given) = self.left.remove(what) else { return Ok(None) };
        let mut all = Vec::new();
        for text in given {
            all.extend(values(&text).map_err(|why| Problem::bad(format!("{what}: {why}")))?);
        }
        if all.len() > NAMES_MAX {
            return Err(Problem::bad(format!("{what} has more than {NAMES_MAX} values; ask several times")));
        }
        if all.iter().flatten().any(|value| value.len() > NAME_BYTES_MAX) {
            return Err(Problem::bad(format!("a value of {what} is longer than {NAME_BYTES_MAX} bytes; none may be")));
        }
        Ok(Some(all))
    }

    /// Takes a list of dimensions, separated by commas; `None` if none is given.
    fn dimensions(&mut self, what: &str) -> Result<Option<Vec<Field>>, Problem> {
        let Some(text) = self.take(what) else { return Ok(None) };
        let all = text.split(',').map(dimension).collect::<Result<Vec<_>, _>>();
        let all = all.map_err(|why| Problem::bad(format!("{what}: {why}")))?;
        match repeated(&all) {
            None => Ok(Some(all)),
            Some(twice) => Err(Problem::bad(format!("{what} names {} twice; name it once", twice.column()))),
        }
    }

    /// Takes all names of a kind, in the order in which they are given; each may be given once.
    fn names(&mut self, what: &str) -> Result<Vec<String>, Problem> {
        let given = self.left.remove(what).unwrap_or_default();
        if given.len() > NAMES_MAX {
            return Err(Problem::bad(format!("{what} is given more than {NAMES_MAX} times; ask several times")));
        }
        let mut known = BTreeSet::new();
        let names = given.into_iter().map(|given| {
            let given = name(what, given)?;
            let is_new = known.insert(given.clone());
            let twice = || Problem::bad(format!("{what} {} is given twice; give it once", given.escape_debug()));
            if is_new { Ok(given) } else { Err(twice()) }
        });
        names.collect()
    }

    fn bounds(&mut self) -> Result<Bounds, Problem> {
        let (from, to) = match (self.take("last"), self.take("from"), self.take("to")) {
            (Some(text), None, None) => {
                let duration = time::duration(&text).filter(|duration| *duration > Duration::ZERO);
                let duration = duration.ok_or_else(|| Problem::bad("last is a duration such as 15m, 1h or 30d"))?;
                last(duration, self.now)
            }
            (None, from, to) => (bound("from", from)?, bound("to", to)?),
            _ => return Err(Problem::bad("last stands for from and to; give it, or these")),
        };
        let windows = Windows::between(from, to).map_err(|Invalid(refusal)| Problem::refused(refusal))?;
        Ok((windows.from(), windows.to()))
    }

    fn as_of(&mut self) -> Result<AsOf, Problem> {
        let Some(text) = self.take("as_of") else { return Ok(AsOf::Newest) };
        if let Ok(version) = text.parse() {
            return Ok(AsOf::Version(version));
        }
        let known = time::written(&text).map(AsOf::Time);
        let expected = || format!("as_of is a version, or a time such as 2026-03-07T12:00:00Z{}", of_plus(&text));
        known.ok_or_else(|| Problem::bad(expected()))
    }

    fn take(&mut self, name: &str) -> Option<Cow<'a, str>> {
        self.left.remove(name)?.pop()
    }

    /// Returns what was asked for, if no parameter is left over.
    fn end<T>(self, asked: T) -> Result<T, Problem> {
        match self.left.keys().next() {
            Some(name) => {
                Err(Problem::bad(format!("{name:?} is no parameter here; /openapi.json says which there are")))
            }
            None => Ok(asked),
        }
    }
}

/// Returns how many rows an answer may have; only the number of groups needs a bound.
pub(super) fn rows_max(question: &Question) -> Option<usize> {
    (!question.group_by.is_empty()).then_some(ROWS_MAX)
}

/// Refuses a campaign that the key must not see; `None` stands for clicks without a campaign.
fn seen_by<'a>(access: &RowAccess, mut campaigns: impl Iterator<Item = Option<&'a str>>) -> Result<(), Problem> {
    match campaigns.find(|campaign| !access.has_row_of(*campaign)) {
        Some(hidden) => Err(Problem::not_seen(hidden)),
        None => Ok(()),
    }
}

fn name(what: &str, name: Cow<'_, str>) -> Result<String, Problem> {
    match name.len() {
        0 => Err(Problem::bad(format!("{what} is empty; give its name"))),
        1..=NAME_BYTES_MAX => Ok(name.into_owned()),
        _ => Err(Problem::bad(format!("{what} is longer than {NAME_BYTES_MAX} bytes; no name is"))),
    }
}

fn bound(what: &str, text: Option<Cow<'_, str>>) -> Result<Option<EventTime>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let time = time::written(&text).and_then(|time| EventTime::from_millis(time.timestamp_millis()));
    let time = time.filter(|time| Windowing::default().begins_at(time.millis()));
    let expected = || {
        let hint = of_plus(&text);
        format!("{what} is a whole minute such as 2026-03-07T12:00:00Z, or a day such as 2026-03-07{hint}")
    };
    time.map(Some).ok_or_else(|| Problem::bad(expected()))
}

/// Returns a hint if the offset of a time has lost its plus sign, because `+` means a blank in the parameters of an
/// address.
fn of_plus(text: &str) -> &'static str {
    let with_plus = text.rsplit_once(' ').map(|(time, offset)| format!("{time}+{offset}"));
    match with_plus.and_then(|text| time::written(&text)) {
        Some(_) => "; write %2B for the + of an offset",
        None => "",
    }
}

/// Returns how many whole windows fit between two bounds; `None` if an end is open.
fn windows_of(by: Width, (from, to): Bounds) -> Option<i64> {
    let (from, to) = from.zip(to)?;
    Some((to.millis() - from.millis()) / by.end_ms(0))
}

#[cfg(test)]
mod tests;
