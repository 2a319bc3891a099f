//! Makes text safe to show: characters that would move a cursor, set a title, or hide or reverse the text around them
//! are shown as escapes, such as `\u{1b}`.

use std::borrow::Cow;
use std::env;

/// Escapes a text for one line: control characters, including line breaks and tabs.
pub fn visible(text: &str) -> Cow<'_, str> {
    without(text, controls)
}

/// Escapes a text of several lines, which keeps its line breaks and tabs.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    without(text, |character| !matches!(character, '\n' | '\t') && controls(character))
}

fn without(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match is_escaped(character) {
            true if character.is_control() => shown.extend(character.escape_default()),
            true => shown.extend(character.escape_unicode()),
            false => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

/// Returns whether a character has an effect beside being shown: C0, DEL and C1 controls, and those that change the
/// direction of text or end a line.
fn controls(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Returns whether a terminal should get colours: not if NO_COLOR is set and not empty (no-color.org).
pub fn is_coloured() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && !is_dumb()
}

/// Returns whether the terminal knows no escape sequences at all, not even those that move the cursor.
pub fn is_dumb() -> bool {
    env::var_os("TERM").is_some_and(|name| name == "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_controls_a_terminal() {
        for (id, shown) in [
            ("ad-1", "ad-1"),
            ("\u{1b}[2Jcleared", "\\u{1b}[2Jcleared"),
            ("\u{1b}]0;owned\u{7}title", "\\u{1b}]0;owned\\u{7}title"),
            ("over\rwritten", "over\\rwritten"),
            ("two\nlines\tapart", "two\\nlines\\tapart"),
            ("\u{9b}31mred", "\\u{9b}31mred"),
            ("abc\u{202e}fed", "abc\\u{202e}fed"),
            ("\u{7f}", "\\u{7f}"),
            ("İstanbul \\ 'x' 🙂", "İstanbul \\ 'x' 🙂"),
        ] {
            assert_eq!(visible(id), shown, "{id:?}");
        }
        assert_eq!(visible_lines("a\tb\n\u{1b}c"), "a\tb\n\\u{1b}c");
    }
}
