//! Errors that keep a compactor from its work.

use std::sync::Arc;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use lake_schemas::{Code, Table};
use lake_store::LakeError;

/// Reason why a round did not do everything. Work that was committed before stays committed.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// The lake failed or refused something.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// A query over files failed.
    #[error("summing or sorting rows: {}", .0.strip_backtrace())]
    Sql(#[source] DataFusionError),
    /// Another compactor committed the same roll-up first.
    #[error("{0}: another compact rolls it up at the same time, and was first; one is enough")]
    Fenced(Table),
}

impl CompactError {
    /// Returns the code of the refusal; `None` if it is none.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Lake(error) => error.code(),
            Self::Sql(error) => match error.find_root() {
                DataFusionError::ResourcesExhausted(_) => Some(Code::MemoryLimit),
                _ => None,
            },
            Self::Fenced(_) => Some(Code::Fenced),
        }
    }

    /// Returns whether the next round may succeed without anyone doing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Lake(error) if error.is_retryable())
    }

    /// Returns whether a table was redefined and must be opened again.
    pub(crate) fn is_altered(&self) -> bool {
        matches!(self, Self::Lake(LakeError::Altered(_)))
    }
}

/// Turns an error of the lake inside a query error into [`CompactError::Lake`], so that callers see whether to retry.
impl From<DataFusionError> for CompactError {
    fn from(error: DataFusionError) -> Self {
        of_the_lake(error).map_or_else(|other| Self::Sql(*other), Self::Lake)
    }
}

impl From<ArrowError> for CompactError {
    fn from(error: ArrowError) -> Self {
        Self::from(DataFusionError::from(error))
    }
}

/// Unwraps the error of the lake that a query error holds; returns any other error unchanged.
fn of_the_lake(error: DataFusionError) -> Result<LakeError, Box<DataFusionError>> {
    match error {
        DataFusionError::External(error) => match error.downcast::<LakeError>() {
            Ok(error) => Ok(*error),
            Err(error) => match error.downcast::<DataFusionError>() {
                Ok(error) => of_the_lake(*error),
                Err(error) => match error.downcast::<ArrowError>() {
                    Ok(error) => of_the_lake(DataFusionError::ArrowError(error, None)),
                    Err(error) => Err(Box::new(DataFusionError::External(error))),
                },
            },
        },
        DataFusionError::ArrowError(error, backtrace) => match *error {
            ArrowError::ExternalError(error) => of_the_lake(DataFusionError::External(error)),
            error => Err(Box::new(DataFusionError::ArrowError(Box::new(error), backtrace))),
        },
        DataFusionError::Context(what, error) => {
            of_the_lake(*error).map_err(|error| Box::new(DataFusionError::Context(what, error)))
        }
        DataFusionError::Diagnostic(what, error) => {
            of_the_lake(*error).map_err(|error| Box::new(DataFusionError::Diagnostic(what, error)))
        }
        DataFusionError::Collection(errors) => {
            let mut others = Vec::new();
            for error in errors {
                match of_the_lake(error) {
                    Ok(error) => return Ok(error),
                    Err(other) => others.push(*other),
                }
            }
            Err(Box::new(DataFusionError::Collection(others)))
        }
        DataFusionError::Shared(error) => match Arc::try_unwrap(error) {
            Ok(error) => of_the_lake(error),
            Err(shared) => copy_of(&shared).ok_or_else(|| Box::new(DataFusionError::Shared(shared))),
        },
        other => Err(Box::new(other)),
    }
}

/// Copies the error of the lake out of a shared error, which cannot be unwrapped.
fn copy_of(shared: &Arc<DataFusionError>) -> Option<LakeError> {
    let first: &(dyn std::error::Error + 'static) = shared.as_ref();
    let error = std::iter::successors(Some(first), |error| error.source()).find_map(|error| error.downcast_ref())?;
    Some(match error {
        LakeError::Store { what, .. } => {
            LakeError::Store { what: what.clone(), source: Box::new(DataFusionError::Shared(Arc::clone(shared))) }
        }
        LakeError::Refused(refusal) => LakeError::Refused(refusal.clone()),
        LakeError::Altered(why) => LakeError::Altered(why.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> DataFusionError {
        DataFusionError::External(Box::new(LakeError::store("clicks_minute: reading one", "it is down")))
    }

    #[test]
    fn an_error_of_the_lake_is_one_through_all_hands() {
        let held = Arc::new(store());
        let wrapped = [
            store(),
            store().context("sorting"),
            store().context("sorting").context("merging"),
            DataFusionError::from(ArrowError::from(store())),
            DataFusionError::from(ArrowError::from(store().context("spilling"))),
            DataFusionError::External(Box::new(store())),
            DataFusionError::External(Box::new(ArrowError::ExternalError(Box::new(store())))),
            DataFusionError::Shared(Arc::new(store())),
            DataFusionError::Shared(Arc::clone(&held)),
            DataFusionError::Shared(Arc::new(DataFusionError::Shared(held).context("repartitioning"))),
            DataFusionError::Collection(vec![DataFusionError::Plan("nothing".to_owned()), store()]),
        ];
        for error in wrapped {
            let text = format!("{error:?}");
            let error = CompactError::from(error);
            assert!(error.is_retryable(), "{text}");
            assert!(error.to_string().contains("clicks_minute: reading one"), "{error} of {text}");
        }
    }

    #[test]
    fn what_a_lake_refuses_is_refused_and_what_is_no_error_of_a_lake_is_none() {
        let refused = || {
            DataFusionError::External(Box::new(LakeError::Refused(
                Code::ColumnUnfit.because("no such column".to_owned()),
            )))
        };
        for error in [refused().context("reading"), DataFusionError::Shared(Arc::new(refused()))] {
            let error = CompactError::from(error);
            assert_eq!((error.code(), error.is_retryable()), (Some(Code::ColumnUnfit), false), "{error}");
        }
        for error in [DataFusionError::Internal("a bug".to_owned()), DataFusionError::External("unknown".into())] {
            let error = CompactError::from(error.context("summing"));
            assert!(matches!(error, CompactError::Sql(_)) && !error.is_retryable(), "{error}");
            assert_eq!(error.code(), None);
        }
    }
}
