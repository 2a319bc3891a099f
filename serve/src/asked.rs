//! What a request asks for: its parameters, none that is not known, and each once, but for names. No I/O, and no clock:
//! the time is told.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use lake_schemas::minute::WINDOW;
use lake_schemas::{EventTime, Width, Windows, time};
use percent_encoding::percent_decode;
use query::Sees;
use query::totals::{AsOf, Bounds, Detail, Page, Question, Whom, last, width_for};
use serde::Deserialize;
use url::form_urlencoded;
use utoipa::{IntoParams, ToSchema};

use super::page::plot::{PIXELS_MAX, PIXELS_MIN};
use super::problem::Problem;

/// The parameters that name somebody.
const AD: &str = "ad";
const CAMPAIGN: &str = "campaign";

/// Bytes of a name; the log has none that are longer.
const NAME_BYTES_MAX: usize = 1_024;

/// Windows of a series between its ends: a week of minutes, which nobody looks at, but a program may draw.
pub(super) const WINDOWS_MAX: i64 = 7 * 24 * 60;

/// Rows of a top: more is for SQL.
const TOP_MAX: usize = 1_000;

/// Rows of a top that are passed over: each page sorts all that lie before it.
const OFFSET_MAX: usize = 100_000;

/// Names of one request: as many as an address may hold that is not cut off on its way, and some.
const NAMES_MAX: usize = 1_000;

/// Parameters of a request, its names included: each is looked at.
const PARAMETERS_MAX: usize = NAMES_MAX + 100;

/// What the names of parameters begin with that browsers, proxies and mails add to addresses, and that ask nothing.
const PASSED_OVER: [&str; 2] = ["_", "utm_"];

/// How many are on top, if nothing is said of that.
const TOP_USUAL: usize = 10;

/// Pixels that a plot is wide, if nothing is said of that.
const PIXELS_USUAL: u32 = 800;

/// One ad or one campaign; without either, everything that the key sees.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is what the document says; parameters are taken one by one")]
pub(super) struct WhomAsked {
    /// Counts this ad only. Not together with `campaign`.
    #[param(min_length = 1, max_length = 1024, example = "ad-7")]
    ad: Option<String>,
    /// Counts this campaign only. Not together with `ad`.
    #[param(min_length = 1, max_length = 1024, example = "campaign-3")]
    campaign: Option<String>,
}

/// Ads, or campaigns, each given as a parameter of its own, with a row for each; without any, one row of everything
/// that the key sees.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is what the document says; parameters are taken one by one")]
pub(super) struct NamesAsked {
    /// Counts this ad. Given several times, up to 1,000, the answer has a row for each. Not together with `campaign`.
    #[param(example = json!(["ad-7"]))]
    ad: Option<Vec<String>>,
    /// Counts this campaign. Given several times, up to 1,000, the answer has a row for each. Not together with `ad`.
    #[param(example = json!(["campaign-3"]))]
    campaign: Option<Vec<String>>,
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
    /// Version to ask: the number of a version of `clicks_minute`, or a time, which means the latest version that is
    /// not after it. A time in the future means the newest version that there is now. Without it, the newest version.
    #[param(example = "412")]
    as_of: Option<String>,
}

/// Length of the windows of a series, in UTC.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Granularity {
    /// Windows of a minute: 10,080 at most.
    Minute,
    /// Windows of an hour: 10,080 at most.
    Hour,
    /// Windows of a day, for any stretch of time.
    Day,
}

/// Windows of a series.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is what the document says; parameters are taken one by one")]
pub(super) struct SeriesAsked {
    /// Length of a window. Minutes and hours need both ends, by `from` and `to` or by `last`, with 10,080 windows at
    /// most between them. By default minutes up to 3 hours, hours up to 7 days, days beyond or where an end is open.
    #[param(inline)]
    granularity: Option<Granularity>,
}

/// What has a row of its own in a top.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum TopBy {
    /// Ads.
    Ad,
    /// Campaigns.
    Campaign,
}

/// Rows of a top.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is what the document says; parameters are taken one by one")]
pub(super) struct TopAsked {
    /// Kind of name that is ranked: ads by default, or campaigns.
    #[param(inline)]
    by: Option<TopBy>,
    /// Number of rows; 10 by default, 1,000 at most.
    #[param(minimum = 1, maximum = 1000)]
    n: Option<usize>,
    /// Number of the largest to leave out, for the next page; 0 by default, 100,000 at most. Clicks that come between
    /// two pages move rows from one to the other: give `version` of the first page as `as_of` of the others.
    #[param(minimum = 0, maximum = 100000)]
    offset: Option<usize>,
}

/// The parameters of a request that have not been taken yet.
pub struct Asked<'a> {
    left: BTreeMap<Cow<'a, str>, Vec<Cow<'a, str>>>,
    now: DateTime<Utc>,
}

impl<'a> Asked<'a> {
    /// Of a query, now.
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
            let is_name = [AD, CAMPAIGN].contains(&name.as_ref());
            let values = left.entry(name).or_default();
            if !values.is_empty() && !is_name {
                let (name, _) = form_urlencoded::parse(query.as_bytes()).nth(at).unwrap_or_default();
                return Err(Problem::bad(format!("{} is given twice; give it once", name.escape_debug())));
            }
            values.push(value);
        }
        Ok(Self { left, now })
    }

    /// A total, or one for each of several names.
    pub fn total(mut self, sees: &Sees) -> Result<Question, Problem> {
        let whom = self.whom(sees)?;
        let detail = match &whom {
            Whom::Ads(_) => Detail::Ads,
            Whom::Campaigns(_) => Detail::Campaigns,
            Whom::All | Whom::Ad(_) | Whom::Campaign(_) => Detail::Sums,
        };
        let question = self.question(whom, detail, sees)?;
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

    /// Who is on top, of all or of an ad or a campaign, and which of them.
    pub fn top(mut self, sees: &Sees) -> Result<(Question, Page), Problem> {
        let whom = self.one(sees)?;
        let detail = match self.take("by").as_deref() {
            None | Some("ad") => Detail::Ads,
            Some("campaign") => Detail::Campaigns,
            Some(_) => return Err(Problem::bad("by is ad or campaign")),
        };
        let most = self.take("n").map_or(Some(TOP_USUAL), |text| text.parse().ok());
        let most = most.filter(|most| (1..=TOP_MAX).contains(most));
        let most = most.ok_or_else(|| Problem::bad(format!("n is a number from 1 to {TOP_MAX}")))?;
        let skip = self.take("offset").map_or(Some(0), |text| text.parse().ok());
        let skip = skip.filter(|skip| *skip <= OFFSET_MAX);
        let skip = skip.ok_or_else(|| Problem::bad(format!("offset is a number from 0 to {OFFSET_MAX}")))?;
        let question = self.question(whom, detail, sees)?;
        self.end((question, Page { skip, most }))
    }

    fn take_series(&mut self, sees: &Sees) -> Result<(Question, Width), Problem> {
        let whom = self.one(sees)?;
        let question = self.question(whom, Detail::Sums, sees)?;
        let bounds = (question.from, question.to);
        let by = match self.take("granularity").as_deref() {
            None => width_for(bounds),
            Some(word) => Width::of_windows(word).ok_or_else(|| Problem::bad("granularity is minute, hour or day"))?,
        };
        match windows_of(by, bounds) {
            _ if by == Width::Day => Ok((question, by)),
            Some(windows) if windows <= WINDOWS_MAX => Ok((question, by)),
            Some(_) => Err(Problem::bad(format!(
                "that may be more than {WINDOWS_MAX} windows: ask for less time, or a coarser granularity"
            ))),
            None => Err(Problem::bad("by minute and hour, a series needs both ends: give from and to, or last")),
        }
    }

    fn question(&mut self, whom: Whom, detail: Detail, sees: &Sees) -> Result<Question, Problem> {
        let ((from, to), as_of) = (self.bounds()?, self.as_of()?);
        Ok(Question { whom, from, to, as_of, detail, sees: sees.clone() })
    }

    /// Whose clicks, of nobody or somebody, but not of several.
    fn one(&mut self, sees: &Sees) -> Result<Whom, Problem> {
        let one = |name: &str| Problem::bad(format!("this takes one {name}; /v1/total takes several"));
        match self.whom(sees)? {
            Whom::Ads(_) => Err(one(AD)),
            Whom::Campaigns(_) => Err(one(CAMPAIGN)),
            one => Ok(one),
        }
    }

    /// Whose clicks.
    fn whom(&mut self, sees: &Sees) -> Result<Whom, Problem> {
        let (mut ads, mut campaigns) = (self.names(AD)?, self.names(CAMPAIGN)?);
        if let Some(hidden) = campaigns.iter().find(|campaign| !sees.has(campaign)) {
            return Err(Problem::not_seen(hidden));
        }
        match (ads.len(), campaigns.len()) {
            (0, 0) => Ok(Whom::All),
            (1, 0) => Ok(Whom::Ad(ads.remove(0))),
            (0, 1) => Ok(Whom::Campaign(campaigns.remove(0))),
            (_, 0) => Ok(Whom::Ads(ads)),
            (0, _) => Ok(Whom::Campaigns(campaigns)),
            _ => Err(Problem::bad("name one of ad and campaign, not both")),
        }
    }

    /// All names of a kind, in the order in which they are given, each once.
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
        let windows = Windows::between(from, to).map_err(|error| Problem::bad(error.to_string()))?;
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

    /// What was asked for, if there is nothing else.
    fn end<T>(self, asked: T) -> Result<T, Problem> {
        match self.left.keys().next() {
            Some(name) => {
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
    let time = time.filter(|time| WINDOW.begins_at(time.millis()));
    let expected = || {
        let hint = of_plus(&text);
        format!("{what} is a whole minute such as 2026-03-07T12:00:00Z, or a day such as 2026-03-07{hint}")
    };
    time.map(Some).ok_or_else(|| Problem::bad(expected()))
}

/// What to do about a time whose offset has lost its plus sign, which is a blank in the parameters of an address.
fn of_plus(text: &str) -> &'static str {
    let with_plus = text.rsplit_once(' ').map(|(time, offset)| format!("{time}+{offset}"));
    match with_plus.and_then(|text| time::written(&text)) {
        Some(_) => "; write %2B for the + of an offset",
        None => "",
    }
}

/// How many windows fit between two bounds, beside those that the bounds cut; `None` if an end is open.
fn windows_of(by: Width, (from, to): Bounds) -> Option<i64> {
    let (from, to) = from.zip(to)?;
    Some((to.millis() - from.millis()) / by.end_ms(0))
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
        let (question, page) = asked("by=campaign&n=3").top(&Sees::All).expect("a question");
        assert_eq!((question.detail, page), (Detail::Campaigns, Page { skip: 0, most: 3 }));
        let (question, page) = asked("campaign=c&offset=20").top(&Sees::All).expect("a question");
        assert_eq!((question.whom, page), (Whom::Campaign("c".to_owned()), Page { skip: 20, most: TOP_USUAL }));
        let of = |query| asked(query).total(&Sees::All).map(|question| (question.whom, question.detail)).expect(query);
        assert_eq!(of(""), (Whom::All, Detail::Sums));
        let names = |names: [&str; 2]| names.map(str::to_owned).to_vec();
        assert_eq!(of("ad=b&ad=a"), (Whom::Ads(names(["b", "a"])), Detail::Ads));
        assert_eq!(of("campaign=x&campaign=y"), (Whom::Campaigns(names(["x", "y"])), Detail::Campaigns));
        assert_eq!(of("ad=a&_=1699&utm_source=mail&_t=x"), (Whom::Ad("a".to_owned()), Detail::Sums));
    }

    #[test]
    fn what_cannot_be_asked_is_said() {
        let cases = [
            ("ad=a&campaign=b", "name one of"),
            ("ad=", "ad is empty"),
            ("ad=a&last=1h&to=2026-03-08", "last stands for from and to"),
            ("ad=a&last=0s", "last is a duration"),
            ("ad=a&from=2026-03-07T12:00:01Z", "from is a whole minute"),
            ("ad=a&to=yesterday", "to is a whole minute"),
            ("ad=a&from=2026-03-08&to=2026-03-07", "exchange the two"),
            ("ad=a&from=2026-03-08&to=2026-03-08", "the end is not included"),
            ("ad=a&from=2026-03-07T12:00:00+01:00", "write %2B"),
            ("ad=a&as_of=2026-03-07T12:00:00+01:00", "write %2B"),
            ("ad=a&as_of=-1", "as_of is a version"),
            ("ad=a&to=2026-03-07T06:00:60Z", "to is a whole minute"),
            ("ad=a&from=2026-03-07T06:00:59.5Z", "from is a whole minute"),
            ("ad=a&as_of=2026-06-30T23:59:60Z", "as_of is a version, or a time"),
            ("&&&=&=", "a parameter has no name"),
            ("ad=a&=b", "a parameter has no name"),
            ("ad=a&Ad=b", "\"Ad\" is no parameter"),
            ("ad=a&n=3", "\"n\" is no parameter"),
            ("ad=a&ad=b&ad=a", "ad a is given twice"),
            ("ad=a&last=1h&last=1h", "last is given twice"),
        ];
        for (query, expected) in cases {
            let now = DateTime::UNIX_EPOCH;
            let problem = Asked::of(query, now).and_then(|asked| asked.total(&Sees::All)).expect_err(query);
            assert!(said(problem.clone()).contains(expected), "{query}: {problem:?}");
        }
        let many = |count: usize| (0..count).map(|at| format!("ad={at}&")).collect::<String>();
        assert!(asked(&many(NAMES_MAX)).total(&Sees::All).is_ok());
        assert!(
            said(asked(&many(NAMES_MAX + 1)).total(&Sees::All).expect_err("many")).contains("more than 1000 times")
        );
        let too_many = Asked::of(&many(2 * PARAMETERS_MAX), DateTime::UNIX_EPOCH).err().expect("too many");
        assert!(said(too_many).contains("parameters"));
        let long = format!("ad={}", "x".repeat(NAME_BYTES_MAX + 1));
        assert!(said(asked(&long).total(&Sees::All).expect_err("long")).contains("longer than 1024 bytes"));
        let now = DateTime::UNIX_EPOCH;
        assert!(said(Asked::of("ad=%ff", now).err().expect("no text")).contains("not UTF-8"));
        assert!(said(asked("ad=a&ad=b").series(&Sees::All).expect_err("two")).contains("takes one ad;"));
        assert!(said(Asked::of("ad=a&to=1&to=2", now).err().expect("twice")).contains("to is given twice"));
        assert!(asked("ad=a&granularity=minute&last=7d").series(&Sees::All).is_ok(), "a week of minutes");
        for query in ["ad=a&granularity=minute&last=8d", "ad=a&granularity=hour&last=800d"] {
            assert!(
                said(asked(query).series(&Sees::All).expect_err(query)).contains("more than 10080 windows"),
                "{query}"
            );
        }
        for query in ["granularity=minute", "granularity=hour&from=2026-03-07", "granularity=hour&to=2026-03-07"] {
            assert!(
                said(asked(query).series(&Sees::All).expect_err(query)).contains("from and to, or last"),
                "{query}"
            );
        }
        assert!(asked("granularity=day&from=2026-03-07").series(&Sees::All).is_ok());
        for query in ["ad=a&granularity=month", "ad=a&last=1h&granularity="] {
            assert!(said(asked(query).series(&Sees::All).expect_err(query)).contains("granularity is"), "{query}");
        }
        for query in ["n=0", "n=1001", "n=x", "by=country", "ad=a&ad=b", "offset=-1", "offset=100001"] {
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
            let query = format!("campaign=spring&campaign={other}");
            asked(&query).total(&sees).expect_err("one of them is not its own");
            asked(&format!("campaign={other}")).top(&sees).expect_err("nor is there a top of it");
        }
        assert_eq!(asked("ad=a").total(&sees).expect("of what it sees").sees, sees);
    }
}
