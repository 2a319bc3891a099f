//! The form in which an answer goes out: JSON, or CSV if the client prefers it, or nothing but "unchanged" if the
//! client has the answer already.
//!
//! An answer is about one version of the lake, and a version never changes. So table, version, question and form name
//! the answer (its tag), and a client that shows the tag is told that it still holds, which costs much less than the
//! answer.

use axum::Json;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use lake_schemas::Measure;
use lake_schemas::table::Version;
use query::totals::Question;
use sha2::{Digest, Sha256};

use super::answers::{AnswerBody, AnswerMeta, Row};

const CSV: &str = "text/csv; charset=utf-8; header=present";

/// Headers that describe the answer where CSV has no place for that.
const VERSION: &str = "clicklake-version";
const FINAL: &str = "clicklake-final";
const COMPLETE_UNTIL: &str = "clicklake-complete-until";

/// A client that has kept an answer must ask whether it still holds, with the key for which it was given.
const CACHED: &str = "private, no-cache";

/// Bytes of the hash in a tag: nobody finds two questions with the same one.
const TAG_BYTES: usize = 16;

/// Form in which an answer goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Csv,
}

impl Form {
    /// Returns the form that a client prefers; JSON, if it does not say.
    pub fn of(headers: &HeaderMap) -> Self {
        let accepted: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
        let accepted = accepted.join(",");
        if wish(&accepted, "text/csv") > wish(&accepted, "application/json") { Self::Csv } else { Self::Json }
    }
}

/// Returns how much a client wants a type, in thousandths, by the most specific entry that matches (RFC 9110, 12.5.1).
fn wish(accepted: &str, of: &str) -> u32 {
    let family = of.split('/').next().unwrap_or_default();
    let found = accepted.split(',').filter_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next()?.to_ascii_lowercase();
        let exactness = match name.as_str() {
            name if name == of => 2,
            "*/*" => 0,
            name if name.strip_suffix("/*") == Some(family) => 1,
            _ => return None,
        };
        let quality = parts.find_map(|part| part.strip_prefix(['q', 'Q'])?.strip_prefix('='));
        let quality = quality.map_or(Some(1.0), |text| text.parse::<f32>().ok());
        Some((exactness, (quality?.clamp(0.0, 1.0) * 1_000.0) as u32))
    });
    found.max().map_or(0, |(_, quality)| quality)
}

/// Everything that an answer depends on, except the version.
pub(super) struct AnswerKey<'a> {
    /// Question, with the access of whoever asks it.
    pub question: &'a Question,
    /// Id of the table that is asked: a table that is made again counts its versions anew.
    pub table: String,
    /// Route, with everything that only the route knows.
    pub more: String,
    /// Form of the answer.
    pub form: Form,
    /// Headers of the request, in which the client says what it has.
    pub headers: &'a HeaderMap,
}

impl AnswerKey<'_> {
    /// Returns the tag of the answer about a version.
    fn tag(&self, version: Version) -> String {
        let Self { question, table, more, form, .. } = self;
        let named = format!("{} {table} {version} {form:?} {more} {question:?}", env!("CARGO_PKG_VERSION"));
        let hash = Sha256::digest(named.as_bytes());
        let digits: String = hash.iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}")).collect();
        format!("W/\"{digits}\"")
    }

    /// Returns the response "unchanged" if the client shows the tag of the answer about this version.
    pub fn if_had(&self, version: Version) -> Option<Response> {
        let tag = self.tag(version);
        self.shown().any(|shown| is_same(shown, &tag)).then(|| self.unchanged(&tag))
    }

    /// Returns the tags that the client shows.
    fn shown(&self) -> impl Iterator<Item = &str> {
        let shown = self.headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        shown.flat_map(|tags| tags.split(',')).map(str::trim)
    }

    fn unchanged(&self, tag: &str) -> Response {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        self.name(tag, response.headers_mut());
        response
    }

    /// Returns the response with an answer, whose rows are identified by these columns.
    pub fn answer(&self, rows: Vec<Row>, columns: &[&str], of: AnswerMeta) -> Response {
        let (version, is_final, complete_until) = of.said();
        if let Some(had) = self.if_had(version) {
            return had;
        }
        let tag = self.tag(version);
        // `*` stands for any tag: there is an answer, which is certain only now.
        if self.shown().any(|shown| shown == "*") {
            return self.unchanged(&tag);
        }
        let mut response = match self.form {
            Form::Json => Json(AnswerBody { rows, of }).into_response(),
            Form::Csv => {
                let mut headers = HeaderMap::new();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(CSV));
                headers.insert(VERSION, version.into());
                headers.insert(FINAL, HeaderValue::from_static(if is_final { "true" } else { "false" }));
                if let Some(Ok(time)) = complete_until.map(HeaderValue::from_str) {
                    headers.insert(COMPLETE_UNTIL, time);
                }
                (headers, csv(&rows, columns)).into_response()
            }
        };
        self.name(&tag, response.headers_mut());
        response
    }

    fn name(&self, tag: &str, headers: &mut HeaderMap) {
        if let Ok(tag) = HeaderValue::from_str(tag) {
            headers.insert(ETAG, tag);
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(CACHED));
        headers.append(VARY, HeaderValue::from_static("authorization, accept"));
    }
}

/// Returns whether two tags are the same by weak comparison, because compression on the way makes strong tags weak.
fn is_same(one: &str, other: &str) -> bool {
    one.trim_start_matches("W/") == other.trim_start_matches("W/")
}

/// Returns rows as CSV of RFC 4180.
fn csv(rows: &[Row], columns: &[&str]) -> String {
    let names = columns.iter().copied().chain(Measure::ALL.map(Measure::column));
    let mut text = names.collect::<Vec<_>>().join(",") + "\r\n";
    for row in rows {
        for value in row.values() {
            // A missing value is empty without quotes; the empty string has quotes.
            text += &value.map(quoted).unwrap_or_default();
            text.push(',');
        }
        text += &row.counts().numbers().each_ref().map(ToString::to_string).join(",");
        text += "\r\n";
    }
    text
}

fn quoted(text: &str) -> String {
    let is_plain = !text.is_empty() && !text.contains(['"', ',', '\r', '\n']);
    if is_plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lake_schemas::{Field, Width};
    use query::RowAccess;
    use query::totals::Filter;

    use super::*;

    #[test]
    fn only_a_client_that_asks_for_csv_gets_it() {
        let form = |accept: &'static str| Form::of(&HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]));
        for csv in
            ["text/csv", "Text/CSV;q=0.5", "text/csv, application/json;q=0.9", "text/*", "text/csv;header=present"]
        {
            assert_eq!(form(csv), Form::Csv, "{csv}");
        }
        for json in [
            "",
            "*/*",
            "application/json",
            "text/csv;q=0.1, */*",
            "text/csv;q=0",
            "text/csv;Q=0",
            "text/html,*/*;q=0.8",
            "nonsense",
        ] {
            assert_eq!(form(json), Form::Json, "{json}");
        }
        assert_eq!(Form::of(&HeaderMap::new()), Form::Json);
    }

    #[test]
    fn a_tag_is_of_a_version_a_question_a_form_and_a_key() {
        let filter = |value: &str| vec![Filter::one(Field::Country, value)];
        let all = [
            Question::default(),
            Question { filter: filter("DE"), ..Question::default() },
            Question { filter: filter("AT"), ..Question::default() },
            Question { filter: vec![Filter { values: vec![None], ..filter("DE").remove(0) }], ..Question::default() },
            Question { group_by: vec![Field::Country, Field::Device], ..Question::default() },
            Question { group_by: vec![Field::Device, Field::Country], ..Question::default() },
            Question { granularity: Some(Width::Hour), ..Question::default() },
            Question { granularity: Some(Width::Day), ..Question::default() },
        ];
        let (headers, question) = (HeaderMap::new(), Question::default());
        let other = Question { access: RowAccess::Campaigns(["a".to_owned()].into()), ..Question::default() };
        let wanted = |question, form, more: &str| {
            let (table, more) = ("one".to_owned(), more.to_owned());
            AnswerKey { question, table, more, form, headers: &headers }
        };
        let tag = wanted(&question, Form::Json, "").tag(1);
        let again = AnswerKey { table: "made again".to_owned(), ..wanted(&question, Form::Json, "") };
        assert_ne!(tag, again.tag(1), "versions of another table are other versions");
        assert_eq!(tag, wanted(&question, Form::Json, "").tag(1));
        for different in [
            wanted(&question, Form::Json, "").tag(2),
            wanted(&question, Form::Csv, "").tag(1),
            wanted(&question, Form::Json, "top 10").tag(1),
            wanted(&other, Form::Json, "").tag(1),
        ] {
            assert_ne!(tag, different);
        }
        let tags: BTreeSet<_> = all.iter().map(|question| wanted(question, Form::Json, "").tag(1)).collect();
        assert_eq!(tags.len(), all.len(), "the whole question is in it");
    }

    fn wanted<'a>(question: &'a Question, headers: &'a HeaderMap) -> AnswerKey<'a> {
        let (table, more) = (String::new(), String::new());
        AnswerKey { question, table, more, form: Form::Json, headers }
    }

    #[test]
    fn a_client_that_has_the_answer_gets_304() {
        let question = Question::default();
        let has = |shown: &str, version| {
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_str(shown).expect("a header"))]);
            wanted(&question, &headers).if_had(version).map(|response| response.status())
        };
        let tag = wanted(&question, &HeaderMap::new()).tag(7);
        for shown in [tag.as_str(), tag.trim_start_matches("W/"), &format!("\"x\", {tag}")] {
            assert_eq!(has(shown, 7), Some(StatusCode::NOT_MODIFIED), "{shown}");
        }
        assert_eq!((has(&tag, 8), has("\"x\"", 7)), (None, None));
        assert_eq!(has("*", 7), None, "whether there is an answer of that version, is not known");
    }

    #[test]
    fn names_are_quoted_where_they_must_be() {
        assert_eq!(quoted("ad-7 ä"), "ad-7 ä");
        assert_eq!(quoted("a,\"b\"\n"), "\"a,\"\"b\"\"\n\"");
        assert_eq!(quoted(""), "\"\"", "it is a name, which nothing is not");
    }
}
