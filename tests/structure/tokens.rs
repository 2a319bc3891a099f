//! Cuts a Rust source into tokens, as far as laws need that: names, `::`, and single signs. Comments are left out, and
//! a text, a character or a lifetime is one sign.

/// Token that stands for a text, a character or a lifetime.
const LITERAL: &str = "\"";

/// Attributes of items that no program has: those of tests, and imports for the docs alone.
const UNBUILT: [[&str; 7]; 2] = [["#", "[", "cfg", "(", "test", ")", "]"], ["#", "[", "cfg", "(", "doc", ")", "]"]];

/// Keywords that items begin with: a comma within one of these does not end it.
const ITEMS: [&str; 14] = [
    "async",
    "const",
    "enum",
    "extern",
    "fn",
    "impl",
    "macro_rules",
    "mod",
    "static",
    "struct",
    "trait",
    "type",
    "unsafe",
    "use",
];

/// Returns the tokens of a source.
pub fn tokens(source: &str) -> Vec<&str> {
    let (mut tokens, mut rest) = (Vec::new(), source);
    while let Some(first) = rest.chars().next() {
        let (length, token) = if let Some(length) = blank(rest) {
            (length, None)
        } else if let Some(length) = literal(rest) {
            (length, Some(LITERAL))
        } else {
            let name = rest.find(|sign: char| !is_of_name(sign)).unwrap_or(rest.len());
            let sign = if rest.starts_with("::") { 2 } else { first.len_utf8() };
            let length = if name > 0 { name } else { sign };
            (length, Some(&rest[..length]))
        };
        tokens.extend(token);
        rest = &rest[length..];
    }
    tokens
}

/// Returns whether a token is a name, a keyword or a number.
pub fn is_name(token: &str) -> bool {
    token.starts_with(is_of_name)
}

fn is_of_name(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_'
}

/// Returns the length of the blank or the comment that a text begins with.
fn blank(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return text.chars().next().filter(|sign| sign.is_whitespace()).map(char::len_utf8);
    }
    // Comments may be within comments.
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        let (length, deeper) = match &text[at..] {
            rest if rest.starts_with("/*") => (2, depth + 1),
            rest if rest.starts_with("*/") => (2, depth - 1),
            rest => (rest.chars().next().map_or(1, char::len_utf8), depth),
        };
        (at, depth) = (at + length, deeper);
        if depth == 0 || at >= text.len() {
            return Some(at.min(text.len()));
        }
    }
}

/// Returns the length of the text, character or lifetime that a source begins with.
fn literal(source: &str) -> Option<usize> {
    let raw = ["br", "cr", "r"].into_iter().find_map(|prefix| source.strip_prefix(prefix));
    if let Some(raw) = raw {
        let after = raw.trim_start_matches('#');
        if after.starts_with('"') {
            let end = format!("\"{}", "#".repeat(raw.len() - after.len()));
            let begins = source.len() - after.len() + 1;
            let length = source[begins..].find(&end).map(|at| begins + at + end.len());
            return Some(length.unwrap_or(source.len()));
        }
    }
    let plain = source.strip_prefix(['b', 'c']).unwrap_or(source);
    let before = source.len() - plain.len();
    if plain.starts_with('"') {
        return Some(before + quoted(plain, '"'));
    }
    let inner = plain.strip_prefix('\'')?;
    let mut signs = inner.chars();
    let first = signs.next()?;
    if first == '\\' || signs.next() == Some('\'') {
        return Some(before + quoted(plain, '\''));
    }
    let name = inner.find(|sign: char| !is_of_name(sign)).unwrap_or(inner.len());
    Some(before + 1 + name)
}

/// Returns the length of what stands in quotes, with both.
fn quoted(text: &str, quote: char) -> usize {
    let mut signs = text.char_indices().skip(1);
    while let Some((at, sign)) = signs.next() {
        if sign == '\\' {
            signs.next();
        } else if sign == quote {
            return at + 1;
        }
    }
    text.len()
}

/// Returns the tokens without the items that no program has.
pub fn built<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        match UNBUILT.iter().find(|attribute| tokens[at..].starts_with(*attribute)) {
            Some(attribute) => at = after_item(tokens, at + attribute.len()),
            None => {
                kept.push(tokens[at]);
                at += 1;
            }
        }
    }
    kept
}

/// Returns where the attributes and the visibility of an item end that begins at a place.
pub fn keyword_of(tokens: &[&str], mut at: usize) -> usize {
    while tokens.get(at) == Some(&"#") {
        let opens = if tokens.get(at + 1) == Some(&"!") { at + 2 } else { at + 1 };
        at = after_brackets(tokens, opens);
    }
    if tokens.get(at) == Some(&"pub") {
        at += 1;
        if tokens.get(at) == Some(&"(") {
            at = after_brackets(tokens, at);
        }
    }
    at
}

/// Returns where the item ends that begins at a place, with its attributes and its visibility.
pub fn after_item(tokens: &[&str], at: usize) -> usize {
    let mut at = keyword_of(tokens, at);
    let keyword = tokens.get(at).copied().unwrap_or_default();
    let (is_import, is_item) = (keyword == "use", ITEMS.contains(&keyword));
    while let Some(token) = tokens.get(at) {
        match *token {
            "{" if !is_import => return after_brackets(tokens, at),
            "(" | "[" | "{" => at = after_brackets(tokens, at),
            // The item is the last of a list.
            ")" | "]" | "}" => return at,
            ";" => return at + 1,
            "," if !is_item => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// Returns where the brackets end that open at a place.
fn after_brackets(tokens: &[&str], opens: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(opens) {
        match *token {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

#[test]
fn names_in_comments_and_texts_are_no_tokens() {
    let source = "a::b /* c /* d */ e */ ('x', '\\'', b'\\n') 'y: \"f \\\" g\" r#\"h \" i\"# // j\n1..k b\"l\"";
    let (comma, text) = (",", LITERAL);
    let expected = ["a", "::", "b", "(", text, comma, text, comma, text, ")", text, ":", text, text, "1", ".", "."];
    assert_eq!(tokens(source), [&expected[..], &["k", text]].concat());
}

#[test]
fn items_of_tests_are_not_built() {
    let source = "#[cfg(test)]\nuse a::{b, c};\nd\n#[cfg(test)]\n#[path = \"e\"]\npub(super) mod f { g }\nh;\n\
                  #[cfg(doc)]\nuse i;\n#[cfg(test)]\nconst J: [u8; 2] = [1, 2];\nk";
    assert_eq!(built(&tokens(source)), ["d", "h", ";", "k"]);
}
