//! An object that a question reads and that is not in its store.
//!
//! [`crate::verify`] tells whether it is a lost file of the lake; all that can be said before is that it was there when
//! the question began.

use datafusion::error::DataFusionError;
use lake_schemas::{Code, Refusal};

/// Cause of a question that has no answer: an object that it reads is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} is gone: what the statement asks for was cleaned up meanwhile, or by another program")]
pub struct Gone {
    /// Path of the object in its store, which is the lake for files of the lake.
    pub(crate) path: String,
}

impl Gone {
    /// Code of the refusal, unless the object turns out to be lost.
    pub const CODE: Code = Code::VersionGone;

    /// Returns the object whose absence made a statement fail, if that is the reason. Readers of Parquet keep only the
    /// text of that error, so it is found in the text.
    pub(crate) fn cause_of(error: &DataFusionError) -> Option<Self> {
        let text = error.strip_backtrace();
        let (_, after) = text.split_once("Object at location ")?;
        Some(Self { path: after.split_once(" not found")?.0.to_owned() })
    }
}

impl From<Gone> for Refusal {
    fn from(gone: Gone) -> Self {
        Gone::CODE.because(gone.to_string())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::parquet::errors::ParquetError;

    use super::*;

    #[test]
    fn an_object_that_is_not_there_is_found_in_what_readers_say_of_it() {
        let path = "clicks_minute/date=2026-03-07/hour=12/a.parquet";
        let source = || object_store::Error::NotFound { path: path.to_owned(), source: "No such file".into() };
        let kept_as_text = ParquetError::General(format!("Failed to fetch: {}", source()));
        for error in [DataFusionError::from(source()), DataFusionError::from(kept_as_text).context("scanning")] {
            let gone = Gone::cause_of(&error).expect("it is not there");
            assert_eq!(gone.path, path);
            let refused = Refusal::from(gone);
            assert_eq!(refused.code, Code::VersionGone);
            assert!(refused.why.starts_with(&format!("{path} is gone: ")), "{}", refused.why);
        }
        assert_eq!(Gone::cause_of(&DataFusionError::Plan("no such column".to_owned())), None);
    }
}
