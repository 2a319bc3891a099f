//! The spec of a table of counts: what it counts, as one value, and how a table records it.
//!
//! A table records its spec as canonical JSON in the property [`PROPERTY_SPEC`]. Tables of format 1 have only four
//! properties ([`OWN_PROPERTIES`]), and the spec that these give; later tables have them, too, for other people's
//! programs. Two specs are equal if they mean the same, however they are written.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use crate::code::Code;
use crate::dimension::Dimension;
use crate::error::{AS_IT_WAS, Invalid, Result};
use crate::history::{cut_of, json_of};
use crate::measure::Measure;
use crate::measured::Measures;
use crate::minute::{
    OWN_PROPERTIES, PROPERTY_ALLOWED_LATENESS_MS, PROPERTY_DEDUP_HORIZON_MS, PROPERTY_DIMENSIONS,
    PROPERTY_OUT_OF_ORDERNESS_MS, Parameters, names_of,
};
use crate::table::{Definition, FORMAT, FORMAT_OF_NEW, PROPERTY_FORMAT, Table};
use crate::windowing::Windowing;

/// Property that holds the spec, from format 2 on.
pub const PROPERTY_SPEC: &str = "clicklake.spec";

/// Keys of a spec, in their order.
const ALLOWED_LATENESS_MS: &str = "allowed_lateness_ms";
const DEDUP_HORIZON_MS: &str = "dedup_horizon_ms";
const DIMENSIONS: &str = "dimensions";
const MEASURED: &str = "measures";
const MEASURED_SINCE: &str = "measures_since";
const OUT_OF_ORDERNESS_MS: &str = "out_of_orderness_ms";
const WINDOWING: &str = "windowing";

/// All keys of a spec. An unknown key may decide what is counted, so a spec that has one is refused.
const KEYS: [&str; 7] =
    [ALLOWED_LATENESS_MS, DEDUP_HORIZON_MS, DIMENSIONS, MEASURED, MEASURED_SINCE, OUT_OF_ORDERNESS_MS, WINDOWING];

/// The one key of tumbling windows: their length in milliseconds.
const TUMBLING_MS: &str = "tumbling_ms";

/// Returns what absent keys stand for. It is part of the format: no later program may change it.
fn absent() -> Parameters {
    Parameters { measures: Measures::of_format_1(), ..Parameters::default() }
}

impl Parameters {
    /// Returns the spec of a table with these parameters as canonical JSON: on one line, its keys in alphabetical
    /// order. It has all keys but the beginnings of measures, which are written only if there are any.
    pub fn to_json(&self) -> String {
        let dimensions: Vec<_> = self.dimensions.iter().map(|dimension| dimension.column()).collect();
        let measures: Vec<_> = self.measures.iter().map(Measure::column).collect();
        let since: Map<_, _> =
            self.measures.begun().map(|(measure, since)| (measure.column().to_owned(), json_of(since))).collect();
        let windowing = match self.windowing {
            Windowing::Tumbling { width_ms } => json!({ TUMBLING_MS: width_ms }),
        };
        let mut keys: BTreeMap<&str, Value> = BTreeMap::from([
            (ALLOWED_LATENESS_MS, json!(self.allowed_lateness_ms)),
            (DEDUP_HORIZON_MS, json!(self.dedup_horizon_ms)),
            (DIMENSIONS, json!(dimensions)),
            (MEASURED, json!(measures)),
            (OUT_OF_ORDERNESS_MS, json!(self.out_of_orderness_ms)),
            (WINDOWING, windowing),
        ]);
        if !since.is_empty() {
            keys.insert(MEASURED_SINCE, Value::Object(since));
        }
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
        let default = absent();
        let number = |key: &str, default: i64| match keys.get(key) {
            None => Ok(default),
            Some(value) => value.as_i64().ok_or_else(|| odd(format!("has {key} {value}, which is no whole number"))),
        };
        let dimensions = match keys.get(DIMENSIONS) {
            None => default.dimensions,
            Some(value) => listed(value, DIMENSIONS, |name| name.parse::<Dimension>().ok())?,
        };
        let mut measures = match keys.get(MEASURED) {
            None => default.measures,
            Some(value) => measures_of(value)?,
        };
        if let Some(value) = keys.get(MEASURED_SINCE) {
            begin(&mut measures, value)?;
        }
        Ok(Self {
            windowing: keys.get(WINDOWING).map_or(Ok(default.windowing), windowing)?,
            measures,
            out_of_orderness_ms: number(OUT_OF_ORDERNESS_MS, default.out_of_orderness_ms)?,
            allowed_lateness_ms: number(ALLOWED_LATENESS_MS, default.allowed_lateness_ms)?,
            dedup_horizon_ms: number(DEDUP_HORIZON_MS, default.dedup_horizon_ms)?,
            dimensions,
        })
    }

    /// Returns how a table with these counts is made: in the format of new tables, unless its measures need a later
    /// one.
    pub fn definition(&self, table: Table) -> Definition {
        let mut properties = table.properties();
        properties.extend(self.properties());
        let (schema, added) = (self.schema(table), self.measures.added());
        let spec = Some(self.recorded_by(table).to_json());
        let definition = Definition { table, schema, added, properties, spec };
        // Programs of format 1 would leave out what was added since.
        if added == 0 { definition } else { definition.in_format(FORMAT) }
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

fn not_known(what: &str) -> Invalid {
    Invalid(Code::NeedUnknown.because(format!("has {what}, which this clicklake does not know; upgrade clicklake")))
}

fn odd(why: String) -> Invalid {
    Invalid(Code::PropertyUnreadable.because(format!("{why}; {AS_IT_WAS}")))
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
        Some(width) if width.as_i64() == Some(Windowing::default().width_ms()) => Ok(Windowing::default()),
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

fn named(name: &str) -> Option<Measure> {
    Measure::ALL.into_iter().find(|measure| measure.column() == name)
}

/// Parses a list of measures.
fn measures_of(value: &Value) -> Result<Measures> {
    let measures = listed(value, MEASURED, named)?;
    Measures::of(&measures).ok_or_else(|| odd(format!("has {MEASURED} {value}, which leaves some out")))
}

/// Parses the beginnings of measures: by measure, the first offset of each partition that counts.
fn begin(measures: &mut Measures, value: &Value) -> Result<()> {
    for (name, since) in object(value.clone(), MEASURED_SINCE)? {
        let since = cut_of(&since).ok_or_else(|| odd(format!("has {since} in {MEASURED_SINCE}, which is no cut")))?;
        if !named(&name).is_some_and(|measure| measures.begin(measure, since)) {
            return Err(odd(format!("has {name} in {MEASURED_SINCE}, and not in {MEASURED}")));
        }
    }
    Ok(())
}

/// Reads the parameters from a spec. The four properties, if they stand beside it, must say the same.
fn of_spec(table: Table, spec: &str, properties: &HashMap<String, String>) -> Result<Parameters> {
    let wrong = |Invalid(refusal)| Invalid(refusal.about(format_args!("{table}: its property {PROPERTY_SPEC} ")));
    let parameters = Parameters::parse(spec).map_err(wrong)?;
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
            let why = format!("{table}: its property {key} is {value:?}, not a number; {AS_IT_WAS}");
            Invalid(Code::PropertyUnreadable.because(why))
        };
        value.parse::<i64>().map_err(wrong)
    };
    let names = property(PROPERTY_DIMENSIONS)?.split(',').filter(|name| !name.is_empty());
    let dimensions: std::result::Result<_, String> = names.map(str::parse).collect();
    let unknown = |why: String| {
        let why = format!("{table}: its property {PROPERTY_DIMENSIONS} cannot be read: {why}; {AS_IT_WAS}");
        Invalid(Code::PropertyUnreadable.because(why))
    };
    Ok(Parameters {
        out_of_orderness_ms: number(PROPERTY_OUT_OF_ORDERNESS_MS)?,
        allowed_lateness_ms: number(PROPERTY_ALLOWED_LATENESS_MS)?,
        dedup_horizon_ms: number(PROPERTY_DEDUP_HORIZON_MS)?,
        dimensions: dimensions.map_err(unknown)?,
        ..absent()
    })
}

impl Definition {
    /// Returns the version of the format that the table's properties name.
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
    use crate::field::Field;
    use crate::position::TopicPartition;

    const DEFAULT: &str = "{\"allowed_lateness_ms\":900000,\"dedup_horizon_ms\":3600000,\"dimensions\":[],\
                           \"measures\":[\"clicks\",\"cost_micros\",\"duplicates\",\"late\",\"filtered\"],\
                           \"out_of_orderness_ms\":5000,\"windowing\":{\"tumbling_ms\":60000}}";

    fn recorded(properties: &[(&str, &str)]) -> Result<Parameters> {
        let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Parameters::recorded(Table::ClicksMinute, &properties.collect())
    }

    #[test]
    fn a_spec_is_written_whole_and_read_as_it_was() {
        assert_eq!(absent().to_json(), DEFAULT);
        let parameters = Parameters {
            out_of_orderness_ms: 1,
            allowed_lateness_ms: 2,
            dedup_horizon_ms: 3,
            dimensions: vec![Dimension::of(Field::Device), Dimension::of(Field::Country)],
            ..Parameters::default()
        };
        assert_eq!(Parameters::parse(&parameters.to_json()), Ok(parameters));
    }

    #[test]
    fn specs_are_compared_by_what_they_mean() {
        for text in ["{}", DEFAULT, " { \"windowing\": {}, \"dimensions\": [] } ", "{\"out_of_orderness_ms\":5000}"] {
            assert_eq!(Parameters::parse(text), Ok(absent()), "{text}");
        }
        assert_ne!(Parameters::parse("{\"dimensions\":[\"country\"]}"), Ok(absent()));
        assert_ne!(
            Parameters::parse("{\"dimensions\":[\"country\",\"device\"]}"),
            Parameters::parse("{\"dimensions\":[\"device\",\"country\"]}")
        );
    }

    #[test]
    fn where_a_measure_begins_is_recorded_only_if_it_is_not_the_start() {
        let partition = |number| TopicPartition::new("clicks", number);
        let mut parameters = absent();
        assert!(parameters.measures.begin(Measure::ALL[3], [(partition(0), 5), (partition(12), 7)].into()));
        let json = parameters.to_json();
        assert!(json.contains("\"measures_since\":{\"late\":{\"clicks\":{\"0\":5,\"12\":7}}}"), "{json}");
        assert_eq!(Parameters::parse(&json), Ok(parameters.clone()));
        // Roll-ups are sums of minutes, from wherever these count.
        let spec = |table| parameters.definition(table).spec;
        assert_eq!(spec(Table::ClicksMinute), Some(json));
        assert_eq!(spec(Table::ClicksHourly).as_deref(), Some(DEFAULT));
        assert_eq!(parameters.recorded_by(Table::ClicksDaily), absent());
        assert_eq!(Parameters::parse("{\"measures_since\":{\"late\":{}}}"), Ok(absent()));
    }

    /// Programs of format 1 would write rows that lack what was added.
    #[test]
    fn a_table_whose_measures_were_all_there_in_format_1_is_made_in_it() {
        assert_eq!(absent().definition(Table::ClicksMinute).format(), 1);
        let has_added = Parameters::default().measures.added() > 0;
        let definition = Parameters::default().definition(Table::ClicksMinute);
        assert_eq!(definition.format(), if has_added { 2 } else { 1 });
        assert_eq!(definition.properties.iter().any(|(key, _)| key == PROPERTY_SPEC), has_added);
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
            ("{\"measures_since\":[]}", "measures_since must be an object"),
            ("{\"measures_since\":{\"people\":{}}}", "people in measures_since"),
            ("{\"measures_since\":{\"late\":{\"clicks\":{\"0\":\"5\"}}}}", "no cut"),
            ("{\"dedup_horizon_ms\":\"1\"}", "dedup_horizon_ms"),
            ("{\"dedup_horizon_ms\":0.5}", "dedup_horizon_ms"),
            ("[]", "object"),
            ("{", "no JSON"),
        ] {
            let Invalid(why) = Parameters::parse(text).expect_err(text);
            assert!(why.to_string().contains(words), "{text}: {why}");
            assert_eq!(why.code == Code::NeedUnknown, why.to_string().ends_with("upgrade clicklake"), "{text}: {why}");
            assert_eq!(why.code == Code::PropertyUnreadable, why.to_string().ends_with(AS_IT_WAS), "{text}: {why}");
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
        let dimensions = vec![Dimension::of(Field::Country)];
        let other = Parameters { dimensions, dedup_horizon_ms: 7, ..absent() };
        for parameters in [absent(), other] {
            assert_eq!(of(&parameters, 1), Ok(parameters.clone()));
            assert_eq!(of(&parameters, 2), Ok(parameters));
        }
        assert_eq!(recorded(&[(PROPERTY_SPEC, "{}")]), Ok(absent()));
        let both = [(PROPERTY_SPEC, "{}"), (PROPERTY_ALLOWED_LATENESS_MS, "1")];
        let error = recorded(&both).expect_err("they say different things").to_string();
        assert!(error.contains(PROPERTY_ALLOWED_LATENESS_MS) && error.contains("900000"), "{error}");
    }

    #[test]
    fn recorded_times_that_cannot_be_added_up_are_refused() {
        let recorded = |key: &str, value: i64| {
            let defined = absent().definition(Table::ClicksMinute).properties;
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
