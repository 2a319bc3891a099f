//! Refuses numbers that the parser would misread: `0b11` as `0` in a column named `b11`, `1_000` as `1`, and `0x1F` as
//! a text of bytes. PostgreSQL likewise refuses numbers that it does not know.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};
use lake_schemas::Code;
use lake_store::LakeError;

/// Number of letters of such a number that a refusal repeats.
const SHOWN_MAX: usize = 32;

/// Refuses a number that letters follow directly; each of the tokens follows the one before it directly.
pub(super) fn check(tokens: &[TokenWithSpan]) -> Result<(), LakeError> {
    let joined = tokens.windows(2).find_map(|two| match (&two[0].token, &two[1].token) {
        (Token::Number(number, _), Token::Word(Word { value, quote_style: None, .. })) => {
            // To PostgreSQL, `1#1` is an operation.
            let is_letters = value.starts_with(|first: char| first.is_alphabetic() || first == '_');
            is_letters.then(|| format!("{number}{value}"))
        }
        _ => None,
    });
    let misread = joined.or_else(|| tokens.iter().find_map(hexadecimal));
    misread.map_or(Ok(()), |number| {
        let shown: String = number.chars().take(SHOWN_MAX).collect();
        let why = "is no number here; write numbers in decimal digits, without _, and put a blank behind them";
        Err(LakeError::Refused(Code::StatementUnclear.because(format!("{shown} {why}"))))
    })
}

/// Returns a number that is written as `0x1F`. A text of bytes, written as `X'1F'`, is a letter and two quotes longer
/// than its digits; a number is only `0x` longer.
fn hexadecimal(token: &TokenWithSpan) -> Option<String> {
    let Token::HexStringLiteral(digits) = &token.token else { return None };
    let (start, end) = (token.span.start, token.span.end);
    let letters = u64::try_from(digits.chars().count()).ok()?;
    let is_number = start.line == end.line && end.column - start.column == letters + 2;
    is_number.then(|| format!("0x{digits}"))
}

#[cfg(test)]
mod tests {
    use super::super::statements;

    #[test]
    fn number_syntax_that_would_be_misread_is_refused() {
        for (text, named) in [
            ("select 0b11", "0b11 is no number"),
            ("select 0x1F", "0x1F is no number"),
            ("select 0X1f", "0X1f is no number"),
            ("select 0x", "0x is no number"),
            ("select 0o17", "0o17 is no number"),
            ("select 1_000", "1_000 is no number"),
            ("select 1 where 2 = 1_0", "1_0 is no number"),
            ("select 1e from t", "1e is no number"),
            ("select 1.5x", "1.5x is no number"),
            ("select 1; select 1_000", "1_000 is no number"),
        ] {
            let refused = statements(text).expect_err(text).to_string();
            assert!(
                refused.contains(named) && refused.contains("decimal") && refused.lines().count() == 1,
                "{refused}"
            );
        }
        let long = format!("select 1{}", "x".repeat(10_000));
        assert!(statements(&long).expect_err("no number").to_string().len() < 200);
    }

    #[test]
    fn plain_numbers_and_texts_with_digits_are_accepted() {
        for text in [
            "select 1, 1.5, .5, 1e5, 1.5E-3, -2, 1::int, 1 as x, 1 x, 1\"x\", 2+3, t.a1, a1b, _1",
            "select X'1F', x'', x'0x1F', '0b11', \"1_000\", $1, $1 -- 0b11 1_000 0x1F",
            "select 1 /* 0x1F */ from clicks VERSION AS OF 412",
            "select a[1], [1,2], case when 1>0 then 1 end, interval '1day', 1.e3",
        ] {
            statements(text).unwrap_or_else(|why| panic!("{text}: {why}"));
        }
    }
}
