//! Reads statements: queries, and the few others that clients cannot do without. Every other statement is refused here
//! by its kind, whatever its text.

use std::time::Duration;

use datafusion::sql::sqlparser::ast::{
    CloseCursor, CopySource, CopyTarget, Declare, DeclareType, DiscardObject, FetchDirection, Ident, Reset, Set,
    SetExpr, SetSessionAuthorizationParam, SetSessionAuthorizationParamKind, Statement, Value,
};
use query::RowAccess;
use query::sql::statements;

use super::copying::Copying;
use super::errors::Refused;
use super::limits::{self, Allowance};
use super::parsed::{adapted, parse, undeferred};
use super::settings::{self, NO_ROLES, Setting};

/// Time limit of a statement, its rows included: a page does not wait longer, and the jobs on the same machine need
/// their turn.
pub(super) const STATEMENT_LIMIT: Duration = Duration::from_secs(60);

/// Maximum number of statements in one text: psql and dashboards send a handful.
const STATEMENTS_MAX: usize = 32;

/// Query that answers SHOW ALL.
const SETTINGS: &str = "select name, setting, short_desc as description from pg_catalog.pg_settings order by name";

/// Error for statements that would keep rows for a session.
const NO_TEMPORARY: &str = "nothing is kept for a session here; write WITH name AS (SELECT ...) before the query";

/// Purpose of one statement.
#[derive(Clone, Debug)]
pub(super) enum Asks {
    /// Returns the rows of a query, in which this number of tables are named with a version or a time.
    Rows(Box<Statement>, usize),
    /// Copies the rows of a query as a file; the number is that of its tables that are named with a version or a time.
    Copied(Box<Statement>, usize, Copying),
    /// Shows a setting: its name, and its value unless the client has set another.
    Shown(&'static str, &'static str),
    /// Changes a setting.
    Set(Setting),
    /// Resets one setting, or all.
    Reset(Setting),
    /// Begins a transaction, reported under this tag.
    Begin(&'static str),
    /// Ends a transaction, reported under this tag.
    End(&'static str),
    /// Sets a savepoint of this name.
    Savepoint(String),
    /// Rolls back to a savepoint: the transaction goes on, also after an error.
    GoOn(String),
    /// Releases a savepoint, and those that were set after it.
    Release(String),
    /// Does nothing, reported under this tag.
    Nothing(&'static str),
    /// Declares a cursor over a query: its name, the query, and the number of its tables with a version or a time.
    Declare(String, Box<Statement>, usize),
    /// Fetches the next rows of a cursor; all of them, without a number.
    Fetch(String, Option<usize>),
    /// Closes a cursor, or all.
    Close(Option<String>),
    /// Forgets a prepared statement; all of them, without a name.
    Deallocate(Option<String>),
    /// Forgets everything that the session has.
    Discard,
}

/// Reads the statements of a text, for a client with this row-level access.
pub(super) fn read(text: &str, access: &RowAccess) -> Result<Vec<Asks>, Refused> {
    limits::of_length(text)?;
    let mut allowed = Allowance::default();
    let all = statements(text).map_err(|error| Refused::syntax(&error.to_string()))?;
    if all.len() > STATEMENTS_MAX {
        return Err(Refused::too_much(&format!("{} statements are too many at once", all.len())));
    }
    let read = all.into_iter().map(|statement| {
        let text = undeferred(&statement.text);
        limits::of_text(text, &mut allowed)?;
        let parsed = parse(text)?;
        limits::of_statement(&parsed)?;
        let adapted = adapted(parsed, text)?;
        // The rewritten statement is what is planned, and it may be larger than the written one.
        limits::of_statement(&adapted)?;
        asks(adapted, statement.travels, access)
    });
    read.collect()
}

/// Returns the purpose of a statement.
fn asks(statement: Statement, travels: usize, access: &RowAccess) -> Result<Asks, Refused> {
    Ok(match statement {
        Statement::Query(_) | Statement::ExplainTable { .. } | Statement::Explain { .. } => {
            only_asks(&statement, access)?;
            Asks::Rows(Box::new(statement), travels)
        }
        Statement::ShowTables { .. } | Statement::ShowColumns { .. } | Statement::ShowSchemas { .. } => {
            Asks::Rows(Box::new(statement), travels)
        }
        Statement::ShowVariable { variable } => {
            let words: Vec<_> = variable.iter().map(|word| word.value.to_ascii_lowercase()).collect();
            let words = words.join(" ");
            if words == "all" {
                return Ok(Asks::Rows(Box::new(adapted(parse(SETTINGS)?, SETTINGS)?), 0));
            }
            let shown = settings::shown(&words);
            let (name, value) =
                shown.ok_or_else(|| Refused::value(&format!("there is no setting {words}; see SHOW ALL")))?;
            Asks::Shown(name, value)
        }
        // Connection pools send these when a connection is returned to them.
        Statement::Set(Set::SetSessionAuthorization(SetSessionAuthorizationParam {
            kind: SetSessionAuthorizationParamKind::Default,
            ..
        })) => Asks::Set(Setting::Unheeded),
        Statement::UNLISTEN { .. } => Asks::Nothing("UNLISTEN"),
        Statement::Set(Set::SetRole { .. } | Set::SetSessionAuthorization(_)) => {
            return Err(Refused::unsupported(NO_ROLES));
        }
        Statement::Set(set) => Asks::Set(settings::set(&set)?),
        Statement::Reset(reset) => match reset.reset {
            Reset::ALL => Asks::Reset(Setting::AllAtFirst),
            Reset::ConfigurationParameter(name) if name.to_string().contains('.') => {
                return Err(Refused::unsupported(&settings::of_server(&name.to_string())));
            }
            Reset::ConfigurationParameter(name) => Asks::Reset(settings::at_first(&name.to_string())),
        },
        Statement::StartTransaction { statements, exception: None, begin, .. } if statements.is_empty() => {
            Asks::Begin(if begin { "BEGIN" } else { "START TRANSACTION" })
        }
        Statement::Commit { chain: true, .. } | Statement::Rollback { chain: true, .. } => {
            return Err(Refused::unsupported("AND CHAIN: leave it out, and begin the next transaction by BEGIN"));
        }
        Statement::Commit { .. } => Asks::End("COMMIT"),
        Statement::Rollback { savepoint: None, .. } => Asks::End("ROLLBACK"),
        Statement::Rollback { savepoint: Some(name), .. } => Asks::GoOn(folded(name)),
        Statement::Savepoint { name } => Asks::Savepoint(folded(name)),
        Statement::ReleaseSavepoint { name } => Asks::Release(folded(name)),
        Statement::Discard { object_type: DiscardObject::ALL } => Asks::Discard,
        Statement::Discard { .. } => Asks::Nothing("DISCARD"),
        Statement::Copy { source, to: true, target: CopyTarget::Stdout, options, legacy_options, .. } => {
            let query = copied(source)?;
            only_asks(&query, access)?;
            Asks::Copied(Box::new(query), travels, Copying::of(&options, &legacy_options)?)
        }
        Statement::Declare { stmts } => declare(stmts, travels, access)?,
        Statement::Fetch { name, direction, into: None, .. } => Asks::Fetch(name.value, rows(&direction)?),
        Statement::Close { cursor: CloseCursor::All } => Asks::Close(None),
        Statement::Close { cursor: CloseCursor::Specific { name } } => Asks::Close(Some(name.value)),
        Statement::Deallocate { name, .. } if name.value.eq_ignore_ascii_case("all") => Asks::Deallocate(None),
        Statement::Deallocate { name, .. } => Asks::Deallocate(Some(name.value)),
        statement => return Err(refusal(&statement)),
    })
}

/// Returns a name as PostgreSQL knows it: in lower case, unless it is quoted.
fn folded(name: Ident) -> String {
    if name.quote_style.is_some() { name.value } else { name.value.to_lowercase() }
}

/// Refuses every statement but a query or EXPLAIN of one, and also a query in which a write is nested.
fn only_asks(statement: &Statement, access: &RowAccess) -> Result<(), Refused> {
    match statement {
        Statement::Query(query) => match query.body.as_ref() {
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => Err(refusal(statement)),
            SetExpr::Select(select) if select.into.is_some() => Err(Refused::read_only("SELECT INTO")),
            _ => Ok(()),
        },
        // Plans show how many rows there are, and their least and greatest values.
        Statement::Explain { .. } if *access != RowAccess::All => Err(Refused::hidden("EXPLAIN")),
        Statement::Explain { statement, .. } if matches!(**statement, Statement::Query(_)) => {
            only_asks(statement, access)
        }
        Statement::ExplainTable { .. } => Ok(()),
        statement => Err(refusal(statement)),
    }
}

/// Returns the query whose rows are copied; for a table, the query of its rows.
fn copied(source: CopySource) -> Result<Statement, Refused> {
    match source {
        CopySource::Query(query) => Ok(Statement::Query(query)),
        CopySource::Table { table_name, columns } => {
            let columns: Vec<_> = columns.iter().map(ToString::to_string).collect();
            let columns = if columns.is_empty() { "*".to_owned() } else { columns.join(", ") };
            let text = format!("select {columns} from {table_name}");
            adapted(parse(&text)?, &text)
        }
    }
}

/// Returns why a statement is refused.
fn refusal(statement: &Statement) -> Refused {
    let text = statement.to_string();
    let words: Vec<_> = text.split(|letter: char| !letter.is_ascii_alphabetic()).take(2).collect();
    let words = words.join(" ").to_ascii_uppercase();
    let words = words.trim();
    match statement {
        Statement::Prepare { .. } | Statement::Execute { .. } => {
            Refused::unsupported(&format!("{words}: SQL prepares no statements here; let the driver do so"))
        }
        Statement::LISTEN { .. } | Statement::NOTIFY { .. } => {
            Refused::not_here(words, "nobody is notified of anything here; ask again")
        }
        Statement::Vacuum(_) | Statement::Analyze(_) => {
            Refused::not_here(words, "`clicklake compact` keeps the tables in order; leave it out")
        }
        Statement::Copy { to: true, .. } => Refused::not_here(
            words,
            "this server writes no files; write COPY (SELECT ...) TO STDOUT, or \\copy in psql",
        ),
        Statement::CreateTable(table) if table.temporary => Refused::not_here(words, NO_TEMPORARY),
        Statement::CreateView(view) if view.temporary => Refused::not_here(words, NO_TEMPORARY),
        _ => Refused::read_only(words),
    }
}

fn declare(mut all: Vec<Declare>, travels: usize, access: &RowAccess) -> Result<Asks, Refused> {
    let unsupported =
        || Refused::unsupported("a cursor is declared by DECLARE name CURSOR FOR SELECT, and read forwards");
    let one = if all.len() == 1 { all.pop() } else { None };
    let one = one.filter(|one| one.declare_type == Some(DeclareType::Cursor) && one.scroll != Some(true));
    let one = one.ok_or_else(unsupported)?;
    let (Some(name), Some(query)) = (one.names.into_iter().next(), one.for_query) else { return Err(unsupported()) };
    let query = Statement::Query(query);
    only_asks(&query, access)?;
    Ok(Asks::Declare(name.value, Box::new(query), travels))
}

/// Returns how many rows are fetched.
fn rows(direction: &FetchDirection) -> Result<Option<usize>, Refused> {
    let number = |limit: &Value| match limit {
        Value::Number(number, _) => number.parse().ok(),
        _ => None,
    };
    let forwards = || Refused::unsupported("cursors are read forwards only");
    match direction {
        FetchDirection::Next | FetchDirection::Forward { limit: None } => Ok(Some(1)),
        FetchDirection::Forward { limit: Some(limit) } | FetchDirection::Count { limit } => {
            number(&limit.value).map(Some).ok_or_else(forwards)
        }
        FetchDirection::All | FetchDirection::ForwardAll => Ok(None),
        _ => Err(forwards()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn some() -> RowAccess {
        RowAccess::Campaigns(BTreeSet::from(["spring".to_owned()]))
    }

    #[test]
    fn statements_that_only_read_are_accepted() {
        for text in [
            "select 1",
            "with a as (select 1) table a",
            "select * from clicks VERSION AS OF 1",
            "show server_version",
            "show time zone",
            "SHOW TRANSACTION ISOLATION LEVEL",
            "show tables",
            "begin",
            "START TRANSACTION READ ONLY",
            "begin isolation level serializable read only deferrable",
            "START TRANSACTION READ ONLY NOT DEFERRABLE",
            "rollback to savepoint a",
            "commit",
            "abort",
            "set application_name = 'psql'",
            "SET extra_float_digits = 3",
            "set session characteristics as transaction read only",
            "declare c cursor for select 1",
            "fetch forward 10 from c",
            "close all",
            "deallocate all",
            "discard all",
            "show all",
            "unlisten *",
            "reset all",
            "set session authorization default",
            "discard sequences",
            "discard temp",
            "discard plans",
            "select array(select array(select 1))",
            "copy (select 1) to stdout with csv header",
            "set time zone 'UTC'",
            "copy (select 1) to stdout",
            "copy clicks (ad_id) to stdout (format csv, header)",
        ] {
            let read = read(text, &some()).unwrap_or_else(|why| panic!("{text}: {why:?}"));
            assert_eq!(read.len(), 1, "{text}");
        }
        assert!(read(" ; -- nothing", &some()).expect("nothing").is_empty());
        assert!(read("explain select 1", &RowAccess::All).is_ok());
    }

    #[test]
    fn a_subquery_counts_once_for_each_time_that_it_is_planned() {
        let nested = format!("select {}1{}", "array(select ".repeat(14), ")".repeat(14));
        assert_eq!(limits::of_statement(&parse(&nested).expect("SQL")), Ok(()));
        assert_eq!(read(&nested, &some()).err(), Some(Refused::too_much("the statement is too complex")));
    }

    #[test]
    fn statements_are_recognised_and_named_as_postgresql_names_them() {
        let one = |text: &str| read(text, &some()).expect(text).pop().expect(text);
        assert!(matches!(one("start transaction read only"), Asks::Begin("START TRANSACTION")));
        assert!(matches!(one("begin"), Asks::Begin("BEGIN")));
        assert!(matches!(one("discard all"), Asks::Discard) && matches!(one("close all"), Asks::Close(None)));
        assert!(matches!(one("reset all"), Asks::Reset(Setting::AllAtFirst)));
        assert!(matches!(one("reset statement_timeout"), Asks::Reset(Setting::LimitAtFirst)));
        assert!(matches!(one("/* a /* b */ */ copy (select 1) to stdout"), Asks::Copied(..)));
        assert!(matches!(one("-- a\n rollback /* b */ to savepoint C"), Asks::GoOn(name) if name == "c"));
        assert!(matches!(one("savepoint \"C\""), Asks::Savepoint(name) if name == "C"));
        assert!(matches!(one("release c"), Asks::Release(name) if name == "c"));
        assert!(
            matches!(one("/* a */ abort -- b"), Asks::End("ROLLBACK")) && matches!(one("end"), Asks::End("COMMIT"))
        );
    }

    #[test]
    fn a_refusal_names_what_the_server_has_instead() {
        for (text, why) in [
            ("listen a", "LISTEN A: nobody is notified"),
            ("notify a", "NOTIFY A: nobody is notified"),
            ("vacuum", "VACUUM: `clicklake compact` keeps"),
            ("analyze clicks", "ANALYZE CLICKS: `clicklake compact` keeps"),
            ("copy (select 1) to '/tmp/x.csv'", "COPY: this server writes no files"),
            ("create temp table a (b int)", "CREATE TEMPORARY: nothing is kept for a session"),
            ("create table a (b int)", "CREATE TABLE: this server only reads"),
            ("copy clicks from '/etc/passwd'", "COPY CLICKS: this server only reads"),
        ] {
            let refused = read(text, &RowAccess::All).expect_err(text).to_string();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }

    #[test]
    fn statements_that_write_are_refused_when_they_are_read() {
        for text in [
            "create table a (b int)",
            "create view a as select 1",
            "create external table a stored as csv location '/etc/passwd'",
            "insert into clicks values (1)",
            "update clicks set ad_id = ''",
            "delete from clicks",
            "with a as (select 1) insert into clicks select * from a",
            "drop table clicks",
            "truncate clicks",
            "copy clicks to '/tmp/a.csv'",
            "copy (select 1) to stdout (format xml)",
            "copy (insert into clicks values (1)) to stdout",
            "copy clicks from stdin",
            "set time zone 'Europe/Berlin'",
            "select 1 into a",
            "explain select 1",
            "explain analyze select 1",
            "explain insert into clicks values (1)",
            "prepare a as select 1",
            "execute a",
            "set datafusion.execution.batch_size = 1",
            "set role none",
            "commit and chain",
            "rollback and chain",
            "set session authorization someone",
            "copy (select 1) to stdout quote '\"'",
            "select 1; drop table clicks",
            "declare c cursor for insert into clicks values (1)",
            "do $$ begin end $$",
            "call f()",
            "listen a",
            "vacuum",
            "grant select on clicks to public",
        ] {
            assert!(read(text, &some()).is_err(), "{text}");
        }
    }
}
