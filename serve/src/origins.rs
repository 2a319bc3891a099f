//! Origins of pages that may ask from elsewhere: browsers let them if the server names their origin (CORS). Each origin
//! is named in full, and none sends credentials of the browser's own: whoever asks shows a key.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use url::Url;

/// Headers that tell a browser what a page may send.
const ALLOWED: [(&str, &str); 3] = [
    ("access-control-allow-methods", "GET, HEAD"),
    ("access-control-allow-headers", "authorization, accept, if-none-match"),
    // Ten minutes: after an origin is removed, browsers soon ask again.
    ("access-control-max-age", "600"),
];

/// Headers of responses that a page may read.
const EXPOSED: &str = "etag, retry-after, date, clicklake-version, clicklake-final, clicklake-complete-until";

/// Returns the origin that a text is, as browsers write it; `None` if it is none.
pub fn origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let origin = url.origin().ascii_serialization();
    (origin == text).then_some(origin)
}

/// Origins whose pages may ask.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins(Arc<[HeaderValue]>);

impl Origins {
    /// Creates the set of these origins; texts that are no origin are left out.
    pub fn new(origins: &[String]) -> Self {
        let known = origins.iter().filter_map(|text| HeaderValue::try_from(origin(text)?).ok());
        Self(known.collect())
    }

    /// Returns the origin of a request, if it is one of these.
    fn of(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        self.0.contains(origin).then(|| origin.clone())
    }
}

/// Lets pages of known origins ask, and read the response.
pub(super) async fn let_ask(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    if origins.0.is_empty() {
        return next.run(request).await;
    }
    let origin = origins.of(request.headers());
    let is_preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match &origin {
        Some(_) if is_preflight => (StatusCode::NO_CONTENT, ALLOWED).into_response(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    // A cache must not give one origin's response to another.
    headers.append(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for known in ["https://dashboard.example", "http://localhost:3000", "https://[::1]:8443"] {
            assert_eq!(origin(known).as_deref(), Some(known));
        }
        for other in
            ["*", "null", "", "dashboard.example", "https://dashboard.example/", "https://a.example/path", "ftp://a"]
        {
            assert_eq!(origin(other), None, "{other}");
        }
        assert_eq!(origin("https://dashboard.example:443"), None, "browsers leave out the usual port");
    }

    #[test]
    fn only_what_is_named_in_full_is_let_ask() {
        let origins = Origins::new(&["https://a.example".to_owned()]);
        let of = |text: &'static str| {
            let headers = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(text))]);
            origins.of(&headers).is_some()
        };
        assert!(of("https://a.example"));
        for other in ["https://a.example.evil", "http://a.example", "https://b.a.example", "null", ""] {
            assert!(!of(other), "{other}");
        }
    }
}
