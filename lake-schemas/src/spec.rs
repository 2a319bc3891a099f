//! The spec of a table of counts: what it counts, as one value, and how a table records it.
//!
//! A table records its spec as canonical JSON in the property [`PROPERTY_SPEC`]. Tables of format 1 have only four
//! properties ([`OWN_PROPERTIES`]), and the spec that these give; later tables have them, too, for other people's
//! programs. Two specs are equal if they mean the same, however they are written.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use crate::code::Code;
use crate::error::{Invalid, Result};
use crate::measure::{MEASURES, Measure};
use crate::minute::{
    Dimension, OWN_PROPERTIES, PROPERTY_ALLOWED_LATENESS_MS, PROPERTY_DEDUP_HORIZON_MS, PROPERTY_DIMENSIONS,
    PROPERTY_OUT_OF_ORDERNESS_MS, Parameters, WINDOW_MS, names_of,
};
use crate::table::{Definition, FORMAT_OF_NEW, PROPERTY_FORMAT, Table};

/// Property that holds the spec, from format 2 on.
pub const PROPERTY_SPEC: &str = "clicklake.spec";

/// Keys of a spec, in their order.
const ALLOWED_LATENESS_MS: &str = "allowed_lateness_ms";
const DEDUP_HORIZON_MS: &str = "dedup_horizon_ms";
const DIMENSIONS: &str = "dimensions";
const MEASURED: &str = "measures";
const OUT_OF_ORDERNESS_MS: &str = "out_of_orderness_ms";
const WINDOWING: &str = "windowing";

/// All keys of a spec. An unknown key may decide what is counted, so a spec that has one is refused.
const KEYS: [&str; 6] = [ALLOWED_LATENESS_MS, DEDUP_HORIZON_MS, DIMENSIONS, MEASURED, OUT_OF_ORDERNESS_MS, WINDOWING];

/// The one key of tumbling windows: their length in milliseconds.
const TUMBLING_MS: &str = "tumbling_ms";

/// How events are put into windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Windowing {
    /// Each window begins where the one before it ends, and is a minute long. Hours and days are sums of these.
    #[default]
    TumblingMinutes,
}

/// Everything that decides what a table of counts counts. Roll-ups have the spec of the minutes that they are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Windows that events are counted in.
    pub windowing: Windowing,
    /// Measures: those of format 1, and the first few of those that were added since.
    pub measures: Vec<Measure>,
    /// Dimensions, and the times that decide verdicts.
    pub parameters: Parameters,
}

impl Default for Spec {
    /// Returns what absent keys stand for. It is part of the format: no later program may change it.
    fn default() -> Self {
        Self {
            windowing: Windowing::default(),
            measures: Measure::ALL[..Measure::OF_FORMAT_1].to_vec(),
            parameters: Parameters::default(),
        }
    }
}

impl Spec {
    /// Returns the spec of this program, with these parameters.
    pub fn of(parameters: Parameters) -> Self {
        Self { windowing: Windowing::default(), measures: Measure::ALL.to_vec(), parameters }
    }

    /// Returns the spec as canonical JSON: whole, on one line, its keys in alphabetical order.
    pub fn to_json(&self) -> String {
        let Self { windowing, measures, parameters } = self;
        let dimensions: Vec<_> = parameters.dimensions.iter().map(|dimension| dimension.column()).collect();
        let measures: Vec<_> = measures.iter().map(|measure| measure.column()).collect();
        let windowing = match windowing {
            Windowing::TumblingMinutes => json!({ TUMBLING_MS: WINDOW_MS }),
        };
        let keys: BTreeMap<&str, Value> = BTreeMap::from([
            (ALLOWED_LATENESS_MS, json!(parameters.allowed_lateness_ms)),
            (DEDUP_HORIZON_MS, json!(parameters.dedup_horizon_ms)),
            (DIMENSIONS, json!(dimensions)),
            (MEASURED, json!(measures)),
            (OUT_OF_ORDERNESS_MS, json!(parameters.out_of_orderness_ms)),
            (WINDOWING, windowing),
        ]);
        let members: Vec<_> = keys.iter().map(|(key, value)| format!("{}:{value}", json!(key))).collect();
        format!("{{{}}}", members.join(","))
    }

    /// Parses the text of the property. A part that this program does not know is refused by its name, because it may
    /// decide the counts.
    pub fn parse(text: &str) -> Result<Self> {
        let keys = object(serde_json::from_str(text).map_err(|error| odd(format!("is no JSON: {error}")))?, "it")?;
        if let Some(unknown) = keys.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(not_known(unknown));
        }
        let default = Self::default();
        let number = |key: &str, default: i64| match keys.get(key) {
            None => Ok(default),
            Some(value) => value.as_i64().ok_or_else(|| odd(format!("has {key} {value}, which is no whole number"))),
        };
        let dimensions = match keys.get(DIMENSIONS) {
            None => default.parameters.dimensions,
            Some(value) => listed(value, DIMENSIONS, |name| name.parse::<Dimension>().ok())?,
        };
        let measures = match keys.get(MEASURED) {
            None => default.measures,
            Some(value) => measures(value)?,
        };
        Ok(Self {
            windowing: keys.get(WINDOWING).map_or(Ok(default.windowing), windowing)?,
            measures,
            parameters: Parameters {
                out_of_orderness_ms: number(OUT_OF_ORDERNESS_MS, default.parameters.out_of_orderness_ms)?,
                allowed_lateness_ms: number(ALLOWED_LATENESS_MS, default.parameters.allowed_lateness_ms)?,
                dedup_horizon_ms: number(DEDUP_HORIZON_MS, default.parameters.dedup_horizon_ms)?,
                dimensions,
            },
        })
    }
}

fn not_known(what: &str) -> Invalid {
    Invalid(Code::NeedUnknown.because(format!("has {what}, which this clicklake does not know; upgrade clicklake")))
}

fn odd(why: String) -> Invalid {
    Invalid(Code::PropertyUnreadable.because(why))
}

fn object(value: Value, what: &str) -> Result<Map<String, Value>> {
    match value {
        Value::Object(members) => Ok(members),
        other => Err(odd(format!("has {other} where {what} must be an object"))),
    }
}

fn windowing(value: &Value) -> Result<Windowing> {
    let members = object(value.clone(), WINDOWING)?;
    if let Some(unknown) = members.keys().find(|key| *key != TUMBLING_MS) {
        return Err(not_known(&format!("{WINDOWING}.{unknown}")));
    }
    match members.get(TUMBLING_MS) {
        None => Ok(Windowing::default()),
        Some(width) if width.as_i64() == Some(WINDOW_MS) => Ok(Windowing::TumblingMinutes),
        Some(width) => Err(not_known(&format!("{WINDOWING}.{TUMBLING_MS} {width}"))),
    }
}

/// Parses a list of names, in which each may occur once.
fn listed<T: PartialEq>(value: &Value, key: &str, of: impl Fn(&str) -> Option<T>) -> Result<Vec<T>> {
    let names = value.as_array().ok_or_else(|| odd(format!("has {key} {value}, which is no list")))?;
    let mut all = Vec::new();
    for name in names {
        let known = name.as_str().and_then(&of).ok_or_else(|| not_known(&format!("{name} in {key}")))?;
        if all.contains(&known) {
            return Err(odd(format!("has {name} twice in {key}")));
        }
        all.push(known);
    }
    Ok(all)
}

/// Parses a list of measures. Columns are only ever added at the end, so the list must be a beginning of all measures.
fn measures(value: &Value) -> Result<Vec<Measure>> {
    let named = |name: &str| Measure::ALL.into_iter().find(|measure| measure.column() == name);
    let measures = listed(value, MEASURED, named)?;
    let are_the_first = (Measure::OF_FORMAT_1..=MEASURES).any(|first| measures == Measure::ALL[..first]);
    if are_the_first { Ok(measures) } else { Err(odd(format!("has {MEASURED} {value}, which leaves some out"))) }
}

impl Parameters {
    /// Returns how a table with these counts is made, in the format of new tables.
    pub fn definition(&self, table: Table) -> Definition {
        let mut properties = table.properties();
        properties.extend(self.properties());
        let (schema, added) = (self.schema(table), table.added_columns());
        Definition { table, schema, added, properties, spec: Some(Spec::of(self.clone()).to_json()) }
    }

    /// Reads the parameters that a table records.
    pub fn recorded(table: Table, properties: &HashMap<String, String>) -> Result<Self> {
        let recorded = match properties.get(PROPERTY_SPEC) {
            Some(spec) => of_spec(table, spec, properties)?,
            None => of_properties(table, properties)?,
        };
        // Another program may have set them. Times are added up later, and must not wrap around.
        if recorded.has_bounds() {
            return Ok(recorded);
        }
        let said_by = if properties.contains_key(PROPERTY_SPEC) {
            format!(
                "in its property {PROPERTY_SPEC}, {OUT_OF_ORDERNESS_MS}, {ALLOWED_LATENESS_MS} and {DEDUP_HORIZON_MS}"
            )
        } else {
            format!(
                "its properties {PROPERTY_OUT_OF_ORDERNESS_MS}, {PROPERTY_ALLOWED_LATENESS_MS} and \
                 {PROPERTY_DEDUP_HORIZON_MS}"
            )
        };
        Err(Invalid(Code::PropertyUnreadable.because(format!(
            "{table}: {said_by} are below zero, or together more than 49 days; set them as they were"
        ))))
    }

    /// Returns the four properties that record the parameters.
    fn properties(&self) -> [(String, String); OWN_PROPERTIES.len()] {
        [
            (PROPERTY_OUT_OF_ORDERNESS_MS, self.out_of_orderness_ms.to_string()),
            (PROPERTY_ALLOWED_LATENESS_MS, self.allowed_lateness_ms.to_string()),
            (PROPERTY_DEDUP_HORIZON_MS, self.dedup_horizon_ms.to_string()),
            (PROPERTY_DIMENSIONS, names_of(&self.dimensions)),
        ]
        .map(|(key, value)| (key.to_owned(), value))
    }
}

/// Reads the parameters from a spec. The four properties, if they stand beside it, must say the same.
fn of_spec(table: Table, spec: &str, properties: &HashMap<String, String>) -> Result<Parameters> {
    let wrong = |Invalid(refusal)| Invalid(refusal.about(format_args!("{table}: its property {PROPERTY_SPEC} ")));
    let Spec { parameters, .. } = Spec::parse(spec).map_err(wrong)?;
    for (key, value) in parameters.properties() {
        if let Some(other) = properties.get(&key).filter(|other| **other != value) {
            return Err(Invalid(Code::PropertyUnreadable.because(format!(
                "{table}: its property {key} is {other:?}, and its property {PROPERTY_SPEC} says {value:?}; set {key} \
                 as it was"
            ))));
        }
    }
    Ok(parameters)
}

/// Reads the parameters from the four properties: tables of format 1 record nothing else.
fn of_properties(table: Table, properties: &HashMap<String, String>) -> Result<Parameters> {
    let property = |key: &str| {
        let lacking =
            || Invalid(Code::PropertyUnreadable.because(format!("{table}: it records no {key}; use another --lake")));
        properties.get(key).ok_or_else(lacking)
    };
    let number = |key: &str| {
        let value = property(key)?;
        let wrong = |_| {
            Invalid(Code::PropertyUnreadable.because(format!("{table}: its property {key} is {value:?}, not a number")))
        };
        value.parse::<i64>().map_err(wrong)
    };
    let names = property(PROPERTY_DIMENSIONS)?.split(',').filter(|name| !name.is_empty());
    let dimensions: std::result::Result<_, String> = names.map(str::parse).collect();
    Ok(Parameters {
        out_of_orderness_ms: number(PROPERTY_OUT_OF_ORDERNESS_MS)?,
        allowed_lateness_ms: number(PROPERTY_ALLOWED_LATENESS_MS)?,
        dedup_horizon_ms: number(PROPERTY_DEDUP_HORIZON_MS)?,
        dimensions: dimensions.map_err(|why| Invalid(Code::PropertyUnreadable.because(format!("{table}: {why}"))))?,
    })
}

impl Definition {
    /// Returns the version of the format that its properties name.
    pub fn format(&self) -> i64 {
        let said = self.properties.iter().find(|(key, _)| key == PROPERTY_FORMAT);
        said.and_then(|(_, format)| format.parse().ok()).unwrap_or(FORMAT_OF_NEW)
    }

    /// Returns the same definition in another format: from the second on, a table of counts has its spec, too.
    pub fn in_format(mut self, format: i64) -> Self {
        self.properties.retain(|(key, _)| key != PROPERTY_FORMAT && key != PROPERTY_SPEC);
        self.properties.push((PROPERTY_FORMAT.to_owned(), format.to_string()));
        if format >= 2 {
            self.properties.extend(self.spec.clone().map(|spec| (PROPERTY_SPEC.to_owned(), spec)));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: &str = "{\"allowed_lateness_ms\":900000,\"dedup_horizon_ms\":3600000,\"dimensions\":[],\
                           \"measures\":[\"clicks\",\"cost_micros\",\"duplicates\",\"late\",\"filtered\"],\
                           \"out_of_orderness_ms\":5000,\"windowing\":{\"tumbling_ms\":60000}}";

    fn recorded(properties: &[(&str, &str)]) -> Result<Parameters> {
        let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Parameters::recorded(Table::ClicksMinute, &properties.collect())
    }

    #[test]
    fn a_spec_is_written_whole_and_read_as_it_was() {
        assert_eq!(Spec::default().to_json(), DEFAULT);
        let parameters = Parameters {
            out_of_orderness_ms: 1,
            allowed_lateness_ms: 2,
            dedup_horizon_ms: 3,
            dimensions: vec![Dimension::Device, Dimension::Country],
        };
        let spec = Spec::of(parameters);
        assert_eq!(Spec::parse(&spec.to_json()), Ok(spec));
    }

    #[test]
    fn specs_are_compared_by_what_they_mean() {
        for text in ["{}", DEFAULT, " { \"windowing\": {}, \"dimensions\": [] } ", "{\"out_of_orderness_ms\":5000}"] {
            assert_eq!(Spec::parse(text), Ok(Spec::default()), "{text}");
        }
        assert_ne!(Spec::parse("{\"dimensions\":[\"country\"]}"), Ok(Spec::default()));
        assert_ne!(
            Spec::parse("{\"dimensions\":[\"country\",\"device\"]}"),
            Spec::parse("{\"dimensions\":[\"device\",\"country\"]}")
        );
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for (text, words) in [
            ("{\"caps\":[]}", "caps"),
            ("{\"filters\":null}", "filters"),
            ("{\"windowing\":{\"session_ms\":1}}", "windowing.session_ms"),
            ("{\"windowing\":{\"tumbling_ms\":1000}}", "windowing.tumbling_ms 1000"),
            ("{\"windowing\":\"minutes\"}", "windowing must be an object"),
            ("{\"dimensions\":[\"city\"]}", "\"city\" in dimensions"),
            ("{\"dimensions\":[\"country\",\"country\"]}", "twice"),
            ("{\"measures\":[\"clicks\",\"people\"]}", "\"people\" in measures"),
            ("{\"measures\":[\"clicks\"]}", "leaves some out"),
            ("{\"dedup_horizon_ms\":\"1\"}", "dedup_horizon_ms"),
            ("{\"dedup_horizon_ms\":0.5}", "dedup_horizon_ms"),
            ("[]", "object"),
            ("{", "no JSON"),
        ] {
            let Invalid(why) = Spec::parse(text).expect_err(text);
            assert!(why.to_string().contains(words), "{text}: {why}");
            assert_eq!(why.code == Code::NeedUnknown, why.to_string().ends_with("upgrade clicklake"), "{text}: {why}");
            let Invalid(refusal) = recorded(&[(PROPERTY_SPEC, text)]).expect_err(text);
            let expected = format!("clicks_minute: its property clicklake.spec {why}");
            assert_eq!((refusal.code, refusal.why), (why.code, expected));
        }
    }

    #[test]
    fn a_table_without_a_spec_has_the_one_that_its_four_properties_say() {
        let of = |parameters: &Parameters, format| {
            let definition = parameters.definition(Table::ClicksMinute).in_format(format);
            let properties: HashMap<_, _> = definition.properties.into_iter().collect();
            assert_eq!(properties.contains_key(PROPERTY_SPEC), format == 2);
            Parameters::recorded(Table::ClicksMinute, &properties)
        };
        let other = Parameters { dimensions: vec![Dimension::Country], dedup_horizon_ms: 7, ..Parameters::default() };
        for parameters in [Parameters::default(), other] {
            assert_eq!(of(&parameters, 1), Ok(parameters.clone()));
            assert_eq!(of(&parameters, 2), Ok(parameters));
        }
        assert_eq!(recorded(&[(PROPERTY_SPEC, "{}")]), Ok(Parameters::default()));
        let both = [(PROPERTY_SPEC, "{}"), (PROPERTY_ALLOWED_LATENESS_MS, "1")];
        let error = recorded(&both).expect_err("they say different things").to_string();
        assert!(error.contains(PROPERTY_ALLOWED_LATENESS_MS) && error.contains("900000"), "{error}");
    }

    #[test]
    fn recorded_times_that_cannot_be_added_up_are_refused() {
        let recorded = |key: &str, value: i64| {
            let defined = Parameters::default().definition(Table::ClicksMinute).properties;
            let mut properties: HashMap<_, _> = defined.into_iter().collect();
            properties.insert(key.to_owned(), value.to_string());
            Parameters::recorded(Table::ClicksMinute, &properties)
        };
        for key in [PROPERTY_OUT_OF_ORDERNESS_MS, PROPERTY_ALLOWED_LATENESS_MS, PROPERTY_DEDUP_HORIZON_MS] {
            assert!(recorded(key, 0).is_ok() && recorded(key, 1_000).is_ok(), "{key}");
            for value in [-1, crate::minute::SPAN_MS_MAX, i64::MAX, i64::MIN] {
                let error = recorded(key, value).expect_err("it is out of bounds").to_string();
                assert!(error.contains("clicks_minute") && error.contains(key), "{error}");
            }
        }
        let error = self::recorded(&[(PROPERTY_SPEC, "{\"dedup_horizon_ms\":-1}")]).expect_err("out of bounds");
        assert!(error.to_string().contains(DEDUP_HORIZON_MS), "{error}");
    }
}
