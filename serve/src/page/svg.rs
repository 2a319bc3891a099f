//! Adds classes and titles to the drawing of plotters, which writes one element a line, and knows only colours.
//!
//! So each kind of element is drawn in a colour of its own, and gets its class by that colour.

use std::fmt::Write;

use plotters::style::RGBColor;

/// Kinds of elements, each drawn in a colour of medium brightness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    /// A bar that stays as it is, except for late clicks.
    Bar,
    /// A bar that may still grow.
    Open,
    /// A line at a count.
    Grid,
    /// A mark at a time.
    Tick,
    /// A label in text.
    Label,
}

impl Ink {
    const ALL: [Self; 5] = [Self::Bar, Self::Open, Self::Grid, Self::Tick, Self::Label];

    /// Returns the colour that the ink has in a drawing without the page's style sheet.
    pub const fn colour(self) -> RGBColor {
        match self {
            Self::Bar => RGBColor(0x3b, 0x7d, 0xc4),
            Self::Open => RGBColor(0x8f, 0xb3, 0xdd),
            Self::Grid => RGBColor(0x8b, 0x8b, 0x8b),
            Self::Tick => RGBColor(0x8a, 0x8a, 0x8a),
            Self::Label => RGBColor(0x77, 0x77, 0x77),
        }
    }

    /// Returns the class of the element in a page.
    const fn class(self) -> &'static str {
        match self {
            Self::Bar => "bar",
            Self::Open => "bar open",
            Self::Grid => "grid",
            Self::Tick => "tick",
            Self::Label => "label",
        }
    }

    /// Returns the kind of an element, by its colour.
    fn of(element: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ink| {
            let RGBColor(red, green, blue) = ink.colour();
            element.contains(&format!("\"#{red:02X}{green:02X}{blue:02X}\""))
        })
    }
}

/// Returns the picture with a class on each element, a label on the whole, and titles on the bars, in their order. None
/// of the texts may need escaping.
pub(super) fn with_classes(drawn: &str, label: &str, titles: &[String]) -> String {
    let mut titles = titles.iter();
    let mut svg = String::with_capacity(drawn.len() * 2);
    for line in drawn.lines() {
        let written = match (line.split_once(' '), Ink::of(line)) {
            (Some(("<svg", rest)), _) => {
                writeln!(
                    svg,
                    "<svg class=\"plot\" role=\"img\" shape-rendering=\"crispEdges\" aria-label=\"{label}\" {rest}"
                )
            }
            (Some(("<rect", rest)), Some(ink)) => {
                let title = titles.next().map_or("", String::as_str);
                let rest = rest.trim_end_matches("/>");
                writeln!(svg, "<rect class=\"{}\" {rest}><title>{title}</title></rect>", ink.class())
            }
            (Some((tag, rest)), Some(ink)) => writeln!(svg, "{tag} class=\"{}\" {rest}", ink.class()),
            _ => writeln!(svg, "{line}"),
        };
        written.expect("a String takes all that is written to it");
    }
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_get_the_class_of_their_colour_and_bars_their_titles() {
        let drawn =
            "<svg width=\"2\">\n<rect x=\"1\" fill=\"#8FB3DD\"/>\n<text fill=\"#777777\">\n5\n</text>\n</svg>\n";
        let expected = "<svg class=\"plot\" role=\"img\" shape-rendering=\"crispEdges\" aria-label=\"all\" \
            width=\"2\">\n\
            <rect class=\"bar open\" x=\"1\" fill=\"#8FB3DD\"><title>five</title></rect>\n\
            <text class=\"label\" fill=\"#777777\">\n5\n</text>\n</svg>\n";
        assert_eq!(with_classes(drawn, "all", &["five".to_owned()]), expected);
    }
}
