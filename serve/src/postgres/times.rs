//! Translates time formats: PostgreSQL's template patterns (`YYYY-MM-DD`) into those of `strftime` (`%Y-%m-%d`), by
//! which DataFusion reads and writes times.
//!
//! DataFusion copies unknown patterns into each row, so a format is translated completely or not at all.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value, ValueWithSpan,
};

use super::errors::Refused;

/// Direction in which a format is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Reads a text as a time.
    Reading,
    /// Writes a time as a text.
    Writing,
}

/// Patterns in upper or lower case, and their `strftime` equivalents; an empty one cannot be translated. Longer
/// patterns stand before their prefixes.
const PATTERNS: [(&str, &str); 30] = [
    // Seconds of a day, and days of an ISO year: not supported, and not to be read as the shorter patterns that they
    // begin with.
    ("FMSSSS", ""),
    ("SSSS", ""),
    ("IDDD", ""),
    ("FMHH24", "%-H"),
    ("FMHH12", "%-I"),
    ("FMDDD", "%-j"),
    ("FMDD", "%-d"),
    ("FMMM", "%-m"),
    ("FMMI", "%-M"),
    ("FMSS", "%-S"),
    ("FMHH", "%-I"),
    ("IYYY", "%G"),
    ("YYYY", "%Y"),
    ("HH24", "%H"),
    ("HH12", "%I"),
    ("DDD", "%j"),
    ("YY", "%y"),
    ("MM", "%m"),
    ("MI", "%M"),
    ("MS", "%3f"),
    ("US", "%6f"),
    ("DD", "%d"),
    ("HH", "%I"),
    ("SS", "%S"),
    ("IW", "%V"),
    ("ID", "%u"),
    // `WW`, `W`, `D` and `J` are missing: they count days and weeks as `strftime` does not.
    ("AM", "%p"),
    ("PM", "%p"),
    ("A.M.", ""),
    ("P.M.", ""),
];

/// Patterns whose case says how a name is written.
const NAMES: [(&str, &str); 4] = [("FMMonth", "%B"), ("FMDay", "%A"), ("Mon", "%b"), ("Dy", "%a")];

/// Fractions of a second behind a point, which are read with any number of digits.
const FRACTIONS: [&str; 2] = ["SS.US", "SS.MS"];

/// Suffix that makes a number an ordinal.
const ORDINAL: &str = "TH";

/// Translates a format for `strftime`; `None` if any of it cannot be translated.
fn strftime(format: &str, way: Way) -> Option<String> {
    let (mut translated, mut rest) = (String::new(), format);
    while let Some(letter) = rest.chars().next() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (literal, after) = quoted.split_once('"')?;
            if literal.contains(['%', '\\']) {
                return None;
            }
            translated.push_str(literal);
            rest = after;
            continue;
        }
        let fraction = FRACTIONS.iter().find(|fraction| way == Way::Reading && begins(rest, fraction));
        let name = NAMES.iter().find(|(name, _)| rest.starts_with(name));
        let pattern = PATTERNS.iter().find(|(pattern, _)| begins(rest, pattern));
        let (length, ours) = match (fraction, name, pattern) {
            (Some(fraction), ..) => (fraction.len(), "%S%.f"),
            (None, Some((name, ours)), _) | (None, None, Some((name, ours))) => (name.len(), *ours),
            // PostgreSQL copies letters that are no pattern, and digits; a client that means that puts them in quotes.
            (None, None, None) if letter.is_alphanumeric() || matches!(letter, '%' | '\\') => return None,
            (None, None, None) => {
                translated.push(letter);
                rest = &rest[letter.len_utf8()..];
                continue;
            }
        };
        rest = &rest[length..];
        // The case of the pattern decides how a.m. is written.
        if ours.is_empty() || begins(rest, ORDINAL) {
            return None;
        }
        let is_lower = ours == "%p" && format[format.len() - rest.len() - length..].starts_with(['a', 'p']);
        translated.push_str(if is_lower { "%P" } else { ours });
    }
    Some(translated)
}

/// Writes the format of a time as DataFusion reads it.
pub(super) fn write_format(function: &mut Function, way: Way) -> Result<(), Refused> {
    let name = function.name.to_string();
    let FunctionArguments::List(list) = &mut function.args else { return Ok(()) };
    let [_, FunctionArg::Unnamed(FunctionArgExpr::Expr(format))] = &mut list.args[..] else { return Ok(()) };
    let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(format), .. }) = format else {
        // A computed format cannot be translated. When reading, a wrong one is an error anyway.
        let why = "to_char takes its format as a string that stands in the statement";
        return if way == Way::Writing { Err(Refused::unsupported(why)) } else { Ok(()) };
    };
    if !is_strftime(format) {
        *format = strftime(format, way).ok_or_else(|| {
            let why = match is_of_numbers(format) {
                true => "is one of numbers, which are not formatted here; let the client do so, or write round(x, 2)",
                false => "has patterns that are not translated; write it as strftime does, such as '%Y-%m-%d'",
            };
            Refused::value(&format!("{name}: the format '{format}' {why}"))
        })?;
    }
    Ok(())
}

/// Returns whether a format is one of `strftime` already, and not PostgreSQL's with a percent sign in it.
fn is_strftime(format: &str) -> bool {
    let (mut others, mut letters) = (String::new(), format.chars());
    while let Some(letter) = letters.next() {
        if letter == '%' {
            // Flags, a width and a point stand before the letter of a `strftime` pattern.
            let _ = letters.find(|letter| letter.is_ascii_alphabetic() || matches!(letter, '%' | '+'));
            others.push(' ');
        } else {
            others.push(letter);
        }
    }
    let is_theirs = |at: usize| PATTERNS.iter().any(|(pattern, _)| begins(&others[at..], pattern));
    format.contains('%') && !others.char_indices().any(|(at, _)| is_theirs(at))
}

/// Returns whether a format is one of numbers: its digits are 9 and 0, and its letters are those of number patterns.
fn is_of_numbers(format: &str) -> bool {
    let is_known = |letter: char| "90.,+-$ DGLSMIPRVEF".contains(letter.to_ascii_uppercase());
    format.contains(['9', '0']) && format.chars().all(is_known)
}

fn begins(text: &str, with: &str) -> bool {
    text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_translated_whole_or_not_at_all() {
        for (theirs, ours) in [
            ("YYYY-MM-DD", "%Y-%m-%d"),
            ("yyyy-mm-dd hh24:mi:ss", "%Y-%m-%d %H:%M:%S"),
            ("YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"", "%Y-%m-%dT%H:%M:%S.%3fZ"),
            ("HH12:MI:SS.US AM", "%I:%M:%S.%6f %p"),
            ("HH:MI pm", "%I:%M %P"),
            ("Dy, DD Mon YYYY", "%a, %d %b %Y"),
            ("FMDay FMDD FMMonth", "%A %-d %B"),
            ("IYYY-IW-ID", "%G-%V-%u"),
            ("DDD", "%j"),
        ] {
            assert_eq!(strftime(theirs, Way::Writing).as_deref(), Some(ours), "{theirs}");
        }
        for theirs in [
            "YYYY-MM-DDTHH24",
            "Month",
            "Day",
            "MON",
            "mon",
            "DDth",
            "WW",
            "SSSS",
            "FMSSSSS",
            "IDDD",
            "J",
            "Q",
            "TZ",
            "OF",
            "999.99",
            "YYYY\"",
            "x",
            "100%",
            "A.M.",
        ] {
            assert_eq!(strftime(theirs, Way::Writing), None, "{theirs}");
        }
    }

    #[test]
    fn a_percent_sign_alone_makes_no_format_of_strftime() {
        for format in ["%Y-%m-%dT%H:%M:%S%.3fZ", "%-d. %B %Y", "%s", "%:z", "%+", "100%%"] {
            assert!(is_strftime(format), "{format}");
        }
        for format in ["YYYY-MM-DD", "YYYY %", "%Y-MM", "hh24%", "", "a.m. %Y"] {
            assert!(!is_strftime(format), "{format}");
        }
    }

    #[test]
    fn formats_of_numbers_are_told_from_those_of_times() {
        for format in ["999G999", "FM999.00", "000", "9.99EEEE", "S99", "$ 9,990"] {
            assert!(is_of_numbers(format), "{format}");
        }
        for format in ["YYYY-MM-DD", "HH24:00", "MI:00", "DDD", "FMDD", ""] {
            assert!(!is_of_numbers(format), "{format}");
        }
    }

    #[test]
    fn fractions_are_read_however_many_digits_they_have() {
        let format = "YYYY-MM-DD HH24:MI:SS.US";
        assert_eq!(strftime(format, Way::Reading).as_deref(), Some("%Y-%m-%d %H:%M:%S%.f"));
        assert_eq!(strftime(format, Way::Writing).as_deref(), Some("%Y-%m-%d %H:%M:%S.%6f"));
    }
}
