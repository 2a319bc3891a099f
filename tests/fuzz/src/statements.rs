//! Law: SQL with time travel is rewritten once, or refused in one line; the result has nothing left to rewrite.

use query::sql::statements;

/// Holds the law for a text that somebody sends as SQL.
pub fn law(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match statements(text) {
        Err(refused) => assert!(!refused.to_string().is_empty()),
        Ok(found) => {
            for statement in found {
                let again = statements(&statement.text).expect("what is rewritten can be read");
                assert_eq!(again.len(), 1, "{statement:?}");
                assert_eq!((again[0].text.as_str(), again[0].travels), (statement.text.as_str(), 0));
            }
        }
    }
}
