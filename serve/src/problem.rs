//! Problems: why a request has no answer, in the form of RFC 9457. One sentence names the thing and says what to do.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use datafusion::error::DataFusionError;
use lake_schemas::{Code, Refusal};
use lake_store::LakeError;
use query::QueryError;
use query::totals::AsOf;
use serde::Serialize;
use utoipa::ToSchema;

/// Content type of a problem.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// Seconds after which to ask again, where that may help.
const RETRY_AFTER_SECONDS: u64 = 1;

/// Message for a key that this server does not have.
const UNKNOWN_KEY: &str = "the key is none of this server, or none any more; ask whoever gave it";

/// Message for clients that must not learn where the lake is, or what is in it.
const SILENT: &str = "the lake does not answer; try again, or ask who keeps it";

/// Message for such clients when a version cannot be read.
const NO_SUCH_VERSION: &str =
    "there is no such version, or it is gone, or the time is before the first; ask as of another";

/// Reason why a request has no answer.
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
    /// Code of the refusal, where the question or the lake is refused: `docs/errors.md` lists them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "CL0020")]
    code: Option<String>,
}

impl Problem {
    /// Returns the sentence that says what is wrong, and what to do about it.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Refuses a request that makes no sense.
    pub fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// Refuses a request for a reason that has a code.
    pub fn refused(Refusal { code, why }: Refusal) -> Self {
        Self::bad(why).of_code(code)
    }

    /// Refuses a request without a key.
    pub fn no_key() -> Self {
        let why = "a key is needed: send Authorization: Bearer KEY, with a key of this server";
        Self::new(StatusCode::UNAUTHORIZED, why)
    }

    /// Refuses a key that this server does not have, or no longer has.
    pub fn unknown_key() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, UNKNOWN_KEY)
    }

    /// Refuses a question while too many of the same key wait for an answer.
    pub fn too_many(most: usize) -> Self {
        let why = format!("{most} questions of this key are not answered yet; wait for some of them, and ask again");
        Self::new(StatusCode::TOO_MANY_REQUESTS, why)
    }

    /// Refuses a question of a key whose client does not read its answers.
    pub fn unread() -> Self {
        let why = "answers to this key are on their way, and take as much as they may; read them, and ask again";
        Self::new(StatusCode::TOO_MANY_REQUESTS, why)
    }

    /// Refuses a campaign that the key may not see; `None` stands for clicks without one.
    pub fn not_seen(campaign: Option<&str>) -> Self {
        let why = match campaign {
            Some(campaign) => {
                format!("this key does not see campaign {}; ask with one that does", campaign.escape_debug())
            }
            None => {
                "a campaign is empty, which asks for clicks without one, and this key does not see these; give its \
                     name, or ask with a key that does"
                    .to_owned()
            }
        };
        Self::new(StatusCode::FORBIDDEN, why).of_code(Code::Hidden)
    }

    /// Refuses a request without a Host header, or with several.
    pub fn no_host() -> Self {
        Self::bad("the header Host is there once in each request; send it once, with the name of this server")
    }

    /// Refuses a host name that may be anyone's (DNS rebinding).
    pub fn foreign_name() -> Self {
        let why = "without keys, this server answers only to its address, or to localhost";
        Self::new(StatusCode::FORBIDDEN, why)
    }

    /// Refuses an address that leads to nothing.
    pub fn no_page() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is nothing at this address; /openapi.json says what there is")
    }

    /// Refuses methods other than GET and HEAD.
    pub fn no_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "this is only read: use GET")
    }

    /// Refuses a request that cannot be answered now.
    pub fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// Reports a bug of ours; the log has more.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "that should not have happened; the log of the server says more")
    }

    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Problem");
        Self { kind: "about:blank", title, status: status.as_u16(), detail: detail.into(), code: None }
    }

    fn of_code(self, code: Code) -> Self {
        Self { code: Some(code.to_string()), ..self }
    }
}

/// Amount of detail that a client is told about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Telling {
    /// Tells everything, to clients that may read everything.
    Everything,
    /// Tells nothing of where the lake is, or what others have in it.
    Little,
}

impl Problem {
    /// Returns why a question as of some moment has no answer. A fault of the newest version is the server's; a fault
    /// of an earlier one is the request's, which asked for it.
    pub(super) fn of(error: QueryError, as_of: AsOf, telling: Telling) -> Self {
        let Refusal { code, why } = match error {
            QueryError::Lake(LakeError::Refused(refusal)) => refusal,
            QueryError::Gone(gone) => gone.into(),
            error => return error.into(),
        };
        if as_of == AsOf::Newest {
            tracing::warn!(%code, why, "the lake cannot be asked");
            return Self::not_ready(&why, Some(code), telling);
        }
        match telling {
            Telling::Everything => Self::bad(why).of_code(code),
            Telling::Little => Self::bad(NO_SUCH_VERSION),
        }
    }

    /// Reports that the lake is not ready, and why.
    pub(super) fn not_ready(why: &str, code: Option<Code>, telling: Telling) -> Self {
        match (telling, code) {
            (Telling::Little, _) => Self::busy(SILENT),
            (Telling::Everything, None) => Self::busy(why),
            (Telling::Everything, Some(code)) => Self::busy(why).of_code(code),
        }
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match error {
            // The question did not name a moment, so the fault is the lake's.
            QueryError::Lake(LakeError::Refused(Refusal { code, why })) => {
                tracing::warn!(%code, why, "the lake cannot be asked");
                Self::busy(SILENT)
            }
            QueryError::Gone(gone) => {
                tracing::warn!(%gone, "the lake cannot be asked");
                Self::busy(SILENT)
            }
            // A shorter range has a sum that fits.
            QueryError::Overflow(overflow) => Self::bad(overflow.to_string()).of_code(Code::SumOverflow),
            QueryError::Unanswerable(refusal) => Self::refused(refusal),
            QueryError::Lake(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the lake does not answer");
                Self::busy(SILENT)
            }
            QueryError::Sql(error) if matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)) => {
                let why = "that takes more memory than there is for it now; ask for less, or try again";
                Self::busy(why).of_code(Code::MemoryLimit)
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
                // RFC 6750, section 3.1: an invalid token is told apart from a missing one.
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
            let refusal = Code::TableMissing.because(why);
            let problem = Problem::of(LakeError::Refused(refusal).into(), as_of, telling);
            (problem.status, problem.detail, problem.code)
        };
        let code = || Some("CL0001".to_owned());
        assert_eq!(problem(AsOf::Newest, Telling::Everything), (503, why.to_owned(), code()));
        assert_eq!(problem(AsOf::Newest, Telling::Little), (503, SILENT.to_owned(), None));
        assert_eq!(problem(AsOf::Version(9), Telling::Everything), (400, why.to_owned(), code()));
        assert_eq!(problem(AsOf::Version(9), Telling::Little), (400, NO_SUCH_VERSION.to_owned(), None));
    }

    #[test]
    fn a_question_that_is_refused_has_a_code_and_any_other_problem_none() {
        let told = |problem: &Problem| serde_json::to_value(problem).expect("a problem is JSON");
        let refusal = Code::DimensionNotCounted.because("this lake does not count by device");
        let refused = told(&QueryError::Unanswerable(refusal).into());
        assert_eq!(refused["code"], "CL0020");
        assert_eq!(refused["status"], 400);
        assert_eq!(told(&Problem::bad("n is a number")).get("code"), None);
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
