//! Pages that may ask from elsewhere: browsers let them if the server names their origin (CORS). Each is named in full,
//! and none with a password of its own: whoever asks shows a key.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use url::Url;

/// What a page may send, and read, beside what all may.
const ALLOWED: [(&str, &str); 3] = [
    ("access-control-allow-methods", "GET, HEAD"),
    ("access-control-allow-headers", "authorization, accept, if-none-match"),
    // Ten minutes: an origin that is taken out is soon asked for again.
    ("access-control-max-age", "600"),
];

/// Headers of answers that a page may read.
const EXPOSED: &str = "etag, retry-after, date, clicklake-version, clicklake-final, clicklake-complete-until";

/// The origin that a text is, as browsers write it; `None` if it is none.
pub fn origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let origin = url.origin().ascii_serialization();
    (origin == text).then_some(origin)
}

/// The origins whose pages may ask.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins(Arc<[HeaderValue]>);

impl Origins {
    /// These; what is no origin is none of them.
    pub fn new(origins: &[String]) -> Self {
        let known = origins.iter().filter_map(|text| HeaderValue::try_from(origin(text)?).ok());
        Self(known.collect())
    }

    /// The origin of a request, if it is one of them.
    fn of(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        self.0.contains(origin).then(|| origin.clone())
    }
}

/// Lets pages of known origins ask, and read what is answered.
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
    // What one origin is let read, a cache must not give another.
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
