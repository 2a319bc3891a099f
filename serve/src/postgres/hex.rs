//! Bytes as PostgreSQL writes them in a text: `\x`, and two digits for each.

use super::errors::Refused;

/// Returns the digits of bytes that are written in hex; `None` if a text is not, and stands for the bytes of its
/// letters. Blanks may stand between bytes.
pub(super) fn digits_of(text: &str) -> Result<Option<String>, Refused> {
    let Some(written) = text.strip_prefix("\\x") else { return Ok(None) };
    let mut digits = String::new();
    for some in written.split_ascii_whitespace() {
        if let Some(wrong) = some.chars().find(|letter| !letter.is_ascii_hexdigit()) {
            return Err(Refused::value(&format!("invalid hexadecimal digit: \"{wrong}\"")));
        }
        if !some.len().is_multiple_of(2) {
            return Err(Refused::value("invalid hexadecimal data: odd number of digits"));
        }
        digits += some;
    }
    Ok(Some(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_hex_are_two_digits_each() {
        for (text, digits) in [
            ("\\x01ff", Ok(Some("01ff"))),
            ("\\x 01\nFF ", Ok(Some("01FF"))),
            ("\\x", Ok(Some(""))),
            ("x01", Ok(None)),
            ("", Ok(None)),
            ("\\x0 1", Err("invalid hexadecimal data: odd number of digits")),
            ("\\x01\u{e9}", Err("invalid hexadecimal digit: \"\u{e9}\"")),
        ] {
            let digits = digits.map(|digits| digits.map(str::to_owned)).map_err(Refused::value);
            assert_eq!(digits_of(text), digits, "{text}");
        }
    }
}
