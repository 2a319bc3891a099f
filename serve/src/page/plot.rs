//! Draws a series as SVG, with a bar for each window along event time. Pure: the same series gives the same text.
//!
//! The colours are of medium brightness, readable on white and on black, so that the picture can stand alone. Each
//! element also has a class (`bar`, `open`, `grid`, `tick`, `label`), by which a page gives it colours of its own. Each
//! bar has a title with its window and its exact count.

use std::io;
use std::ops::RangeInclusive;

use lake_schemas::{EventTime, Width};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::svg::{self, Ink};
use super::ticks::{self, Tick};

/// Bounds for the width of a picture, in pixels: below them, the labels of an axis have no room; no screen is wider.
pub(crate) const PIXELS_MIN: u32 = 200;
pub(crate) const PIXELS_MAX: u32 = 2_000;

/// Bounds for the height, in pixels, which is a fraction of the width: low enough for a phone, high enough to compare
/// bars.
const HEIGHT: RangeInclusive<u32> = 180..=260;
const WIDTH_PER_HEIGHT: u32 = 3;

/// Size of all text, whatever the width of the picture: plotters writes this size as 12 pixels.
const LABEL_SIZE: f64 = 14.88;

/// Width of a digit of a label, in pixels.
const DIGIT_PIXELS: u32 = 7;

/// Room for a label of the time axis, in pixels.
const TIME_LABEL_PIXELS: u32 = 64;

const TICK_PIXELS: i32 = 4;

/// Width from which bars have a gap between them, in pixels.
const GAPPED_PIXELS: i32 = 3;

/// Series to be drawn: clicks by window.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// Bars in the order of their windows. A window without clicks has none.
    pub bars: Vec<Bar>,
    /// Width of the windows.
    pub window: Width,
    /// Start of the axis: it begins with the window that contains this time.
    pub from: EventTime,
    /// End of the axis: it ends with the last window that starts before this time.
    pub to: EventTime,
    /// Time after which windows may still grow; while it is unknown, all may.
    pub complete_until: Option<EventTime>,
    /// Width of the picture, between `PIXELS_MIN` and `PIXELS_MAX`.
    pub pixels: u32,
}

/// Clicks of one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bar {
    /// Start of the window.
    pub start: EventTime,
    /// Number of clicks.
    pub clicks: i64,
}

/// Error of drawing; drawing into a text never fails.
pub(crate) type PlotError = DrawingAreaErrorKind<io::Error>;

/// Draws a series as SVG.
pub(crate) fn plot(series: &Series) -> Result<String, PlotError> {
    let pixels = series.pixels.clamp(PIXELS_MIN, PIXELS_MAX);
    let height = (pixels / WIDTH_PER_HEIGHT).clamp(*HEIGHT.start(), *HEIGHT.end());
    let mut drawn = String::new();
    let columns = draw(series, SVGBackend::with_string(&mut drawn, (pixels, height)).into_drawing_area())?;
    let titles: Vec<_> = columns.into_iter().map(|column| title(series, column.bar)).collect();
    Ok(svg::with_classes(&drawn, &summary(series), &titles))
}

/// A bar at its place in the picture.
struct Column {
    /// Left edge in pixels.
    x: i32,
    /// Window and count of the bar.
    bar: Bar,
}

/// Draws the axes and then the bars. Returns the bars that were drawn, in their order.
fn draw(series: &Series, area: DrawingArea<SVGBackend, Shift>) -> Result<Vec<Column>, PlotError> {
    let (from_ms, to_ms) = stretch_ms(series);
    let most = series.bars.iter().map(|bar| bar.clicks).max().unwrap_or(0);
    let counts = ticks::of_counts(most);
    let digits = counts.iter().map(|tick| tick.label.len()).max().unwrap_or(1);
    let left = (u32::try_from(digits).unwrap_or(1) + 1) * DIGIT_PIXELS + 8;
    let right = DIGIT_PIXELS * 3;
    let times_max = i64::from(area.dim_in_pixel().0.saturating_sub(left + right) / TIME_LABEL_PIXELS);
    let times = ticks::of_times(from_ms..=to_ms, series.window, times_max);
    let at = |ticks: &[Tick]| ticks.iter().map(|tick| tick.at).collect::<Vec<_>>();
    let top = counts.last().map_or(1, |tick| tick.at);

    let mut chart = ChartBuilder::on(&area)
        .margin_top(10)
        .margin_right(right)
        .set_label_area_size(LabelAreaPosition::Left, left)
        .set_label_area_size(LabelAreaPosition::Bottom, 26)
        .build_cartesian_2d((from_ms..to_ms).with_key_points(at(&times)), (0..top).with_key_points(at(&counts)))?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .axis_style(TRANSPARENT)
        .bold_line_style(Ink::Grid.colour().mix(0.4))
        .label_style(("sans-serif", LABEL_SIZE).into_font().color(&Ink::Label.colour()))
        .set_all_tick_mark_size(TICK_PIXELS)
        .x_label_formatter(&|time| ticks::label(&times, *time))
        .y_label_formatter(&|count| ticks::label(&counts, *count))
        .draw()?;

    let plotting = chart.plotting_area();
    let pixel = |time_ms: i64, count: i64| plotting.map_coordinate(&(time_ms, count));
    for tick in &times {
        let (x, y) = pixel(tick.at, 0);
        area.draw(&PathElement::new([(x, y), (x, y + TICK_PIXELS)], Ink::Tick.colour()))?;
    }

    let wide = bar_pixels(pixel(to_ms, 0).0 - pixel(from_ms, 0).0, series);
    let columns = columns(series, |bar| pixel(bar.start.millis(), 0).0);
    for Column { x, bar, .. } in &columns {
        let ((_, top), (_, zero)) = (pixel(from_ms, bar.clicks), pixel(from_ms, 0));
        let ink = if may_grow(series, *bar) { Ink::Open } else { Ink::Bar };
        area.draw(&Rectangle::new([(*x, top.min(zero - 1)), (x + wide, zero)], ink.colour().filled()))?;
    }
    area.present()?;
    Ok(columns)
}

/// Returns the stretch of whole windows that is asked for, in milliseconds since 1970: at least one window.
fn stretch_ms(series: &Series) -> (i64, i64) {
    let from_ms = series.window.start_ms(series.from.millis());
    let last_ms = series.window.start_ms(series.to.millis() - 1);
    (from_ms, series.window.end_ms(last_ms.max(from_ms)))
}

/// Returns the width of every bar, if all windows together have `pixels` pixels.
fn bar_pixels(pixels: i32, series: &Series) -> i32 {
    let (from_ms, to_ms) = stretch_ms(series);
    let window_ms = series.window.end_ms(from_ms) - from_ms;
    let whole = i32::try_from(i64::from(pixels) * window_ms / (to_ms - from_ms)).unwrap_or(pixels);
    // Rounding down would leave gaps that look like missing windows, so narrow bars overlap by a pixel.
    if whole > GAPPED_PIXELS { whole - 1 } else { whole + 1 }
}

/// Returns the bars that are drawn: of those that begin at the same pixel, the highest.
fn columns(series: &Series, x: impl Fn(Bar) -> i32) -> Vec<Column> {
    let (from_ms, to_ms) = stretch_ms(series);
    let mut columns: Vec<Column> = Vec::new();
    for bar in series.bars.iter().copied() {
        if bar.clicks <= 0 || !(from_ms..to_ms).contains(&bar.start.millis()) {
            continue;
        }
        let column = Column { x: x(bar), bar };
        match columns.last_mut() {
            Some(last) if last.x == column.x && last.bar.clicks < bar.clicks => *last = column,
            Some(last) if last.x == column.x => {}
            _ => columns.push(column),
        }
    }
    columns
}

fn may_grow(series: &Series, bar: Bar) -> bool {
    let end_ms = series.window.end_ms(bar.start.millis());
    series.complete_until.is_none_or(|until| until.millis() < end_ms)
}

fn title(series: &Series, bar: Bar) -> String {
    let window = ticks::window(bar.start.millis(), series.window);
    let growth = if may_grow(series, bar) { ", may still grow" } else { "" };
    format!("{window}: {}{growth}", clicks(bar.clicks))
}

/// Describes the picture in a sentence, for those who do not see it.
fn summary(series: &Series) -> String {
    let name = series.window.word();
    match series.bars.iter().max_by_key(|bar| bar.clicks) {
        Some(most) => format!("clicks by {name}; most in {}", title(series, *most)),
        None => format!("clicks by {name}: none"),
    }
}

fn clicks(count: i64) -> String {
    format!("{} {}", ticks::count(count), if count == 1 { "click" } else { "clicks" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;
    const DAY_MS: i64 = 1_440 * MINUTE_MS;

    /// Start of the series: 2026-03-07T12:00:00Z.
    const NOON_MS: i64 = 1_772_884_800_000;

    fn time(millis: i64) -> EventTime {
        EventTime::from_millis(millis).expect("a time before the year 9999")
    }

    /// Makes a series of minutes from noon on.
    fn minutes(clicks: &[i64]) -> Series {
        let start = |place: usize| time(NOON_MS + i64::try_from(place).expect("few") * MINUTE_MS);
        let bars = clicks.iter().enumerate().map(|(place, clicks)| Bar { start: start(place), clicks: *clicks });
        Series {
            bars: bars.collect(),
            window: Width::Minute,
            from: start(0),
            to: start(clicks.len().max(1)),
            complete_until: Some(start(2)),
            pixels: 600,
        }
    }

    fn bars(svg: &str) -> Vec<&str> {
        svg.lines().filter(|line| line.starts_with("<rect ")).collect()
    }

    #[test]
    fn a_bar_says_its_window_and_its_count() {
        let svg = plot(&minutes(&[1_042, 1, 7])).expect("a picture");
        let bars = bars(&svg);
        let said: Vec<_> = bars.iter().filter_map(|bar| bar.split(['>', '<']).nth(4)).collect();
        assert_eq!(
            said,
            [
                "2026-03-07 12:00–12:01 UTC: 1,042 clicks",
                "2026-03-07 12:01–12:02 UTC: 1 click",
                "2026-03-07 12:02–12:03 UTC: 7 clicks, may still grow",
            ]
        );
        assert!(svg.contains(r#"aria-label="clicks by minute; most in 2026-03-07 12:00–12:01 UTC: 1,042 clicks""#));
    }

    #[test]
    fn a_bar_is_open_until_all_partitions_are_past_it() {
        let mut series = minutes(&[5, 5, 5, 5]);
        let open = |series: &Series| plot(series).expect("a picture").matches(r#"class="bar open""#).count();
        assert_eq!(open(&series), 2);
        series.complete_until = Some(time(NOON_MS + 2 * MINUTE_MS - 1));
        assert_eq!(open(&series), 3);
        series.complete_until = None;
        assert_eq!(open(&series), 4);
    }

    #[test]
    fn a_window_without_clicks_has_no_bar_and_the_smallest_has_one() {
        let svg = plot(&minutes(&[9_000_000_000_000_000, 0, 1])).expect("a picture");
        assert_eq!(bars(&svg).len(), 2);
        assert!(bars(&svg)[1].contains(r#"height="1""#), "{svg}");
        assert_eq!(bars(&plot(&minutes(&[])).expect("a picture")).len(), 0);
    }

    #[test]
    fn every_stretch_and_width_and_count_has_a_picture() {
        for pixels in [0, 200, 360, 1_111, 2_000, u32::MAX] {
            for (window, stretch_ms) in [
                (Width::Minute, MINUTE_MS),
                (Width::Minute, 180 * MINUTE_MS),
                (Width::Hour, 7 * DAY_MS),
                (Width::Day, DAY_MS),
                (Width::Day, 3_653 * DAY_MS),
                (Width::Month, 3_653 * DAY_MS),
            ] {
                for most in [0, 1, 7, i64::MAX] {
                    let to = time(NOON_MS + stretch_ms);
                    let starts = starts_of(window, NOON_MS, to.millis());
                    let bars = starts.map(|start| Bar { start: time(start), clicks: most });
                    let (from, complete_until) = (time(NOON_MS), None);
                    let series = Series { bars: bars.collect(), window, from, to, complete_until, pixels };
                    let svg = plot(&series).expect("a picture");
                    assert!(svg.len() < 1_000_000, "{window:?} {stretch_ms} {pixels}: {} bytes", svg.len());
                    assert!(!svg.contains(r#"width="0""#) && !svg.contains(r#"="-"#), "{svg}");
                }
            }
        }
    }

    fn starts_of(window: Width, from_ms: i64, to_ms: i64) -> impl Iterator<Item = i64> {
        let first = window.start_ms(from_ms);
        std::iter::successors(Some(first), move |start| Some(window.end_ms(*start))).take_while(move |at| *at < to_ms)
    }
}
