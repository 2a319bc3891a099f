//! Why a request has no answer, as RFC 9457 has it: one sentence that names the thing and says what to do.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use datafusion::error::DataFusionError;
use lake_store::LakeError;
use query::QueryError;
use query::totals::AsOf;
use serde::Serialize;
use utoipa::ToSchema;

/// What an answer that is a problem says it is.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// After how many seconds to ask again, where that may help.
const RETRY_AFTER_SECONDS: u64 = 1;

/// What is said of a key that is none.
const UNKNOWN_KEY: &str = "the key is none of this server, or none any more; ask whoever gave it";

/// What is said of the lake to those who are not to know where it is, or what is in it.
const SILENT: &str = "the lake does not answer; try again, or ask who keeps it";

/// What is said of a version that cannot be read, to the same.
const NO_SUCH_VERSION: &str =
    "there is no such version, or it is gone, or the time is before the first; ask as of another";

/// Why there is no answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Kind of the problem, as a URI; `about:blank` says that the status tells all.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    kind: &'static str,
    /// Meaning of the status.
    title: &'static str,
    /// Status of HTTP.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// Sentence that says what is wrong, and what to do about it.
    detail: String,
}

impl Problem {
    /// What is wrong, and what to do about it.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What was asked for cannot be.
    pub fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// Nobody knows who asks: they show no key.
    pub fn no_key() -> Self {
        let why = "a key is needed: send Authorization: Bearer KEY, with a key of this server";
        Self::new(StatusCode::UNAUTHORIZED, why)
    }

    /// Nobody knows who asks: what they show is no key, or none any more.
    pub fn unknown_key() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, UNKNOWN_KEY)
    }

    /// Who asks has asked enough for now.
    pub fn too_many(most: usize) -> Self {
        let why = format!("{most} questions of this key are not answered yet; wait for some of them, and ask again");
        Self::new(StatusCode::TOO_MANY_REQUESTS, why)
    }

    /// Who asks does not read what they have asked for.
    pub fn unread() -> Self {
        let why = "answers to this key are on their way, and take as much as they may; read them, and ask again";
        Self::new(StatusCode::TOO_MANY_REQUESTS, why)
    }

    /// Who asks may not see that campaign, or that of clicks without one.
    pub fn not_seen(campaign: Option<&str>) -> Self {
        let campaign = campaign.unwrap_or("null").escape_debug();
        Self::new(StatusCode::FORBIDDEN, format!("this key does not see campaign {campaign}; ask with one that does"))
    }

    /// It does not say which host it is for, or names several.
    pub fn no_host() -> Self {
        Self::bad("the header Host is there once in each request; send it once, with the name of this server")
    }

    /// It is asked under a name that may be anyone's.
    pub fn foreign_name() -> Self {
        let why = "without keys, this server answers only to its address, or to localhost";
        Self::new(StatusCode::FORBIDDEN, why)
    }

    /// There is nothing there.
    pub fn no_page() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is nothing at this address; /openapi.json says what there is")
    }

    /// Only reading is possible.
    pub fn no_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "this is only read: use GET")
    }

    /// Not now.
    pub fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// A bug of ours; the log has more.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "that should not have happened; the log of the server says more")
    }

    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Problem");
        Self { kind: "about:blank", title, status: status.as_u16(), detail: detail.into() }
    }
}

/// Who is told what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Telling {
    /// Somebody who sees everything: all of it.
    Everything,
    /// Others: nothing of where the lake is, or what others have in it.
    Little,
}

impl Problem {
    /// Why a question as of some moment has no answer. What is wrong with the newest version is wrong with the server;
    /// what is wrong with an earlier one, that it is asked for.
    pub(super) fn of(error: QueryError, as_of: AsOf, telling: Telling) -> Self {
        let why = match error {
            QueryError::Lake(LakeError::Refused(why)) => why,
            error => return error.into(),
        };
        let said = |little: &str| if telling == Telling::Everything { why.clone() } else { little.to_owned() };
        if as_of == AsOf::Newest {
            tracing::warn!(why, "the lake cannot be asked");
            Self::busy(said(SILENT))
        } else {
            Self::bad(said(NO_SUCH_VERSION))
        }
    }

    /// That the lake is not ready, and why.
    pub(super) fn not_ready(why: &str, telling: Telling) -> Self {
        Self::busy(if telling == Telling::Everything { why } else { SILENT })
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match error {
            // It was not asked as of any moment: then it is the lake that is not as it should be.
            QueryError::Lake(LakeError::Refused(why)) => {
                tracing::warn!(why, "the lake cannot be asked");
                Self::busy(SILENT)
            }
            // Less time has a sum that can be told.
            QueryError::Overflow(overflow) => Self::bad(overflow.to_string()),
            QueryError::Unanswerable(why) => Self::bad(why),
            QueryError::Lake(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the lake does not answer");
                Self::busy(SILENT)
            }
            QueryError::Sql(error) if matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)) => {
                Self::busy("that takes more memory than there is for it now; ask for less, or try again")
            }
            QueryError::Sql(error) => {
                tracing::error!(%error, "a question failed");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let is_unknown = self.detail == UNKNOWN_KEY;
        let mut response = (status, [(CONTENT_TYPE, PROBLEM_JSON)], Json(self)).into_response();
        match status {
            StatusCode::UNAUTHORIZED => {
                // RFC 6750, 3.1: what was shown is not what is missing.
                let challenge = if is_unknown { "Bearer error=\"invalid_token\"" } else { "Bearer" };
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_servers_is_a_503_and_only_who_sees_everything_is_told_where() {
        let why = "lake s3://bucket/lake has no table clicks_minute yet";
        let problem = |as_of, telling| {
            let problem = Problem::of(LakeError::Refused(why.to_owned()).into(), as_of, telling);
            (problem.status, problem.detail)
        };
        assert_eq!(problem(AsOf::Newest, Telling::Everything), (503, why.to_owned()));
        assert_eq!(problem(AsOf::Newest, Telling::Little), (503, SILENT.to_owned()));
        assert_eq!(problem(AsOf::Version(9), Telling::Everything), (400, why.to_owned()));
        assert_eq!(problem(AsOf::Version(9), Telling::Little), (400, NO_SUCH_VERSION.to_owned()));
    }

    #[test]
    fn who_is_to_wait_is_told_how_long_and_who_shows_a_wrong_key_that_it_is_wrong() {
        let header = |problem: Problem, name: &str| {
            let response = problem.into_response();
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        assert_eq!(header(Problem::too_many(7), "retry-after").as_deref(), Some("1"));
        assert_eq!(header(Problem::busy("not now"), "retry-after").as_deref(), Some("1"));
        assert_eq!(header(Problem::no_key(), "www-authenticate").as_deref(), Some("Bearer"));
        let challenge = header(Problem::unknown_key(), "www-authenticate");
        assert_eq!(challenge.as_deref(), Some("Bearer error=\"invalid_token\""));
    }
}
