//! Settings that clients read and change for themselves. No setting changes an answer: times are UTC and text is UTF-8.
//! A setting that would have to change one is refused, so that nobody misreads an answer.

use std::collections::HashMap;
use std::time::Duration;

use datafusion::sql::sqlparser::ast::{Expr, Set, Value};
use datafusion_postgres::pgwire::api::auth::DefaultServerParameterProvider;

use super::errors::Refused;

/// PostgreSQL version that clients are told: programs choose their queries of `pg_catalog` by it.
pub(super) const VERSION: &str = "16.6 (clicklake)";

/// Name that every client has when it asks for its own.
pub(super) const ROLE: &str = "postgres";

/// Error for a client that sets a role.
pub(super) const NO_ROLES: &str = "there are no roles here: a key decides which rows are seen; leave the role out";

/// Name of the setting that limits the time of statements.
pub(super) const LIMIT: &str = "statement_timeout";

/// Value of the statement limit while nobody has set one.
const NO_LIMIT: &str = "0";

/// Name of the setting with the client's name.
const NAME: &str = "application_name";

/// Maximum length of a client's name in bytes, as in PostgreSQL; the rest is cut off.
const NAME_BYTES_MAX: usize = 63;

/// Settings that are shown, with their values.
pub(super) const SHOWN: [(&str, &str); 30] = [
    (NAME, ""),
    ("array_nulls", "on"),
    ("backslash_quote", "safe_encoding"),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("datestyle", "ISO, YMD"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "on"),
    ("extra_float_digits", "1"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("escape_string_warning", "on"),
    ("intervalstyle", "postgres"),
    ("is_superuser", "off"),
    ("jit", "off"),
    ("lc_collate", "C"),
    ("lc_ctype", "C"),
    ("lc_messages", "C"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    ("row_security", "on"),
    ("search_path", "public"),
    ("server_encoding", "UTF8"),
    ("server_version", VERSION),
    ("server_version_num", "160006"),
    ("standard_conforming_strings", "on"),
    ("timezone", "UTC"),
    ("transaction_deferrable", "off"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "on"),
];

/// Returns what SHOW answers, if it names a setting; DataFusion answers the others.
pub(super) fn shown(words: &str) -> Option<(&'static str, &'static str)> {
    let name = match words {
        "time zone" => "timezone",
        "transaction isolation level" => "transaction_isolation",
        LIMIT => return Some((LIMIT, NO_LIMIT)),
        name => name,
    };
    SHOWN.into_iter().find(|(known, _)| *known == name)
}

/// Returns the parameters that a client is told after login.
pub(super) fn told() -> DefaultServerParameterProvider {
    let mut told = DefaultServerParameterProvider::default();
    VERSION.clone_into(&mut told.server_version);
    "UTC".clone_into(&mut told.time_zone);
    told.is_superuser = false;
    told.default_transaction_read_only = true;
    told
}

/// Settings of a client that have an effect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ClientSettings {
    /// Time limit of statements; `None` if only the server's applies.
    pub limit: Option<Duration>,
    /// Name that the client gives itself.
    name: String,
}

impl ClientSettings {
    /// Reads the settings that a client begins with: `statement_timeout` and `application_name`, by themselves or in
    /// its options. Everything else is ignored, even if it cannot be set: a client is told the actual values, and
    /// drivers begin with what they find on their machine, such as its time zone.
    pub fn at_first(said: &HashMap<String, String>) -> Self {
        let options = said.get("options").map_or("", String::as_str).split_whitespace();
        let among = options.filter_map(|word| word.trim_start_matches("-c").trim_start_matches('-').split_once('='));
        let by_itself = said.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut own = Self::default();
        for (name, value) in by_itself.chain(among) {
            if let Ok(setting) = set_to(name, value) {
                own.set(&setting, None);
            }
        }
        own
    }

    /// Changes a setting; `first` has the settings that the client began with.
    pub fn set(&mut self, setting: &Setting, first: Option<&Self>) {
        let first = || first.cloned().unwrap_or_default();
        match setting {
            Setting::Limit(limit) => self.limit = *limit,
            Setting::Name(name) => self.name.clone_from(name),
            Setting::LimitAtFirst => self.limit = first().limit,
            Setting::NameAtFirst => self.name = first().name,
            Setting::AllAtFirst => *self = first(),
            Setting::Unheeded => {}
        }
    }

    /// Returns the value of one of these settings.
    pub fn shown(&self, name: &str) -> Option<String> {
        match name {
            LIMIT => Some(self.limit.map_or_else(|| NO_LIMIT.to_owned(), written)),
            NAME => Some(self.name.clone()),
            _ => None,
        }
    }
}

/// Effect of a SET or RESET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Setting {
    /// Sets the time limit of statements; `None` if only the server's applies.
    Limit(Option<Duration>),
    /// Sets the client's name.
    Name(String),
    /// Resets the time limit of statements to what the client began with.
    LimitAtFirst,
    /// Resets the client's name to what it began with.
    NameAtFirst,
    /// Resets all settings to what the client began with.
    AllAtFirst,
    /// Changes nothing: the setting has no effect on answers.
    Unheeded,
}

/// Returns the effect of resetting a setting.
pub(super) fn at_first(name: &str) -> Setting {
    match name.to_ascii_lowercase().as_str() {
        LIMIT => Setting::LimitAtFirst,
        NAME => Setting::NameAtFirst,
        _ => Setting::Unheeded,
    }
}

/// Returns the effect of a SET statement.
pub(super) fn set(set: &Set) -> Result<Setting, Refused> {
    match set {
        Set::SingleAssignment { variable, values, hivevar: false, .. } => {
            let values: Vec<_> = values.iter().map(text).collect();
            set_to(&variable.to_string(), &values.join(", "))
        }
        Set::SetTimeZone { value, .. } => set_to("timezone", &text(value)),
        Set::SetNames { charset_name, .. } => set_to("client_encoding", &charset_name.value),
        Set::SetNamesDefault {} | Set::SetTransaction { .. } => Ok(Setting::Unheeded),
        _ => Err(Refused::unsupported(&format!("{set} is not supported; leave it out"))),
    }
}

/// Returns the effect of setting a setting to a value.
pub(super) fn set_to(name: &str, value: &str) -> Result<Setting, Refused> {
    let (name, value) = (name.to_ascii_lowercase(), value.trim());
    let is_one_of = |known: &[&str]| {
        let value = value.to_ascii_lowercase();
        value == "default" || known.contains(&value.as_str())
    };
    // A client that sets one of these would read answers accordingly.
    let only = |known: &[&str], why: &str| {
        let refused = || Refused::value(&format!("{name} cannot be set to {value}: {why}"));
        if is_one_of(known) { Ok(Setting::Unheeded) } else { Err(refused()) }
    };
    match name.as_str() {
        LIMIT | NAME if is_one_of(&[]) => Ok(at_first(&name)),
        NAME => {
            let end = value.floor_char_boundary(NAME_BYTES_MAX);
            Ok(Setting::Name(value[..end].to_owned()))
        }
        LIMIT => {
            let limit = duration(value).ok_or_else(|| {
                Refused::value(&format!(
                    "statement_timeout cannot be set to {value}; give milliseconds, or '30s', or '1min'"
                ))
            })?;
            Ok(Setting::Limit(Some(limit).filter(|limit| !limit.is_zero())))
        }
        "client_encoding" if is_utf8(value) => Ok(Setting::Unheeded),
        "client_encoding" => only(&[], "text is UTF-8 on this server"),
        "timezone" if is_utc(value) => Ok(Setting::Unheeded),
        "timezone" => only(&["local"], "times are in UTC on this server"),
        "bytea_output" => only(&["hex"], "bytes are written in hex on this server"),
        "intervalstyle" => only(&["postgres"], "intervals are written as PostgreSQL does by default"),
        "standard_conforming_strings" => only(&["on", "true", "1"], "a backslash in a string is one"),
        "datestyle" if value.to_ascii_lowercase().starts_with("iso") => Ok(Setting::Unheeded),
        "datestyle" => only(&[], "dates are written as in ISO 8601 on this server"),
        "role" | "session_authorization" => Err(Refused::unsupported(NO_ROLES)),
        name if name.contains('.') => Err(Refused::unsupported(&of_server(name))),
        _ => Ok(Setting::Unheeded),
    }
}

/// Returns why a setting of the server is not set.
pub(super) fn of_server(name: &str) -> String {
    format!("{name} is a setting of the server, which no client changes; leave it out")
}

/// Returns whether a time zone is UTC, by any of its names.
pub(super) fn is_utc(zone: &str) -> bool {
    let zone = zone.trim().to_ascii_lowercase();
    let name = zone.strip_prefix("etc/").unwrap_or(&zone);
    let of_names =
        ["utc", "uct", "gmt", "gmt0", "gmt+0", "gmt-0", "zulu", "universal", "greenwich", "z"].contains(&name);
    // A zero offset, with or without a sign.
    let offset = name.trim_start_matches(['+', '-']);
    of_names || (!offset.is_empty() && offset.chars().all(|letter| matches!(letter, '0' | ':' | '.')))
}

/// Returns whether an encoding is UTF-8, by any of its names, of which only letters and digits count.
pub(super) fn is_utf8(name: &str) -> bool {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    ["utf8", "unicode"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn text(value: &Expr) -> String {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => text.clone(),
            value => value.to_string(),
        },
        Expr::Identifier(name) => name.value.clone(),
        value => value.to_string(),
    }
}

/// Reads a time in milliseconds, or in the unit behind the number.
fn duration(value: &str) -> Option<Duration> {
    let value = value.trim();
    let unit = value.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let number: u64 = value[..value.len() - unit.len()].parse().ok()?;
    let unit = match unit.trim() {
        "" => "ms",
        unit => unit,
    };
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some(Duration::from_millis(number.saturating_mul(*millis)))
}

/// Units of time with their milliseconds, the largest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];

/// Writes a time in the largest unit of which it is a whole number, as PostgreSQL shows it.
fn written(time: Duration) -> String {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let unit = UNITS.iter().find(|(_, of_unit)| millis.is_multiple_of(*of_unit));
    unit.map_or_else(|| format!("{millis}ms"), |(name, of_unit)| format!("{}{name}", millis / of_unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_answers_is_refused() {
        for (name, value) in [
            ("TimeZone", "UTC"),
            ("timezone", "Etc/UTC"),
            ("timezone", "+00:00"),
            ("timezone", "0"),
            ("timezone", "DEFAULT"),
            ("client_encoding", "UTF8"),
            ("client_encoding", "'utf_8'"),
            ("client_encoding", "Unicode"),
            ("DateStyle", "ISO, MDY"),
            ("bytea_output", "hex"),
            ("extra_float_digits", "3"),
            ("search_path", "public, \"$user\""),
        ] {
            assert_eq!(set_to(name, value), Ok(Setting::Unheeded), "{name} {value}");
        }
        for (name, value) in [
            ("timezone", "Europe/Berlin"),
            ("timezone", "+02"),
            ("timezone", "Europe/London"),
            ("client_encoding", "LATIN1"),
            ("DateStyle", "German"),
            ("IntervalStyle", "iso_8601"),
            ("bytea_output", "escape"),
            ("standard_conforming_strings", "off"),
            ("role", "postgres"),
            ("datafusion.execution.time_zone", "+02:00"),
        ] {
            assert!(set_to(name, value).is_err(), "{name} {value}");
        }
        let why = set_to("TimeZone", "Europe/Berlin").expect_err("it is not UTC").to_string();
        assert!(why.contains("timezone cannot be set to Europe/Berlin: times are in UTC on this server"), "{why}");
    }

    #[test]
    fn startup_parameters_set_the_statement_timeout_and_nothing_else() {
        let limit = |name: &str, value: &str| {
            let said = [(name.to_owned(), value.to_owned()), ("TimeZone".to_owned(), "x".to_owned())];
            ClientSettings::at_first(&HashMap::from(said)).limit
        };
        let five = Some(Duration::from_secs(5));
        assert_eq!(limit("statement_timeout", "5s"), five);
        for options in ["-c statement_timeout=5s", "-cstatement_timeout=5000", "--statement_timeout=5s -c a=b"] {
            assert_eq!(limit("options", options), five, "{options}");
        }
        assert_eq!(limit("options", "-c TimeZone=Asia/Tokyo -c statement_timeout=0"), None);
        assert_eq!(limit("statement_timeout", "soon"), None);
    }

    #[test]
    fn limits_are_read_as_postgresql_reads_them() {
        for (text, millis) in [("0", 0), ("5000", 5_000), ("250ms", 250), ("30s", 30_000), ("1 min", 60_000)] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "soon", "-1", "1w"] {
            assert_eq!(duration(text), None, "{text}");
        }
        for (text, shown) in [("5000", "5s"), ("250", "250ms"), ("120s", "2min"), ("90min", "90min"), ("24h", "1d")] {
            assert_eq!(duration(text).map(written).as_deref(), Some(shown), "{text}");
        }
    }

    #[test]
    fn what_a_client_has_set_is_shown_and_may_be_what_it_was_at_first() {
        let said = [("application_name", "psql"), ("options", "-c statement_timeout=5s")];
        let first = ClientSettings::at_first(&said.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let mut own = first.clone();
        let shown = |own: &ClientSettings| [LIMIT, NAME].map(|name| own.shown(name).unwrap_or_default());
        assert_eq!(shown(&own), ["5s", "psql"]);
        assert_eq!(own.shown("timezone"), None, "it is the server's");
        let (long, kept) = ("\u{e9}".repeat(40), "\u{e9}".repeat(31));
        for (name, value, expected) in [
            ("statement_timeout", "1min", ["1min", "psql"]),
            ("Application_Name", long.as_str(), ["1min", kept.as_str()]),
            ("statement_timeout", "0", ["0", kept.as_str()]),
            ("application_name", "", ["0", ""]),
            ("statement_timeout", "default", ["5s", ""]),
        ] {
            own.set(&set_to(name, value).expect("it can be set"), Some(&first));
            assert_eq!(shown(&own), expected, "{name} {value}");
        }
        own.set(&Setting::AllAtFirst, Some(&first));
        assert_eq!(own, first);
    }
}
