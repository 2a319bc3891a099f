//! Tells a data file that cannot be decoded from a store that does not answer: the first is damaged and stays so, and
//! somebody must put it right.
//!
//! Readers that know which file they read say so by [`in_file`]. DataFusion decodes pages where the file is not known
//! any more; [`unnamed`] says then how the file is found.

use std::error::Error;
use std::io::{self, ErrorKind};

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;
use lake_schemas::{Code, Table};
use lake_store::LakeError;
use lake_store::stored_file::unread;

use crate::causes::causes;

/// Text before the path of a file whose footer DataFusion could not read. Its readers keep only the text of the error.
const FOOTER_OF: &str = "Failed to fetch metadata for file ";

/// Text that each layer of a reader puts before what is wrong.
const KIND: &str = "Parquet error: ";

/// Texts of stores that were asked for bytes behind the end of a file: the file is shorter than the log of its table
/// says.
const BEYOND_THE_END: [&str; 3] = ["Requested range was invalid", "InvalidRange", "Range Not Satisfiable"];

/// Texts of errors of a store, in errors that keep only the text.
const OF_THE_STORE: [&str; 2] = ["Object Store error: ", "Object at location "];

/// End of what is said of a damaged file that is not named.
const IS_NAMED_BY: &str = "if it is one of the lake, `clicklake verify` names it, with what to do";

/// Returns the refusal of a damaged file at a path of the lake, if that is what the error of reading it says.
pub(crate) fn in_file(location: &str, error: &(dyn Error + 'static)) -> Option<LakeError> {
    let said = undecodable(error)?;
    let (table, path) = location.split_once('/')?;
    let table: Table = table.parse().ok()?;
    let of_footer = said.split_once(FOOTER_OF).and_then(|(_, after)| after.split_once(": "));
    let said = of_footer.map_or(said.as_str(), |(_, why)| why).trim_start_matches(KIND);
    Some(unread(table, "reading", path, ParquetError::General(said.to_owned())))
}

/// Returns the refusal of a damaged file, if that is why a statement failed. It names the file if the error does.
pub(crate) fn refusal(error: &DataFusionError) -> Option<LakeError> {
    let said = undecodable(error)?;
    let named = said.split_once(FOOTER_OF).and_then(|(_, after)| after.split_once(": "));
    // Statements read files of others, too; those of the lake are in folders that name a day.
    let named = named.filter(|(location, _)| location.split('/').nth(1).is_some_and(|folder| folder.contains('=')));
    named.and_then(|(location, _)| in_file(location, error)).or_else(|| Some(unnamed(&said)))
}

fn unnamed(said: &str) -> LakeError {
    LakeError::Refused(Code::FileDamaged.because(format!(
        "a data file cannot be decoded ({said}): it was damaged, perhaps by a power loss; {IS_NAMED_BY}"
    )))
}

/// Returns whether an error is the refusal of a damaged file that it does not name.
pub(crate) fn is_unnamed(error: &LakeError) -> bool {
    matches!(error, LakeError::Refused(refusal)
        if refusal.code == Code::FileDamaged && refusal.why.ends_with(IS_NAMED_BY))
}

/// Returns what a decoder of Parquet says of a file that it cannot decode, in one line; `None` if the error is another
/// one, as of a store that does not answer, or of a file that is written.
fn undecodable(error: &(dyn Error + 'static)) -> Option<String> {
    let is_of_parquet = |cause: &&(dyn Error + 'static)| {
        cause.is::<ParquetError>() || matches!(cause.downcast_ref::<ArrowError>(), Some(ArrowError::ParquetError(_)))
    };
    let text = causes(error).find(is_of_parquet)?.to_string();
    let said = text.lines().next().unwrap_or_default().to_owned();
    if BEYOND_THE_END.iter().any(|words| text.contains(words)) {
        return Some(said);
    }
    let is_other = |cause: &(dyn Error + 'static)| {
        // Decompression fails with an error of I/O, too, but that is not one of the system.
        let is_of_the_system =
            |error: &io::Error| error.raw_os_error().is_some() || error.kind() == ErrorKind::BrokenPipe;
        cause.is::<object_store::Error>() || cause.downcast_ref::<io::Error>().is_some_and(is_of_the_system)
    };
    let is_of_the_store = causes(error).any(is_other) || OF_THE_STORE.iter().any(|words| text.contains(words));
    (!is_of_the_store).then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::QueryError;

    const FILE: &str = "clicks_minute/date=2026-03-07/hour=12/a.parquet";

    fn asked(error: ParquetError) -> QueryError {
        DataFusionError::from(error).context("scanning").into()
    }

    #[test]
    fn a_footer_that_cannot_be_read_names_its_file_and_what_to_do() {
        for why in ["Parquet error: Corrupt footer", "Object Store error: Generic S3 error: InvalidRange"] {
            let error = asked(ParquetError::General(format!("{FOOTER_OF}{FILE}: {why}")));
            let said = error.to_string();
            assert_eq!(error.code(), Some(Code::FileDamaged), "{said}");
            assert!(said.starts_with("clicks_minute: reading date=2026-03-07/hour=12/a.parquet: "), "{said}");
            assert!(said.contains("put back a copy") && said.lines().count() == 1, "{said}");
        }
    }

    #[test]
    fn a_page_that_cannot_be_decoded_is_damage_and_says_who_names_the_file() {
        let zstd = ParquetError::External(Box::new(io::Error::other("Unknown frame descriptor")));
        for error in [asked(zstd), ArrowError::ParquetError("Unexpected Encoding -48".to_owned()).into()] {
            assert_eq!(error.code(), Some(Code::FileDamaged), "{error}");
            assert!(matches!(&error, QueryError::Lake(error) if is_unnamed(error)), "{error}");
        }
    }

    #[test]
    fn a_store_that_fails_and_a_reader_that_went_away_are_no_damage() {
        let generic = || object_store::Error::Generic { store: "S3", source: "no route".into() };
        let broken = || io::Error::from(ErrorKind::BrokenPipe);
        let full = || io::Error::from_raw_os_error(28);
        for error in [
            ParquetError::External(Box::new(generic())),
            ParquetError::General(format!("{FOOTER_OF}{FILE}: Object Store error: Generic S3 error: no route")),
            ParquetError::External(Box::new(broken())),
            ParquetError::External(Box::new(full())),
        ] {
            let error = asked(error);
            assert_eq!(error.code(), None, "{error}");
        }
        let is_unread = asked(ParquetError::External(Box::new(broken()))).is_unread();
        assert!(is_unread, "nobody reads the output any more");
    }

    #[test]
    fn a_reader_that_knows_its_file_names_it() {
        let named = in_file(FILE, &ParquetError::General("Invalid Parquet file. Corrupt footer".to_owned()));
        let said = named.expect("it is damaged").to_string();
        assert!(said.starts_with("clicks_minute: reading date=2026-03-07/hour=12/a.parquet: "), "{said}");
        assert!(in_file(FILE, &ArrowError::CastError("no number".to_owned())).is_none(), "it can be decoded");
    }
}
