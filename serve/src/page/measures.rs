//! Fills the page's places for measures and for granularities: one for each in the list, when the program starts. An
//! element says in `data-measure` which measure it shows, and in `data-format` how; the script finds elements by that.

use lake_schemas::measure::Amount;
use lake_schemas::{Measure, Verdict, Width};

/// Placeholders in the page for the number of clicks, for each further measure, and for the columns of its tables.
const HEADLINE: &str = "{{headline}}";
const MEASURES: &str = "{{measures}}";
const COLUMNS: &str = "{{columns}}";

/// Placeholder for the granularities that a series may have.
const GRANULARITIES: &str = "{{granularities}}";

/// Text where no number is known yet.
const UNKNOWN: &str = "–";

/// Returns the page with a place for each measure and each granularity.
pub(super) fn filled(page: &str) -> String {
    let headline = Measure::counting(Verdict::Counted);
    let further = Measure::ALL.into_iter().filter(|measure| *measure != headline).map(in_list);
    let columns = Measure::ALL.into_iter().filter(|measure| measure.verdict() == Verdict::Counted).map(as_column);
    let granularities = Width::OF_WINDOWS.map(|width| format!("<option>{}</option>", width.word()));
    let is_its_place = attributes(headline);
    page.replace(HEADLINE, &format!("<strong id=\"clicks\" {is_its_place}>{UNKNOWN}</strong>"))
        .replace(MEASURES, &further.collect::<Vec<_>>().join("\n          "))
        .replace(COLUMNS, &columns.collect::<String>())
        .replace(GRANULARITIES, &granularities.concat())
}

fn in_list(measure: Measure) -> String {
    format!("<div><dt>{}</dt><dd {}>{UNKNOWN}</dd></div>", measure.label(), attributes(measure))
}

fn as_column(measure: Measure) -> String {
    format!("<th scope=\"col\" {}>{}</th>", attributes(measure), measure.label())
}

fn attributes(measure: Measure) -> String {
    let format = match measure.amount() {
        Amount::One => "count",
        Amount::Cost => "cost",
    };
    format!("data-measure=\"{}\" data-format=\"{format}\"", measure.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_place_for_each_measure_and_tables_those_of_clicks() {
        let page = filled("{{headline}}|{{measures}}|{{columns}}|{{granularities}}");
        let places: Vec<_> = page.split('|').collect();
        let [headline, measures, columns, granularities] = places[..] else { panic!("{page}") };
        assert_eq!(headline, "<strong id=\"clicks\" data-measure=\"clicks\" data-format=\"count\">–</strong>");
        let cost = "<div><dt>cost</dt><dd data-measure=\"cost_micros\" data-format=\"cost\">–</dd></div>";
        assert!(measures.starts_with(cost), "{measures}");
        assert_eq!(measures.matches("<dd ").count(), Measure::ALL.len() - 1);
        assert_eq!(granularities, "<option>minute</option><option>hour</option><option>day</option>");
        assert!(columns.ends_with("data-format=\"cost\">cost</th>") && columns.contains(">clicks</th>"), "{columns}");
    }
}
