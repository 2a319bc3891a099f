//! Errors as PostgreSQL's clients know them: one sentence, and a five-character code that programs go by.

use std::fmt;

use arrow::error::ArrowError;
use bytes::BytesMut;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion_postgres::pgwire::api::DEFAULT_NAME;
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError};
use datafusion_postgres::pgwire::messages::Message;
use datafusion_postgres::pgwire::messages::response::ErrorResponse;
use lake_schemas::Code;
use lake_store::LakeError;
use query::sql::HIDDEN;
use query::{QueryError, RowAccess};

/// Message in place of an error that names files, for clients that may read only some of their rows.
const UNREADABLE: &str = "the lake could not be read for that; try again, or ask who keeps it";

/// Marks of a file name in an error, whosever the file is.
const FILES: [&str; 5] = [".parquet", "_delta_log", "Object at location", "object_store", "://"];

/// PostgreSQL's message for a scalar subquery that has several rows.
pub(super) const MORE_THAN_ONE_ROW: &str = "more than one row returned by a subquery used as an expression";

/// DataFusion's message for a scalar subquery that returns several rows.
const SEVERAL_ROWS: &str = "Scalar subquery returned more than one row";

/// DataFusion's messages for a correlated subquery that it cannot plan.
const NOT_PLANNED: [&str; 3] = ["Correlated scalar subquery", "expression ScalarSubquery", "Accessing outer reference"];

/// Message for subqueries that cannot be planned.
const WRITE_A_JOIN: &str =
    "a query in the place of a value that depends on the row it is asked for is found by = alone; write it as a join";

/// PostgreSQL's message for a prepared statement whose columns have changed since.
const ALTERED: &str = "cached plan must not change result type";

/// Reason why something is refused, with its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    code: &'static str,
    why: String,
}

impl Refused {
    /// Refuses a statement that would change something.
    pub fn read_only(what: &str) -> Self {
        Self::not_here(what, "this server only reads; rows come from the jobs")
    }

    /// Refuses a statement for a server that writes; `why` names another way to the same end.
    pub fn not_here(what: &str, why: &str) -> Self {
        Self { code: "25006", why: format!("{what}: {why}") }
    }

    /// Refuses something that this server does not do.
    pub fn unsupported(why: &str) -> Self {
        Self { code: "0A000", why: why.to_owned() }
    }

    /// Refuses a value of the wrong kind.
    pub fn value(why: &str) -> Self {
        Self { code: "22023", why: why.to_owned() }
    }

    /// Refuses a text that is not how a value of its type is written.
    pub fn malformed(why: &str) -> Self {
        Self { code: "22P02", why: why.to_owned() }
    }

    /// Refuses a text that is no SQL.
    pub fn syntax(why: &str) -> Self {
        Self { code: "42601", why: why.to_owned() }
    }

    /// Refuses something that this key may not see.
    pub fn hidden(what: &str) -> Self {
        Self { code: "42501", why: format!("{what} {HIDDEN}") }
    }

    /// Refuses bytes that are not UTF-8.
    pub fn no_text() -> Self {
        Self::zero("invalid byte sequence for encoding \"UTF8\"")
    }

    /// Refuses a text with a zero byte.
    pub fn zero(why: &str) -> Self {
        Self { code: "22021", why: why.to_owned() }
    }

    /// Refuses a time out of range.
    pub fn no_time(why: &str) -> Self {
        Self { code: "22008", why: why.to_owned() }
    }

    /// Refuses a value that its type does not hold.
    pub fn out_of_range(why: &str) -> Self {
        Self { code: "22003", why: why.to_owned() }
    }

    /// Refuses bytes that are no value in the binary format.
    pub fn not_binary(why: &str) -> Self {
        Self { code: "22P03", why: why.to_owned() }
    }

    /// Refuses a second prepared statement of the same name.
    pub fn statement_exists(name: &str) -> Self {
        Self { code: "42P05", why: format!("prepared statement \"{name}\" already exists") }
    }

    /// Refuses a second portal of the same name.
    pub fn portal_exists(name: &str) -> Self {
        Self { code: "42P03", why: format!("portal \"{name}\" already exists") }
    }

    /// Refuses something that exceeds a limit.
    pub fn too_much(why: &str) -> Self {
        Self { code: "54000", why: why.to_owned() }
    }

    /// Refuses to use a cursor that does not exist.
    pub fn no_cursor(name: &str) -> Self {
        Self { code: "34000", why: format!("cursor \"{name}\" does not exist") }
    }

    /// Refuses a statement after one that failed in the same transaction.
    pub fn aborted() -> Self {
        let why = "current transaction is aborted, commands ignored until end of transaction block";
        Self { code: "25P02", why: why.to_owned() }
    }

    /// Refuses to use a cursor that is in use.
    pub fn in_use(name: &str) -> Self {
        Self { code: "55006", why: format!("cursor \"{name}\" is being read; fetch the rest of it first") }
    }

    /// Refuses a prepared statement whose columns have changed since.
    pub fn altered() -> Self {
        Self { code: "0A000", why: ALTERED.to_owned() }
    }

    /// Ends a statement that took too long.
    pub fn too_long() -> Self {
        Self { code: "57014", why: "canceling statement due to statement timeout".to_owned() }
    }

    /// Refuses a message that breaks the protocol.
    pub fn protocol(why: &str) -> Self {
        Self { code: "08P01", why: why.to_owned() }
    }

    /// Ends a connection whose bytes are no message: nothing after them can be read.
    pub fn no_message(why: &str) -> PgWireError {
        fatal("08P01", why)
    }

    /// Ends a session because the server stops.
    pub fn stopping() -> PgWireError {
        fatal("57P01", "the server stops")
    }

    /// Ends a session after a panic on a message or a value that should have been refused.
    pub fn bug() -> PgWireError {
        fatal("XX000", "what was asked came upon a bug, which ended the session; the others of the key go on")
    }

    /// Refuses a login that does not follow SCRAM.
    pub fn no_proof() -> PgWireError {
        fatal("28P01", "the login does not follow SCRAM-SHA-256; leave channel binding out")
    }

    /// Refuses a key in clear text, which others would read on its way.
    pub fn in_clear_text() -> PgWireError {
        let how = "connect with TLS (sslmode=require), or with a key made by `clicklake key`";
        fatal("28000", &format!("a key would cross the network in clear text; {how}"))
    }

    /// Ends a session whose key was removed or changed.
    pub fn revoked() -> PgWireError {
        fatal("57P01", "the key is no longer one of this server, or sees something else by now; connect again")
    }

    /// Refuses a key that this server does not have.
    pub fn no_key() -> PgWireError {
        fatal("28P01", "the password is no key of this server")
    }

    /// Refuses a key where only keys with a verifier can be shown: it may exist without one.
    pub fn no_proved_key() -> PgWireError {
        fatal(
            "28P01",
            "the password is no key with a verifier; others are taken within TLS (sslmode=require) or from 127.0.0.1",
        )
    }

    /// Refuses a connection beyond the limit.
    pub fn too_many_connections() -> PgWireError {
        fatal("53300", "there are too many connections; try again later")
    }

    /// Refuses a connection beyond the limit of its key.
    pub fn too_many_of_key() -> PgWireError {
        fatal("53300", "this key has too many connections; close some, or try again later")
    }

    /// Refuses a key for which no more process may be started.
    pub fn too_many_keys() -> PgWireError {
        fatal("53300", "too many keys ask at once; try again later")
    }

    /// Refuses a session whose process could not be started, or did not begin in time.
    pub fn not_begun() -> PgWireError {
        fatal("57P03", "the process that answers this key cannot be started now; try again later")
    }

    /// Returns the code of `docs/errors.md` for it; `None` if it is of the protocol alone.
    fn ours(&self) -> Option<Code> {
        match self.code {
            "0A000" if self.why == ALTERED => Some(Code::TableAltered),
            "0A000" => Some(Code::StatementUnsupported),
            "25006" => Some(Code::ReadOnly),
            "42501" => Some(Code::Hidden),
            _ => None,
        }
    }

    /// Ends a session whose process is gone, with a code and the reason.
    pub fn lost(code: &str, why: &str) -> PgWireError {
        fatal(code, why)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl From<Refused> for PgWireError {
    fn from(refused: Refused) -> Self {
        let ours = refused.ours();
        refusal(refused.code, one_line(&refused.why), ours)
    }
}

/// Builds an error that ends a statement. The code of `docs/errors.md` is its detail, which clients show below it.
fn refusal(code: &str, said: String, ours: Option<Code>) -> PgWireError {
    let mut info = ErrorInfo::new("ERROR".to_owned(), code.to_owned(), said);
    info.detail = ours.map(|code| code.to_string());
    PgWireError::UserError(Box::new(info))
}

fn fatal(code: &str, why: &str) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new("FATAL".to_owned(), code.to_owned(), why.to_owned())))
}

/// Returns an error as the client is told it, with PostgreSQL's words where the library has a placeholder for an empty
/// name.
pub(super) fn told(error: PgWireError) -> ErrorInfo {
    let error: PgWireError = match error {
        PgWireError::StatementNotFound(name) if name == DEFAULT_NAME => {
            Refused { code: "26000", why: "unnamed prepared statement does not exist".to_owned() }.into()
        }
        PgWireError::PortalNotFound(name) => {
            let name = if name == DEFAULT_NAME { "" } else { name.as_str() };
            Refused { code: "34000", why: format!("portal \"{name}\" does not exist") }.into()
        }
        error => error,
    };
    let mut told = ErrorInfo::from(error);
    told.message = one_line(&told.message);
    told
}

/// Encodes the last error of a connection for the wire.
pub(super) fn on_the_wire(error: PgWireError) -> BytesMut {
    let mut bytes = BytesMut::new();
    match ErrorResponse::from(ErrorInfo::from(error)).encode(&mut bytes) {
        Ok(()) => bytes,
        Err(_) => BytesMut::new(),
    }
}

/// Reports errors of statements to a client, without file names unless it may read everything.
#[derive(Clone)]
pub(super) struct Telling {
    sees_all: bool,
}

impl Telling {
    /// Creates the reports for a client with this row-level access.
    pub fn to(access: &RowAccess) -> Self {
        Self { sees_all: *access == RowAccess::All }
    }

    /// Returns an error as this client may see it.
    pub fn of(&self, error: impl Into<QueryError>) -> PgWireError {
        let error = error.into();
        let (code, said) = plainly(code_of(&error), one_line(&error.to_string()));
        let is_told = self.sees_all
            || match may_name_files(&error) {
                Files::Never => true,
                Files::Perhaps => !looks_like_files(&said),
                Files::Always => false,
            };
        let said = match said.split_once("; ") {
            // Which versions there are tells how often others have clicks.
            Some((why, _)) if error.code() == Some(Code::VersionUnknown) && !self.sees_all => why.to_owned(),
            _ => said,
        };
        if is_told { refusal(code, said, error.code()) } else { refusal(code, UNREADABLE.to_owned(), None) }
    }
}

/// Likelihood that an error names files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Files {
    Never,
    Perhaps,
    Always,
}

/// Returns whether an error may name files that the statement does not name. The answer must not depend on where the
/// lake is: a client that guesses paths in its statement would learn it.
fn may_name_files(error: &QueryError) -> Files {
    match error {
        QueryError::Lake(LakeError::Store { .. }) => Files::Always,
        QueryError::Lake(_) | QueryError::Gone(_) => Files::Perhaps,
        QueryError::Overflow(_) | QueryError::Unanswerable(_) => Files::Never,
        QueryError::Sql(error) => match error.find_root() {
            DataFusionError::SQL(..)
            | DataFusionError::SchemaError(..)
            | DataFusionError::Plan(_)
            | DataFusionError::NotImplemented(_)
            | DataFusionError::ResourcesExhausted(_) => Files::Never,
            DataFusionError::ArrowError(error, _) => match error.as_ref() {
                ArrowError::IoError(..) | ArrowError::ParquetError(_) => Files::Always,
                ArrowError::ExternalError(_) => Files::Perhaps,
                _ => Files::Never,
            },
            DataFusionError::ObjectStore(_) | DataFusionError::ParquetError(_) | DataFusionError::IoError(_) => {
                Files::Always
            }
            _ => Files::Perhaps,
        },
    }
}

/// Returns whether a text looks as if it named files, whether they exist or not.
fn looks_like_files(said: &str) -> bool {
    let is_of_name = |letter: char| letter.is_alphanumeric() || matches!(letter, '.' | '_' | '-');
    let is_path = |(at, _): (usize, &str)| {
        let (before, after) = (said[..at].chars().next_back(), said[at + 1..].chars().next());
        !before.is_some_and(is_of_name) && after.is_some_and(is_of_name)
    };
    FILES.iter().any(|name| said.contains(name)) || said.match_indices('/').any(is_path)
}

/// Maximum length of a message, in characters: the wire takes no more of an error than some thousand bytes.
const SAID_MAX: usize = 2_000;

/// Returns a text in one line, with control characters escaped for terminals.
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let escaped = line.chars().flat_map(|letter| {
        let (escape, plain) = match letter.is_control() {
            true => (Some(letter.escape_default()), None),
            false => (None, Some(letter)),
        };
        escape.into_iter().flatten().chain(plain)
    });
    escaped.take(SAID_MAX).collect()
}

/// Rewords errors of scalar subqueries, with PostgreSQL's code and with what to do.
fn plainly(code: &'static str, said: String) -> (&'static str, String) {
    let has = |what: &str| said.contains(what);
    if code == "22000" && (has(SEVERAL_ROWS) || has(MORE_THAN_ONE_ROW)) {
        return ("21000", MORE_THAN_ONE_ROW.to_owned());
    }
    // Errors of other codes may quote names and texts of the statement.
    let is_no_plan = matches!(code, "42000" | "0A000") && NOT_PLANNED.iter().any(|what| has(what));
    if is_no_plan { ("0A000", WRITE_A_JOIN.to_owned()) } else { (code, said) }
}

/// Returns the code by which programs know an error.
fn code_of(error: &QueryError) -> &'static str {
    match error {
        QueryError::Lake(LakeError::Store { .. }) => "58030",
        QueryError::Lake(LakeError::Altered(_)) => "55000",
        QueryError::Lake(LakeError::Refused(refusal)) => match refusal.code {
            Code::Hidden => "42501",
            Code::StatementUnsupported => "0A000",
            _ => "22023",
        },
        QueryError::Unanswerable(_) | QueryError::Gone(_) => "22023",
        QueryError::Overflow(_) => "22003",
        QueryError::Sql(error) => match error.find_root() {
            DataFusionError::SQL(..) => "42601",
            DataFusionError::SchemaError(error, _) => match error.as_ref() {
                SchemaError::FieldNotFound { .. } => "42703",
                SchemaError::AmbiguousReference { .. } => "42702",
                _ => "42701",
            },
            DataFusionError::Plan(why) if why.contains("not found") && why.starts_with("table") => "42P01",
            DataFusionError::Plan(why) if why.contains("Invalid function") => "42883",
            DataFusionError::Plan(_) => "42000",
            DataFusionError::NotImplemented(_) => "0A000",
            DataFusionError::ResourcesExhausted(_) => "53200",
            DataFusionError::ArrowError(error, _) => match error.as_ref() {
                ArrowError::DivideByZero => "22012",
                ArrowError::CastError(_) | ArrowError::ParseError(_) => "22P02",
                ArrowError::ArithmeticOverflow(_) => "22003",
                _ => "22000",
            },
            DataFusionError::Execution(_) => "22000",
            DataFusionError::ObjectStore(_) | DataFusionError::ParquetError(_) | DataFusionError::IoError(_) => "58030",
            _ => "XX000",
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Returns how a client with one campaign is told an error.
    fn told_of(error: impl Into<QueryError>) -> String {
        told(Telling::to(&RowAccess::Campaigns(BTreeSet::from(["spring".to_owned()]))).of(error)).message
    }

    fn cast(text: &str) -> DataFusionError {
        ArrowError::CastError(format!("Cannot cast string '{text}' to value of Int32 type")).into()
    }

    #[test]
    fn who_guesses_where_the_lake_is_does_not_learn_it() {
        for text in ["/lake", "/nowhere", "s3://lake", "a.parquet", "_delta_log", "object_store"] {
            assert!(told_of(cast(text)).contains(text), "{text}");
            assert!(told_of(DataFusionError::Plan(format!("no function {text}"))).contains(text), "{text}");
            // An error that may itself name files is hidden, whatever its text.
            assert_eq!(
                told_of(LakeError::Refused(Code::ArgumentImpossible.because(format!("series: '{text}' is no time")))),
                UNREADABLE,
                "{text}"
            );
            assert_eq!(told_of(DataFusionError::Execution(format!("reading '{text}'"))), UNREADABLE, "{text}");
        }
        assert_eq!(told_of(LakeError::store("clicks: reading its log", "no route")), UNREADABLE);
        assert_eq!(told_of(DataFusionError::IoError(std::io::Error::other("disk"))), UNREADABLE);
        for said in ["clicks has no version 9", "1 / 0", "at 50 km/h", "in 2026/03/07", "a/b"] {
            let unknown = || LakeError::Refused(Code::VersionUnknown.because(format!("{said}; its newest is 3")));
            assert_eq!(told_of(unknown()), said);
            assert!(told(Telling::to(&RowAccess::All).of(unknown())).message.ends_with("; its newest is 3"));
        }
        let all = Telling::to(&RowAccess::All).of(LakeError::store("clicks: reading its log", "no route"));
        assert_eq!(told(all).message, "clicks: reading its log");
    }

    #[test]
    fn a_refusal_has_a_code_of_ours_beside_that_of_postgresql_unless_it_may_name_files() {
        let told_to = |access: &RowAccess, code: Code, why: &str| {
            let told = told(Telling::to(access).of(LakeError::Refused(code.because(why))));
            (told.code, told.detail)
        };
        let some = RowAccess::Campaigns(BTreeSet::new());
        let known = |code: &str, ours: &str| (code.to_owned(), Some(ours.to_owned()));
        assert_eq!(told_to(&some, Code::Hidden, "changes()"), known("42501", "CL0046"));
        assert_eq!(told_to(&some, Code::StatementUnsupported, "WITH ROLLUP"), known("0A000", "CL0040"));
        assert_eq!(told_to(&some, Code::VersionUnknown, "no version 9"), known("22023", "CL0002"));
        assert_eq!(told_to(&some, Code::FileDamaged, "reading a.parquet"), ("22023".to_owned(), None));
        assert_eq!(told_to(&RowAccess::All, Code::FileDamaged, "reading a.parquet"), known("22023", "CL0012"));
        assert_eq!(told(Refused::hidden("EXPLAIN").into()).detail.as_deref(), Some("CL0046"));
        assert_eq!(told(Refused::altered().into()).detail.as_deref(), Some("CL0004"));
        assert_eq!(told(Refused::syntax("no SQL").into()).detail, None);
    }

    #[test]
    fn an_error_is_one_line_that_no_terminal_takes_for_more() {
        assert_eq!(told_of(cast("a\u{1b}]0;b\u{7}\u{9b}c")), told_of(cast("a\\u{1b}]0;b\\u{7}\\u{9b}c")));
        assert_eq!(one_line("a\n b\tc\u{0}\u{e9}"), "a b c\\u{0}\u{e9}");
        assert_eq!(one_line(&"\u{1}".repeat(SAID_MAX)).len(), SAID_MAX);
    }

    #[test]
    fn errors_of_unnamed_statements_and_portals_name_none() {
        let said = |error| {
            let told = told(error);
            (told.code, told.message)
        };
        let expected = ("26000".to_owned(), "unnamed prepared statement does not exist".to_owned());
        assert_eq!(said(PgWireError::StatementNotFound(DEFAULT_NAME.to_owned())), expected);
        let expected = ("34000".to_owned(), "portal \"\" does not exist".to_owned());
        assert_eq!(said(PgWireError::PortalNotFound(DEFAULT_NAME.to_owned())), expected);
    }
}
