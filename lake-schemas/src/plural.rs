//! Nouns in the form that a number takes, for lines that are printed: `1 window`, `2 windows`.

use std::fmt::Display;

/// Returns a number with the noun that it counts, in singular or plural. The plural of the noun must end with `s`.
pub fn counted<N: Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    format!("{number} {}", form(&number, noun))
}

/// Returns a noun in singular or plural, for a number that the caller writes in some other way.
pub fn form<N: PartialEq + From<u8>>(number: &N, noun: &str) -> String {
    if *number == N::from(1) { noun.to_owned() } else { format!("{noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_takes_the_singular_and_every_other_number_the_plural() {
        let said =
            [counted(0_u64, "window"), counted(1_usize, "more id"), counted(-1_i64, "row"), counted(2_i128, "file")];
        assert_eq!(said, ["0 windows", "1 more id", "-1 rows", "2 files"]);
        assert_eq!(form(&1_000_u64, "click"), "clicks");
    }
}
