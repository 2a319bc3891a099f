//! What a request asks for: its parameters, each at most once, none that is not known. No I/O, and no clock: the time
//! is told.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use lake_schemas::minute::WINDOW_MS;
use lake_schemas::{EventTime, Width, Windows, time};
use percent_encoding::percent_decode;
use serde::Deserialize;
use url::form_urlencoded;
use utoipa::{IntoParams, ToSchema};

use super::page::plot::{PIXELS_MAX, PIXELS_MIN};
use super::problem::Problem;
use crate::sees::Sees;
use crate::totals::{AsOf, Bounds, Detail, Question, Whom, last, width_for};

/// Bytes of a name; the log has none that are longer.
const NAME_BYTES_MAX: usize = 1_024;

/// Windows of a series: a week of minutes, which nobody looks at, but a program may draw.
pub(super) const WINDOWS_MAX: i64 = 7 * 24 * 60;

/// Rows of a top: more is for SQL.
const TOP_MAX: usize = 1_000;

/// How many are on top, if nothing is said of that.
const TOP_USUAL: usize = 10;

/// Pixels that a plot is wide, if nothing is said of that.
const PIXELS_USUAL: u32 = 800;

/// Whose clicks: one of the two.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is what the document says; parameters are taken one by one")]
pub(super) struct WhomAsked {
    /// Those of an ad.
    #[param(min_length = 1, max_length = 1024, example = "ad-7")]
    ad: Option<String>,
    /// Those of a campaign.
    #[param(min_length = 1, max_length = 1024, example = "campaign-3")]
    campaign: Option<String>,
}

/// Of when, and as of when.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is what the document says; parameters are taken one by one")]
pub(super) struct SpanAsked {
    /// From this time on: RFC 3339, a whole minute, or a day, which begins at midnight UTC.
    #[param(example = "2026-03-07T12:00:00Z")]
    from: Option<String>,
    /// Before this time, likewise.
    #[param(example = "2026-03-08")]
    to: Option<String>,
    /// Instead of both: the minutes up to now, the one that is not over included.
    #[param(example = "1h")]
    last: Option<String>,
    /// As it was then: a time, or a version of `clicks_minute`.
    #[param(example = "412")]
    as_of: Option<String>,
}

/// How long the windows of a series are.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Granularity {
    /// Up to a week.
    Minute,
    /// Up to a year.
    Hour,
    /// As long as there is history.
    Day,
}

/// In which windows.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is what the document says; parameters are taken one by one")]
pub(super) struct SeriesAsked {
    /// The windows that are summed up; minutes up to 3 hours, hours up to 7 days, then days, if nothing is said.
    #[param(inline)]
    granularity: Option<Granularity>,
}

/// Who is compared.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum TopBy {
    /// Ads.
    Ad,
    /// Campaigns.
    Campaign,
}

/// Who is on top.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is what the document says; parameters are taken one by one")]
pub(super) struct TopAsked {
    /// Who is compared; ads, if nothing is said.
    #[param(inline)]
    by: Option<TopBy>,
    /// How many; 10, if nothing is said.
    #[param(minimum = 1, maximum = 1000)]
    n: Option<usize>,
}

/// The parameters of a request that have not been taken yet.
pub struct Asked<'a> {
    left: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    now: DateTime<Utc>,
}

impl<'a> Asked<'a> {
    /// Of a query, now.
    pub fn of(query: &'a str, now: DateTime<Utc>) -> Result<Self, Problem> {
        let is_text = percent_decode(query.as_bytes()).decode_utf8().is_ok();
        if !is_text {
            return Err(Problem::bad("the parameters are not UTF-8; write each byte of UTF-8 as %XX"));
        }
        let left: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        for (at, (name, _)) in left.iter().enumerate() {
            if left[..at].iter().any(|(other, _)| other == name) {
                return Err(Problem::bad(format!("{} is given twice; give it once", name.escape_debug())));
            }
        }
        Ok(Self { left, now })
    }

    /// A total.
    pub fn total(mut self, sees: &Sees) -> Result<Question, Problem> {
        let question = self.question(sees)?;
        self.end(question)
    }

    /// A series, and the width of its windows.
    pub fn series(mut self, sees: &Sees) -> Result<(Question, Width), Problem> {
        let series = self.take_series(sees)?;
        self.end(series)
    }

    /// A series, the width of its windows, and that of its drawing.
    pub fn plot(mut self, sees: &Sees) -> Result<(Question, Width, u32), Problem> {
        let (question, by) = self.take_series(sees)?;
        let width = self.take("width").map_or(Some(PIXELS_USUAL), |text| text.parse().ok());
        let width = width.filter(|width| (PIXELS_MIN..=PIXELS_MAX).contains(width));
        let expected = || format!("width is a number of pixels from {PIXELS_MIN} to {PIXELS_MAX}");
        let width = width.ok_or_else(|| Problem::bad(expected()))?;
        self.end((question, by, width))
    }

    /// Who is on top, and how many of them.
    pub fn top(mut self, sees: &Sees) -> Result<(Question, usize), Problem> {
        let ((from, to), as_of) = (self.bounds()?, self.as_of()?);
        let detail = match self.take("by").as_deref() {
            None | Some("ad") => Detail::Ads,
            Some("campaign") => Detail::Campaigns,
            Some(_) => return Err(Problem::bad("by is ad or campaign")),
        };
        let most = self.take("n").map_or(Some(TOP_USUAL), |text| text.parse().ok());
        let most = most.filter(|most| (1..=TOP_MAX).contains(most));
        let most = most.ok_or_else(|| Problem::bad(format!("n is a number from 1 to {TOP_MAX}")))?;
        self.end((Question { whom: Whom::All, from, to, as_of, detail, sees: sees.clone() }, most))
    }

    fn take_series(&mut self, sees: &Sees) -> Result<(Question, Width), Problem> {
        let question = self.question(sees)?;
        let bounds = (question.from, question.to);
        let by = match self.take("granularity").as_deref() {
            None => width_for(bounds),
            Some("minute") => Width::Minute,
            Some("hour") => Width::Hour,
            Some("day") => Width::Day,
            Some(_) => return Err(Problem::bad("granularity is minute, hour or day")),
        };
        if by != Width::Day && windows_of(by, bounds).is_none_or(|windows| windows > WINDOWS_MAX) {
            let why =
                format!("that may be more than {WINDOWS_MAX} windows: ask for less time, or a coarser granularity");
            return Err(Problem::bad(why));
        }
        Ok((question, by))
    }

    fn question(&mut self, sees: &Sees) -> Result<Question, Problem> {
        let whom = match (self.take("ad"), self.take("campaign")) {
            (Some(ad), None) => Whom::Ad(name("ad", ad)?),
            (None, Some(campaign)) => Whom::Campaign(name("campaign", campaign)?),
            _ => return Err(Problem::bad("name one of ad and campaign")),
        };
        if let Whom::Campaign(campaign) = &whom
            && !sees.has(campaign)
        {
            return Err(Problem::not_seen(campaign));
        }
        let ((from, to), as_of) = (self.bounds()?, self.as_of()?);
        Ok(Question { whom, from, to, as_of, detail: Detail::Sums, sees: sees.clone() })
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
        let windows = Windows::between(from, to).map_err(|error| Problem::bad(error.to_string()))?;
        Ok((windows.from(), windows.to()))
    }

    fn as_of(&mut self) -> Result<AsOf, Problem> {
        let Some(text) = self.take("as_of") else { return Ok(AsOf::Newest) };
        if let Ok(version) = text.parse() {
            return Ok(AsOf::Version(version));
        }
        let known = time::written(&text).map(AsOf::Time);
        known.ok_or_else(|| Problem::bad("as_of is a version, or a time such as 2026-03-07T12:00:00Z"))
    }

    fn take(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let at = self.left.iter().position(|(other, _)| other == name)?;
        Some(self.left.swap_remove(at).1)
    }

    /// What was asked for, if there is nothing else.
    fn end<T>(self, asked: T) -> Result<T, Problem> {
        match self.left.first() {
            Some((name, _)) => {
                Err(Problem::bad(format!("{name:?} is no parameter here; /openapi.json says which there are")))
            }
            None => Ok(asked),
        }
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
    let time = time.filter(|time| time.millis().rem_euclid(WINDOW_MS) == 0);
    let expected = || format!("{what} is a whole minute such as 2026-03-07T12:00:00Z, or a day such as 2026-03-07");
    time.map(Some).ok_or_else(|| Problem::bad(expected()))
}

/// How many windows there may be between two bounds; `None` if an end is open.
fn windows_of(by: Width, (from, to): Bounds) -> Option<i64> {
    let (from, to) = from.zip(to)?;
    Some((to.millis() - from.millis()) / by.end_ms(0) + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Asked<'_> {
        let now = "2026-03-07T12:34:56Z".parse().expect("a time");
        Asked::of(query, now).unwrap_or_else(|problem| panic!("{query}: {problem:?}"))
    }

    fn said(problem: Problem) -> String {
        serde_json::to_value(problem).expect("JSON")["detail"].as_str().expect("a sentence").to_owned()
    }

    #[test]
    fn a_question_is_what_its_parameters_say() {
        let question = asked("last=1h&ad=a%26b+c").total(&Sees::All).expect("a question");
        assert_eq!(question.whom, Whom::Ad("a&b c".to_owned()));
        let millis = |time: Option<EventTime>| time.map(EventTime::millis);
        assert_eq!(millis(question.to).zip(millis(question.from)).map(|(to, from)| to - from), Some(3_600_000));
        let (question, by) = asked("campaign=c&from=2026-03-01&as_of=7").series(&Sees::All).expect("a question");
        assert_eq!((question.as_of, by, question.to), (AsOf::Version(7), Width::Day, None));
        let (question, most) = asked("by=campaign&n=3").top(&Sees::All).expect("a question");
        assert_eq!((question.detail, most), (Detail::Campaigns, 3));
    }

    #[test]
    fn what_cannot_be_asked_is_said() {
        let cases = [
            ("", "name one of ad and campaign"),
            ("ad=a&campaign=b", "name one of"),
            ("ad=", "ad is empty"),
            ("ad=a&last=1h&to=2026-03-08", "last stands for from and to"),
            ("ad=a&last=0s", "last is a duration"),
            ("ad=a&from=2026-03-07T12:00:01Z", "from is a whole minute"),
            ("ad=a&to=yesterday", "to is a whole minute"),
            ("ad=a&from=2026-03-08&to=2026-03-07", "exchange the two"),
            ("ad=a&as_of=-1", "as_of is a version"),
            ("ad=a&Ad=b", "\"Ad\" is no parameter"),
            ("ad=a&n=3", "\"n\" is no parameter"),
        ];
        for (query, expected) in cases {
            let problem = asked(query).total(&Sees::All).expect_err(query);
            assert!(said(problem.clone()).contains(expected), "{query}: {problem:?}");
        }
        let long = format!("ad={}", "x".repeat(NAME_BYTES_MAX + 1));
        assert!(said(asked(&long).total(&Sees::All).expect_err("long")).contains("longer than 1024 bytes"));
        let now = DateTime::UNIX_EPOCH;
        assert!(said(Asked::of("ad=%ff", now).err().expect("no text")).contains("not UTF-8"));
        assert!(said(Asked::of("ad=a&ad=b", now).err().expect("twice")).contains("ad is given twice"));
        for query in ["ad=a&granularity=minute", "ad=a&granularity=minute&last=8d", "ad=a&granularity=hour&last=800d"] {
            assert!(said(asked(query).series(&Sees::All).expect_err(query)).contains("windows"), "{query}");
        }
        for query in ["ad=a&granularity=month", "ad=a&last=1h&granularity="] {
            assert!(said(asked(query).series(&Sees::All).expect_err(query)).contains("granularity is"), "{query}");
        }
        for query in ["n=0", "n=1001", "n=x", "by=country", "ad=a"] {
            asked(query).top(&Sees::All).expect_err(query);
        }
    }

    #[test]
    fn a_key_asks_of_its_own_campaigns() {
        let sees = Sees::Campaigns(["spring".to_owned()].into());
        assert_eq!(asked("campaign=spring").total(&sees).expect("its own").sees, sees);
        for other in ["summer", "Spring", "spring%20", "sprin%25", "*", "%EF%BD%93pring", "spring'%20or%20'a'='a"] {
            let problem = asked(&format!("campaign={other}")).total(&sees).expect_err(other);
            assert!(said(problem).contains("does not see campaign"), "{other}");
        }
        assert_eq!(asked("ad=a").total(&sees).expect("of what it sees").sees, sees);
    }
}
