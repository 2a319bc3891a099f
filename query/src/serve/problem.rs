//! Why a request has no answer, as RFC 9457 has it: one sentence that names the thing and says what to do.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use datafusion::error::DataFusionError;
use lake_schemas::LakeError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::QueryError;

/// What an answer that is a problem says it is.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// After how many seconds to ask again, where that may help.
const RETRY_AFTER_SECONDS: u64 = 1;

/// Why there is no answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// What kind of problem it is; `about:blank`: the one that its status names.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    kind: &'static str,
    /// What the status means.
    title: &'static str,
    /// The status of HTTP.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong, and what to do about it.
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

    /// Nobody knows who asks.
    pub fn unknown_key() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "a key is needed: send Authorization: Bearer KEY, with a key of this server",
        )
    }

    /// Who asks may not see that.
    pub fn not_seen(campaign: &str) -> Self {
        let campaign = campaign.escape_debug();
        Self::new(StatusCode::FORBIDDEN, format!("this key does not see campaign {campaign}; ask with one that does"))
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

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match error {
            // A version that is gone, a time before the first, other dimensions.
            QueryError::Lake(LakeError::Refused(why)) => Self::bad(why),
            // Less time has a sum that can be told.
            QueryError::Overflow(overflow) => Self::bad(overflow.to_string()),
            QueryError::Lake(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the lake does not answer");
                Self::busy("the lake does not answer; try again")
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
        let mut response = (status, [(CONTENT_TYPE, PROBLEM_JSON)], Json(self)).into_response();
        match status {
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
            }
            _ => {}
        }
        response
    }
}
