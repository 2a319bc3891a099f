//! Errors as PostgreSQL's clients know them: one sentence, and a code of five letters that programs go by.

use std::fmt;
use std::sync::Arc;

use arrow::error::ArrowError;
use bytes::BytesMut;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError};
use datafusion_postgres::pgwire::messages::Message;
use datafusion_postgres::pgwire::messages::response::ErrorResponse;
use lake_schemas::{Lake, LakeError};

use crate::error::QueryError;
use crate::sees::Sees;
use crate::sql::{HIDDEN, UNSUPPORTED};

/// What is said instead of an error that names files, to those who see only some of what is in them.
const UNREADABLE: &str = "the lake could not be read for that; try again, or ask who keeps it";

/// What in an error tells of files.
const FILES: [&str; 4] = [".parquet", "_delta_log", "Object at location", "object_store"];

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
    /// How the lake is called, by which nobody else shall know it.
    lake: Arc<[String]>,
}

impl Telling {
    /// To somebody who sees so much of a lake.
    pub fn to(sees: &Sees, lake: &Lake) -> Self {
        let url = lake.url();
        let path = url.path().trim_end_matches('/').to_owned();
        let names = [url.as_str().trim_end_matches('/').to_owned(), path];
        // A folder is named as it is, too, and as what a link to it leads to.
        let folders =
            lake.folder().into_iter().flat_map(|folder| [Some(folder.to_owned()), folder.canonicalize().ok()]);
        let folders = folders.flatten().map(|folder| folder.display().to_string());
        let names = names.into_iter().chain(folders).filter(|name| !name.is_empty());
        Self { sees_all: *sees == Sees::All, lake: names.collect() }
    }

    /// An error, on the wire.
    pub fn of(&self, error: impl Into<QueryError>) -> PgWireError {
        let error = error.into();
        let (code, said) = (code_of(&error), one_line(&error.to_string()));
        let (code, said) = plainly(code, said);
        let names_files = || {
            let mut names = FILES.into_iter().chain(self.lake.iter().map(String::as_str));
            names.any(|name| said.contains(name)) || matches!(error, QueryError::Lake(LakeError::Store { .. }))
        };
        let said = if !self.sees_all && names_files() { UNREADABLE.to_owned() } else { said };
        PgWireError::UserError(Box::new(ErrorInfo::new("ERROR".to_owned(), code.to_owned(), said)))
    }
}

/// Letters of a message: the wire takes no more of an error than some thousand bytes.
const SAID_MAX: usize = 2_000;

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(SAID_MAX).collect()
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
