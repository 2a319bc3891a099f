//! The routes over HTTP, and their description in `/openapi.json`.

use std::sync::Arc;

use axum::extract::{RawQuery, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderValue, Version};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use query::totals::Question;
use tokio::time::Instant;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa::{IntoResponses, OpenApi as _};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answers::{self, AnswerBody, AnswerMeta};
use super::form::{AnswerKey, Form};
use super::keys::Who;
use super::live;
use super::origins::{Origins, let_ask};
use super::parameters::{FilterAsked, GroupsAsked, NameAsked, NamesAsked, SeriesAsked, SpanAsked, TopAsked};
use super::places::ConnectionPermit;
use super::problem::{Problem, Telling};
use super::request::{RequestParameters, rows_max};
use super::served::{Served, now};

/// Title in the description.
const TITLE: &str = "clicklake";

/// Name of the security scheme by which a request shows a key.
const KEY: &str = "key";

/// Media type of pictures.
const SVG: &str = "image/svg+xml";

/// Name in metrics for every path that is no route.
const ELSEWHERE: &str = "elsewhere";

type Served_ = State<Arc<Served>>;

/// Responses without an answer, for the description.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it is what the document says; problems make their responses themselves")]
enum Problems {
    /// The request is wrong: `detail` says what to change.
    #[response(status = 400, content_type = "application/problem+json")]
    Bad(Problem),
    /// The key is missing, or not one of this server.
    #[response(status = 401, content_type = "application/problem+json")]
    UnknownKey(Problem),
    /// The key does not see this campaign.
    #[response(status = 403, content_type = "application/problem+json")]
    NotSeen(Problem),
    /// The answer is the one whose `ETag` the client sent with `If-None-Match`.
    #[response(status = 304)]
    Unchanged,
    /// The key has too many questions without an answer, or too many answers that it has not read: ask again later.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(Problem),
    /// The address is too long to be read.
    #[response(status = 414)]
    LongAddress,
    /// The address and the headers together are too long to be read.
    #[response(status = 431)]
    LongHead,
    /// The server cannot answer now: `Retry-After` says when to ask again.
    #[response(status = 503, content_type = "application/problem+json")]
    Busy(Problem),
}

/// Makes the router of all routes. Pages of these origins may ask. Metrics are served here, or on an address of their
/// own.
pub(super) fn router(served: &Arc<Served>, origins: Origins, has_metrics: bool) -> Router {
    let (asked, document) = OpenApiRouter::with_openapi(document())
        .routes(routes!(total))
        .routes(routes!(series))
        .routes(routes!(top))
        .split_for_parts();
    let document: Arc<str> = document.to_json().expect("a document is JSON").into();
    let asked = asked
        .route("/plot.svg", get(plot))
        .layer(from_fn_with_state(Arc::clone(served), with_key))
        .with_state(Arc::clone(served));
    let open = Router::new()
        .route(
            "/openapi.json",
            get(move || async move { ([(CONTENT_TYPE, "application/json")], document.to_string()) }),
        )
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(Arc::clone(served));
    let metrics = if has_metrics { metrics(served) } else { Router::new() };
    let all = asked.merge(open).merge(metrics).merge(live::router());
    all.method_not_allowed_fallback(|| async { Problem::no_method() })
        .fallback(|| async { Problem::no_page() })
        .layer(from_fn_with_state(origins, let_ask))
        .layer(from_fn_with_state(Arc::clone(served), at_home))
        .layer(from_fn(of_one_host))
        .layer(from_fn_with_state(Arc::clone(served), measured))
}

fn document() -> OpenApi {
    #[derive(utoipa::OpenApi)]
    struct Document;
    let about = "Counts of ad clicks, exact at any moment. Each answer says which clicks it counts.";
    let info = InfoBuilder::new().title(TITLE).version(env!("CARGO_PKG_VERSION")).description(Some(about)).build();
    let mut document = Document::openapi();
    let components = document.components.get_or_insert_default();
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A key of this server")).build();
    components.add_security_scheme(KEY, SecurityScheme::Http(scheme));
    OpenApiBuilder::from(document).info(info).build()
}

/// Counts of ads, of campaigns, of groups, or of everything
///
/// With `ad` or `campaign`, the answer has one row for each name, even if it has no clicks; with `group_by`, one for
/// each group that has counts, in the order of its values; without these, one row of everything that is asked for. As
/// CSV it has the headers `clicklake-version`, `clicklake-final` and `clicklake-complete-until`.
#[utoipa::path(get, path = "/v1/total", params(NamesAsked, FilterAsked, GroupsAsked, SpanAsked),
               security(("key" = [])),
               responses((status = 200, description = "The total",
                          content((AnswerBody = "application/json"), (String = "text/csv"))), Problems))]
async fn total(
    State(served): Served_,
    Extension(who): Extension<Who>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (question, of_each) = RequestParameters::of(query.as_deref().unwrap_or_default(), now())?.total(&who.access)?;
    let wanted = wanted(&served, &question, format!("total of each {of_each:?}"), &headers);
    if let Some(had) = had(&served, &wanted) {
        return Ok(had);
    }
    let asking = served.totals.answer_within(&question, rows_max(&question));
    let (answer, asked) = served.answer(&who, question.as_of, asking).await?;
    let (mut rows, mut columns) = (answers::rows(&answer, &question)?, answers::columns(&question));
    if let Some(dimension) = of_each {
        (rows, columns) = (answers::of_each(dimension, rows, &question), vec![dimension.column()]);
    }
    served.send(&who, asked, wanted.answer(rows, &columns, AnswerMeta::answer(&answer.at, &question))).await
}

/// Counts by minute, hour or day
///
/// The answer has a row for each window, or with `group_by` for each group in it, in the order of time; what has no
/// counts has no row. Windows are of UTC. As CSV it has the headers `clicklake-version`, `clicklake-final` and
/// `clicklake-complete-until`.
#[utoipa::path(get, path = "/v1/series",
               params(NameAsked, FilterAsked, GroupsAsked, SpanAsked, SeriesAsked), security(("key" = [])),
               responses((status = 200, description = "The series",
                          content((AnswerBody = "application/json"), (String = "text/csv"))), Problems))]
async fn series(
    State(served): Served_,
    Extension(who): Extension<Who>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let question = RequestParameters::of(query.as_deref().unwrap_or_default(), now())?.series(&who.access)?;
    let wanted = wanted(&served, &question, "series".to_owned(), &headers);
    if let Some(had) = had(&served, &wanted) {
        return Ok(had);
    }
    let asking = served.totals.answer_within(&question, rows_max(&question));
    let (answer, asked) = served.answer(&who, question.as_of, asking).await?;
    let (rows, columns) = (answers::rows(&answer, &question)?, answers::columns(&question));
    served.send(&who, asked, wanted.answer(rows, &columns, AnswerMeta::answer(&answer.at, &question))).await
}

/// Ads, campaigns, or other groups, with most clicks
///
/// The answer has the largest first, of everything that is asked for. Those without clicks have no row. As CSV it has
/// the headers `clicklake-version`, `clicklake-final` and `clicklake-complete-until`.
#[utoipa::path(get, path = "/v1/top", params(NameAsked, FilterAsked, SpanAsked, TopAsked), security(("key" = [])),
               responses((status = 200, description = "The largest",
                          content((AnswerBody = "application/json"), (String = "text/csv"))), Problems))]
async fn top(
    State(served): Served_,
    Extension(who): Extension<Who>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (question, page) = RequestParameters::of(query.as_deref().unwrap_or_default(), now())?.top(&who.access)?;
    let wanted = wanted(&served, &question, format!("top {page:?}"), &headers);
    if let Some(had) = had(&served, &wanted) {
        return Ok(had);
    }
    let (answer, asked) = served.answer(&who, question.as_of, served.totals.page(&question, page)).await?;
    let (rows, columns) = (answers::rows(&answer, &question)?, answers::columns(&question));
    served.send(&who, asked, wanted.answer(rows, &columns, AnswerMeta::answer(&answer.at, &question))).await
}

fn wanted<'a>(served: &Served, question: &'a Question, more: String, headers: &'a HeaderMap) -> AnswerKey<'a> {
    let table = served.totals.seen_table().unwrap_or_default();
    AnswerKey { question, table, more, form: Form::of(headers), headers }
}

/// Returns the response "unchanged" if the client has the answer already, and that can be told without computing it.
fn had(served: &Served, wanted: &AnswerKey<'_>) -> Option<Response> {
    wanted.if_had(served.version_of(wanted.question.as_of)?)
}

/// Answers with a series as a picture.
async fn plot(
    State(served): Served_,
    Extension(who): Extension<Who>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (question, by, width) =
        RequestParameters::of(query.as_deref().unwrap_or_default(), now())?.plot(&who.access)?;
    let (answer, asked) = served.answer(&who, question.as_of, served.totals.answer(&question)).await?;
    let drawn = live::draw(&answers::rows(&answer, &question)?, &question, &answer.at, by, width);
    let drawn = drawn.map_err(|error| {
        tracing::error!(%error, "a plot failed");
        Problem::internal()
    })?;
    served.send(&who, asked, ([(CONTENT_TYPE, SVG)], drawn).into_response()).await
}

async fn ready(State(served): Served_) -> Result<&'static str, Problem> {
    // Without a key it is unknown who asks. Where keys are needed, it may be anyone, so little is told.
    let telling = if served.has_keys() { Telling::Little } else { Telling::Everything };
    served.is_ready(telling).map(|()| "ready\n")
}

/// Returns the route of the server's own metrics for Prometheus.
pub(super) fn metrics(served: &Arc<Served>) -> Router {
    let told = |State(served): Served_| async move { served.metrics.told() };
    Router::new().route("/metrics", get(told)).layer(from_fn(of_one_host)).with_state(Arc::clone(served))
}

/// Passes on requests with a valid key, together with the access of that key.
async fn with_key(State(served): Served_, mut request: Request, next: Next) -> Result<Response, Problem> {
    let who = served.who(bearer(request.headers()))?;
    if let Some(place) = request.extensions().get::<Arc<ConnectionPermit>>() {
        // A key that has all the connections it may have is answered all the same, as long as there is room.
        let _ = place.belongs_to(who.key);
    }
    request.extensions_mut().insert(who);
    let mut response = next.run(request).await;
    // An answer for one key must not reach another from a cache. Answers with a tag set this header themselves.
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Returns the key that a request shows.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut shown = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (shown.next(), shown.next()) else { return None };
    let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// Checks the host: a request names the host that it is for, once; before HTTP/1.1 it need not (RFC 9112, 3.2).
async fn of_one_host(request: Request, next: Next) -> Result<Response, Problem> {
    let hosts = request.headers().get_all(HOST).iter().count();
    let may_have_none = request.version() < Version::HTTP_11;
    if hosts == 1 || (hosts == 0 && may_have_none) { Ok(next.run(request).await) } else { Err(Problem::no_host()) }
}

/// Checks the host's name where there are no keys, and everyone on this machine sees everything: a foreign page must
/// not ask through a browser here, under a name of its own that leads to this machine.
async fn at_home(State(served): Served_, request: Request, next: Next) -> Result<Response, Problem> {
    let host = request.headers().get(HOST).map(HeaderValue::to_str);
    let is_home = served.has_keys()
        || match host {
            None => true,
            Some(host) => host.is_ok_and(is_address),
        };
    if is_home { Ok(next.run(request).await) } else { Err(Problem::foreign_name()) }
}

/// Returns whether a host is named by its address, or as this machine.
fn is_address(host: &str) -> bool {
    let Ok(host) = url::Url::parse(&format!("http://{host}")) else { return false };
    match host.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(_) => true,
        None => false,
    }
}

/// Counts an answer, and how long it took.
async fn measured(State(served): Served_, request: Request, next: Next) -> Response {
    let (began, route) = (Instant::now(), route_of(request.uri().path()));
    let response = next.run(request).await;
    served.metrics.answered(route, response.status(), began.elapsed());
    response
}

/// Returns the route of a path, or one name for all others, so that metrics have few labels.
fn route_of(path: &str) -> &'static str {
    const ROUTES: [&str; 8] =
        ["/v1/total", "/v1/series", "/v1/top", "/plot.svg", "/openapi.json", "/healthz", "/readyz", "/"];
    ROUTES.into_iter().find(|route| *route == path).unwrap_or(ELSEWHERE)
}

/// Returns the response of a handler that panicked; the panic itself is in the log.
pub(super) fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Problem::internal().into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_once_and_as_a_bearer() {
        let shown = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(shown(&["Bearer k1"]).as_deref(), Some("k1"));
        assert_eq!(shown(&["bEARER  k1 "]).as_deref(), Some("k1"));
        for none in [&[][..], &["k1"], &["Basic k1"], &["Bearer"], &["Bearer k1", "Bearer k2"]] {
            assert_eq!(shown(none), None, "{none:?}");
        }
    }

    #[test]
    fn names_that_lead_here_are_not_this_machine() {
        for home in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "10.0.0.7"] {
            assert!(is_address(home), "{home}");
        }
        for other in ["evil.example", "evil.example:8080", "localhost.evil.example", "", "127.0.0.1.evil.example"] {
            assert!(!is_address(other), "{other}");
        }
    }
}
