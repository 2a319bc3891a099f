//! Errors of questions: why a question has no answer.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use lake_schemas::{Code, Invalid, Refusal};
use lake_store::LakeError;

use crate::causes::causes;
use crate::damaged;
use crate::gone::Gone;

/// Reason why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The lake cannot be read, or refuses the question.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// An object that it reads is not there. It was cleaned up, unless it is lost.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// A sum does not fit into its column.
    #[error(transparent)]
    Overflow(#[from] Overflow),
    /// A question of totals has no answer in this lake: why, and what to ask instead.
    #[error("{0}")]
    Unanswerable(Refusal),
    /// The statement is wrong, or its execution failed.
    #[error("{}", text(.0))]
    Sql(DataFusionError),
}

/// A sum that does not fit into its column: which one, whose, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Overflow(pub String);

impl QueryError {
    /// Returns the code of the refusal; `None` if it is none.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Lake(error) => error.code(),
            Self::Gone(_) => Some(Gone::CODE),
            Self::Overflow(_) => Some(Code::SumOverflow),
            Self::Unanswerable(refusal) => Some(refusal.code),
            Self::Sql(error) => match error.find_root() {
                DataFusionError::ResourcesExhausted(_) => Some(Code::MemoryLimit),
                _ => None,
            },
        }
    }

    /// Returns whether the reason is that nobody reads the output any more.
    pub fn is_unread(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        causes(error).any(|cause| cause.downcast_ref().is_some_and(|io: &io::Error| io.kind() == ErrorKind::BrokenPipe))
    }
}

impl From<Invalid> for QueryError {
    fn from(error: Invalid) -> Self {
        Self::Lake(error.into())
    }
}

impl From<ArrowError> for QueryError {
    fn from(error: ArrowError) -> Self {
        DataFusionError::from(error).into()
    }
}

impl From<io::Error> for QueryError {
    fn from(error: io::Error) -> Self {
        DataFusionError::from(error).into()
    }
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        // An error of the lake or of a sum, deep inside of DataFusion's, is reported as it is.
        if let Some(overflow) = causes(&error).find_map(|cause| cause.downcast_ref::<Overflow>()) {
            return Self::Overflow(overflow.clone());
        }
        match causes(&error).find_map(|cause| cause.downcast_ref::<Self>()) {
            Some(Self::Unanswerable(refusal)) => return Self::Unanswerable(refusal.clone()),
            Some(Self::Gone(gone)) => return Self::Gone(gone.clone()),
            _ => {}
        }
        match lake_error(error) {
            Ok(said) => Self::Lake(said),
            Err(error) => match Gone::cause_of(&error) {
                Some(gone) => Self::Gone(gone),
                None => damaged::refusal(&error).map_or(Self::Sql(error), Self::Lake),
            },
        }
    }
}

/// Reason why several callers who waited for the same have no answer.
#[derive(Clone, Debug)]
pub(crate) enum SharedError {
    Lake(Arc<LakeError>),
    Gone(Gone),
    Overflow(Overflow),
    Unanswerable(Refusal),
    Sql(Arc<DataFusionError>),
}

impl From<QueryError> for SharedError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Lake(error) => Self::Lake(Arc::new(error)),
            QueryError::Gone(gone) => Self::Gone(gone),
            QueryError::Overflow(overflow) => Self::Overflow(overflow),
            QueryError::Unanswerable(refusal) => Self::Unanswerable(refusal),
            QueryError::Sql(error) => Self::Sql(Arc::new(error)),
        }
    }
}

impl From<SharedError> for QueryError {
    fn from(error: SharedError) -> Self {
        match error {
            SharedError::Lake(error) => Self::Lake(told_again(&error)),
            SharedError::Gone(gone) => Self::Gone(gone),
            SharedError::Overflow(overflow) => Self::Overflow(overflow),
            SharedError::Unanswerable(refusal) => Self::Unanswerable(refusal),
            SharedError::Sql(error) => Self::Sql(DataFusionError::Shared(error)),
        }
    }
}

/// Copies an error, with its causes as text.
fn told_again(error: &LakeError) -> LakeError {
    match error {
        LakeError::Refused(refusal) => LakeError::Refused(refusal.clone()),
        LakeError::Altered(why) => LakeError::Altered(why.clone()),
        LakeError::Store { what, source } => {
            let said: Vec<_> = causes(source.as_ref()).map(ToString::to_string).collect();
            LakeError::Store { what: what.clone(), source: said.join(": ").into() }
        }
    }
}

/// Returns the lake's error that made a statement fail, or else the error itself.
fn lake_error(error: DataFusionError) -> Result<LakeError, DataFusionError> {
    match error {
        DataFusionError::External(error) => error.downcast().map(|error| *error).map_err(DataFusionError::External),
        DataFusionError::Context(what, error) => {
            lake_error(*error).map_err(|error| DataFusionError::Context(what, Box::new(error)))
        }
        DataFusionError::Diagnostic(what, error) => {
            lake_error(*error).map_err(|error| DataFusionError::Diagnostic(what, Box::new(error)))
        }
        error => {
            let said = causes(&error).find_map(|cause| cause.downcast_ref::<LakeError>()).map(told_again);
            said.ok_or(error)
        }
    }
}

/// Texts before and behind DataFusion's messages that are for its developers only.
const BEFORE: [&str; 5] = [
    "Error during planning: ",
    "Execution error: ",
    "Internal error: ",
    "Schema error: ",
    "This feature is not implemented: ",
];
const BEHIND: [&str; 2] = [".\nThis issue was likely caused by a bug", "\n\nbacktrace: "];

/// Returns DataFusion's message without the parts for its developers.
fn text(error: &DataFusionError) -> String {
    let root = error.find_root();
    let said = match root {
        DataFusionError::SQL(error, _) => return error.to_string(),
        DataFusionError::ArrowError(error, _) => of_arrow(error),
        root => root.strip_backtrace(),
    };
    let said = BEFORE.iter().find_map(|before| said.strip_prefix(before)).unwrap_or(&said);
    let said = BEHIND.iter().find_map(|behind| said.split_once(behind)).map_or(said, |(said, _)| said);
    said.trim_end().to_owned()
}

/// Returns the message of an error of Arrow's, without its kind.
fn of_arrow(error: &ArrowError) -> String {
    let said = error.to_string();
    match said.split_once(" error: ") {
        Some((kind, said)) if kind.split(' ').count() <= 2 => said.to_owned(),
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn all_who_waited_for_the_same_are_told_the_same() {
        let said = |error: QueryError| {
            let is_retryable = matches!(&error, QueryError::Lake(error) if error.is_retryable());
            let is_of_memory = matches!(&error, QueryError::Sql(error)
                if matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)));
            let cause = error.source().map(ToString::to_string);
            let cause = cause.is_some_and(|cause| cause.contains("no route"));
            (error.to_string(), error.code(), cause, is_retryable, is_of_memory)
        };
        let errors: [fn() -> QueryError; 7] = [
            || LakeError::Refused(Code::VersionUnknown.because("clicks_minute has no version 9".to_owned())).into(),
            || LakeError::Altered("clicks_minute is another table now".to_owned()).into(),
            || LakeError::store("clicks_minute: reading its log", "no route").into(),
            || Gone { path: "clicks_minute/a.parquet".to_owned() }.into(),
            || Overflow("the clicks of ad a".to_owned()).into(),
            || QueryError::Unanswerable(Code::DimensionNotCounted.because("it counts by ad_id")),
            || DataFusionError::ResourcesExhausted("64 bytes".to_owned()).into(),
        ];
        for error in errors {
            let shared = SharedError::from(error());
            for again in [shared.clone(), shared] {
                assert_eq!(said(again.into()), said(error()));
            }
        }
    }

    #[test]
    fn a_refusal_deep_inside_of_a_statement_keeps_its_code() {
        let deep = |error: Box<dyn Error + Send + Sync>| {
            let error = ArrowError::ExternalError(Box::new(DataFusionError::External(error)));
            QueryError::from(DataFusionError::from(error).context("scanning"))
        };
        let refused = || LakeError::Refused(Code::FileForeign.because("clicks: a.parquet is not ours"));
        let unanswerable = || QueryError::Unanswerable(Code::QuestionImpossible.because("ask for less"));
        assert_eq!(deep(Box::new(refused())).code(), Some(Code::FileForeign));
        let error = deep(Box::new(unanswerable()));
        assert_eq!((error.code(), error.to_string().as_str()), (Some(Code::QuestionImpossible), "ask for less"));
        let gone = || QueryError::Gone(Gone { path: "clicks_minute/a.parquet".to_owned() });
        assert!(matches!(deep(Box::new(gone())), QueryError::Gone(gone) if gone.path == "clicks_minute/a.parquet"));
        assert_eq!(deep(Box::new(LakeError::store("clicks: reading", "no route"))).code(), None);
        assert_eq!(QueryError::from(DataFusionError::Plan("no such column".to_owned())).code(), None);
    }
}
