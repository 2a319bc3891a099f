//! Serves the live page over HTTP: its files, and series as SVG pictures.

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::IntoResponse;
use axum::routing::get;
use lake_schemas::{EventTime, Width};
use query::totals::{Question, StandsAt};
use tower_http::set_header::SetResponseHeaderLayer;

use super::answers::Row;
use super::page::plot::{Bar, PlotError, Series, plot};
use super::page::{self, assets};

/// Serves the files of the page. A browser checks each time whether they have changed.
pub(super) fn router() -> Router {
    let router = assets().into_iter().fold(Router::new(), |router, asset| {
        router.route(
            asset.path,
            get(move || async move { ([(CONTENT_TYPE, asset.content_type)], asset.body).into_response() }),
        )
    });
    let always = |name, value| SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value));
    router
        .layer(always(CONTENT_SECURITY_POLICY, page::CONTENT_SECURITY_POLICY))
        .layer(always(CACHE_CONTROL, "no-cache"))
        .layer(always(REFERRER_POLICY, "no-referrer"))
        .layer(always(X_CONTENT_TYPE_OPTIONS, "nosniff"))
}

/// Draws a series as SVG. Where an end of the range is open, the picture ends with the first or the last window that
/// has counts.
pub(super) fn draw(
    rows: &[Row],
    question: &Question,
    at: &StandsAt,
    window: Width,
    pixels: u32,
) -> Result<String, PlotError> {
    let bars = rows.iter().filter_map(|row| Some(Bar { start: row.start?, clicks: row.clicks }));
    let bars: Vec<_> = bars.collect();
    let epoch = EventTime::from_micros(0);
    let first = bars.first().map_or(epoch, |bar| bar.start);
    let last = bars.last().map_or(first, |bar| bar.start);
    let end = EventTime::from_millis(window.end_ms(last.millis())).unwrap_or(last);
    // A final answer takes no more clicks, even if its watermark stays behind: its topics may be retired.
    let complete_until =
        if at.is_final(question.to) { Some(EventTime::from_micros(i64::MAX)) } else { at.complete_until() };
    plot(&Series {
        bars,
        window,
        from: question.from.unwrap_or(first),
        to: question.to.unwrap_or(end),
        complete_until,
        pixels,
    })
}
