//! Errors as PostgreSQL's clients know them: one sentence, and a code of five letters that programs go by.

use std::fmt;

use arrow::error::ArrowError;
use bytes::BytesMut;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion_postgres::pgwire::api::DEFAULT_NAME;
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError};
use datafusion_postgres::pgwire::messages::Message;
use datafusion_postgres::pgwire::messages::response::ErrorResponse;
use lake_store::LakeError;
use query::sql::{HIDDEN, UNSUPPORTED};
use query::{QueryError, Sees};

/// What is said instead of an error that names files, to those who see only some of what is in them.
const UNREADABLE: &str = "the lake could not be read for that; try again, or ask who keeps it";

/// What in an error tells of files, whosever they are.
const FILES: [&str; 5] = [".parquet", "_delta_log", "Object at location", "object_store", "://"];

/// What PostgreSQL says of a query in the place of a value that has several.
pub(super) const MORE_THAN_ONE_ROW: &str = "more than one row returned by a subquery used as an expression";

/// What DataFusion says of the same, and of one that depends on the row it is asked for and that it cannot plan.
const SEVERAL_ROWS: &str = "Scalar subquery returned more than one row";
const NOT_PLANNED: [&str; 3] = ["Correlated scalar subquery", "expression ScalarSubquery", "Accessing outer reference"];

/// What is said of those that cannot be planned.
const WRITE_A_JOIN: &str =
    "a query in the place of a value that depends on the row it is asked for is found by = alone; write it as a join";

/// That something is not done here, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    code: &'static str,
    why: String,
}

impl Refused {
    /// It would change something.
    pub fn read_only(what: &str) -> Self {
        Self::not_here(what, "this server only reads; rows come from the jobs")
    }

    /// It is for a server that writes, and here there is another way to what it is for.
    pub fn not_here(what: &str, why: &str) -> Self {
        Self { code: "25006", why: format!("{what}: {why}") }
    }

    /// It is not what this server does.
    pub fn unsupported(why: &str) -> Self {
        Self { code: "0A000", why: why.to_owned() }
    }

    /// It is of another kind of value.
    pub fn value(why: &str) -> Self {
        Self { code: "22023", why: why.to_owned() }
    }

    /// It is written as no value of its kind is.
    pub fn malformed(why: &str) -> Self {
        Self { code: "22P02", why: why.to_owned() }
    }

    /// It is no SQL.
    pub fn syntax(why: &str) -> Self {
        Self { code: "42601", why: why.to_owned() }
    }

    /// It is not for everyone.
    pub fn hidden(what: &str) -> Self {
        Self { code: "42501", why: format!("{what} {HIDDEN}") }
    }

    /// It is no text.
    pub fn no_text() -> Self {
        Self::zero("invalid byte sequence for encoding \"UTF8\"")
    }

    /// It is a text with a byte in it that no text has here.
    pub fn zero(why: &str) -> Self {
        Self { code: "22021", why: why.to_owned() }
    }

    /// It is no time that can be told.
    pub fn no_time(why: &str) -> Self {
        Self { code: "22008", why: why.to_owned() }
    }

    /// It is a value that its type does not hold.
    pub fn out_of_range(why: &str) -> Self {
        Self { code: "22003", why: why.to_owned() }
    }

    /// It is no value in the binary format.
    pub fn not_binary(why: &str) -> Self {
        Self { code: "22P03", why: why.to_owned() }
    }

    /// There is a statement of that name.
    pub fn statement_exists(name: &str) -> Self {
        Self { code: "42P05", why: format!("prepared statement \"{name}\" already exists") }
    }

    /// There is a portal of that name.
    pub fn portal_exists(name: &str) -> Self {
        Self { code: "42P03", why: format!("portal \"{name}\" already exists") }
    }

    /// It is too much.
    pub fn too_much(why: &str) -> Self {
        Self { code: "54000", why: why.to_owned() }
    }

    /// There is no cursor of that name.
    pub fn no_cursor(name: &str) -> Self {
        Self { code: "34000", why: format!("cursor \"{name}\" does not exist") }
    }

    /// A statement before it has failed.
    pub fn aborted() -> Self {
        let why = "current transaction is aborted, commands ignored until end of transaction block";
        Self { code: "25P02", why: why.to_owned() }
    }

    /// Somebody else is at it.
    pub fn in_use(name: &str) -> Self {
        Self { code: "55006", why: format!("cursor \"{name}\" is being read; fetch the rest of it first") }
    }

    /// The answer has other columns than it had when the statement was prepared.
    pub fn altered() -> Self {
        Self { code: "0A000", why: "cached plan must not change result type".to_owned() }
    }

    /// It took too long.
    pub fn too_long() -> Self {
        Self { code: "57014", why: "canceling statement due to statement timeout".to_owned() }
    }

    /// The client does not keep to the protocol.
    pub fn protocol(why: &str) -> Self {
        Self { code: "08P01", why: why.to_owned() }
    }

    /// What a client says is no message, and nothing after it can be read.
    pub fn no_message(why: &str) -> PgWireError {
        fatal("08P01", why)
    }

    /// The server stops.
    pub fn stopping() -> PgWireError {
        fatal("57P01", "the server stops")
    }

    /// Something gave up on a message or a value that it should have refused.
    pub fn bug() -> PgWireError {
        fatal("XX000", "what was asked came upon a bug, which ended the session; the others of the key go on")
    }

    /// What a client says to log in proves nothing.
    pub fn no_proof() -> PgWireError {
        fatal("28P01", "the login does not follow SCRAM-SHA-256; leave channel binding out")
    }

    /// Others would read the key on its way.
    pub fn in_clear_text() -> PgWireError {
        let how = "connect with TLS (sslmode=require), or with a key made by `clicklake key`";
        fatal("28000", &format!("a key would cross the network in clear text; {how}"))
    }

    /// The key is none any more.
    pub fn revoked() -> PgWireError {
        fatal("57P01", "the key is no longer one of this server, or sees something else by now; connect again")
    }

    /// The key is none.
    pub fn no_key() -> PgWireError {
        fatal("28P01", "the password is no key of this server")
    }

    /// The same, where only keys with a verifier can be shown: whether it is one without is not known.
    pub fn no_proved_key() -> PgWireError {
        fatal(
            "28P01",
            "the password is no key with a verifier; others are taken within TLS (sslmode=require) or from 127.0.0.1",
        )
    }

    /// There is no place for one more connection.
    pub fn too_many_connections() -> PgWireError {
        fatal("53300", "there are too many connections; try again later")
    }

    /// There is no place for one more connection of a key.
    pub fn too_many_of_key() -> PgWireError {
        fatal("53300", "this key has too many connections; close some, or try again later")
    }

    /// There is no place for one more process.
    pub fn too_many_keys() -> PgWireError {
        fatal("53300", "too many keys ask at once; try again later")
    }

    /// No process could be started, or it did not begin in time.
    pub fn not_begun() -> PgWireError {
        fatal("57P03", "the process that answers this key cannot be started now; try again later")
    }

    /// The process that answered is gone: of this code, and why.
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
        Self::UserError(Box::new(ErrorInfo::new("ERROR".to_owned(), refused.code.to_owned(), one_line(&refused.why))))
    }
}

fn fatal(code: &str, why: &str) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new("FATAL".to_owned(), code.to_owned(), why.to_owned())))
}

/// An error as it is told. The library has a name of its own for what has none.
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

/// What a client is told last, as it is on the wire.
pub(super) fn on_the_wire(error: PgWireError) -> BytesMut {
    let mut bytes = BytesMut::new();
    match ErrorResponse::from(ErrorInfo::from(error)).encode(&mut bytes) {
        Ok(()) => bytes,
        Err(_) => BytesMut::new(),
    }
}

/// Errors of statements, as they are told to somebody who sees so much.
#[derive(Clone)]
pub(super) struct Telling {
    sees_all: bool,
}

impl Telling {
    /// To somebody who sees so much.
    pub fn to(sees: &Sees) -> Self {
        Self { sees_all: *sees == Sees::All }
    }

    /// An error, on the wire.
    pub fn of(&self, error: impl Into<QueryError>) -> PgWireError {
        let error = error.into();
        let (code, said) = plainly(code_of(&error), one_line(&error.to_string()));
        let is_told = self.sees_all
            || match may_name_files(&error) {
                Files::Never => true,
                Files::Perhaps => !looks_like_files(&said),
                Files::Always => false,
            };
        let said = if is_told { said } else { UNREADABLE.to_owned() };
        PgWireError::UserError(Box::new(ErrorInfo::new("ERROR".to_owned(), code.to_owned(), said)))
    }
}

/// Whether errors name files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Files {
    Never,
    Perhaps,
    Always,
}

/// Whether errors of a kind name files that are not named in the statement. What is said of texts of a statement must
/// not depend on where the lake is: who guesses would learn it.
fn may_name_files(error: &QueryError) -> Files {
    match error {
        QueryError::Lake(LakeError::Store { .. }) => Files::Always,
        QueryError::Lake(_) => Files::Perhaps,
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

/// Whether a text looks as if it named files, be they there or not.
fn looks_like_files(said: &str) -> bool {
    let is_of_name = |letter: char| letter.is_alphanumeric() || matches!(letter, '.' | '_' | '-');
    let is_path = |(at, _): (usize, &str)| {
        let (before, after) = (said[..at].chars().next_back(), said[at + 1..].chars().next());
        !before.is_some_and(is_of_name) && after.is_some_and(is_of_name)
    };
    FILES.iter().any(|name| said.contains(name)) || said.match_indices('/').any(is_path)
}

/// Letters of a message: the wire takes no more of an error than some thousand bytes.
const SAID_MAX: usize = 2_000;

/// A text in one line, as no terminal takes it for more than a text.
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

/// An error of queries in the place of a value, by its own code, and in words that say what to do.
fn plainly(code: &'static str, said: String) -> (&'static str, String) {
    let has = |what: &str| said.contains(what);
    if code == "22000" && (has(SEVERAL_ROWS) || has(MORE_THAN_ONE_ROW)) {
        return ("21000", MORE_THAN_ONE_ROW.to_owned());
    }
    // Names and texts of a statement stand in errors of other codes.
    let is_no_plan = matches!(code, "42000" | "0A000") && NOT_PLANNED.iter().any(|what| has(what));
    if is_no_plan { ("0A000", WRITE_A_JOIN.to_owned()) } else { (code, said) }
}

/// What programs know an error by.
fn code_of(error: &QueryError) -> &'static str {
    match error {
        QueryError::Lake(LakeError::Store { .. }) => "58030",
        QueryError::Lake(LakeError::Altered(_)) => "55000",
        QueryError::Lake(LakeError::Refused(why)) if why.ends_with(HIDDEN) => "42501",
        QueryError::Lake(LakeError::Refused(why)) if why.contains(UNSUPPORTED) => "0A000",
        QueryError::Lake(LakeError::Refused(_)) => "22023",
        QueryError::Unanswerable(_) => "22023",
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

    /// What somebody who sees a campaign is told of an error.
    fn told_of(error: impl Into<QueryError>) -> String {
        told(Telling::to(&Sees::Campaigns(BTreeSet::from(["spring".to_owned()]))).of(error)).message
    }

    fn cast(text: &str) -> DataFusionError {
        ArrowError::CastError(format!("Cannot cast string '{text}' to value of Int32 type")).into()
    }

    #[test]
    fn who_guesses_where_the_lake_is_does_not_learn_it() {
        for text in ["/lake", "/nowhere", "s3://lake", "a.parquet", "_delta_log", "object_store"] {
            assert!(told_of(cast(text)).contains(text), "{text}");
            assert!(told_of(DataFusionError::Plan(format!("no function {text}"))).contains(text), "{text}");
            // An error that may name files itself is not told, whatever the text.
            assert_eq!(told_of(LakeError::Refused(format!("series: '{text}' is no time"))), UNREADABLE, "{text}");
            assert_eq!(told_of(DataFusionError::Execution(format!("reading '{text}'"))), UNREADABLE, "{text}");
        }
        assert_eq!(told_of(LakeError::store("clicks: reading its log", "no route")), UNREADABLE);
        assert_eq!(told_of(DataFusionError::IoError(std::io::Error::other("disk"))), UNREADABLE);
        let harmless = ["clicks has no version 9", "1 / 0", "at 50 km/h", "in 2026/03/07", "a/b"];
        for said in harmless {
            assert_eq!(told_of(LakeError::Refused(said.to_owned())), said);
        }
        let all = Telling::to(&Sees::All).of(LakeError::store("clicks: reading its log", "no route"));
        assert_eq!(told(all).message, "clicks: reading its log");
    }

    #[test]
    fn an_error_is_one_line_that_no_terminal_takes_for_more() {
        assert_eq!(told_of(cast("a\u{1b}]0;b\u{7}\u{9b}c")), told_of(cast("a\\u{1b}]0;b\\u{7}\\u{9b}c")));
        assert_eq!(one_line("a\n b\tc\u{0}\u{e9}"), "a b c\\u{0}\u{e9}");
        assert_eq!(one_line(&"\u{1}".repeat(SAID_MAX)).len(), SAID_MAX);
    }

    #[test]
    fn what_has_no_name_is_told_without_one() {
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
