//! Tables of PostgreSQL's own that the library lacks, or has with other types than tools compare them with. Most have
//! no rows, since nothing of the kind exists here.
//!
//! ```text
//!   a line a table:   name  column type, column type ...
//! ```

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int32Array, IntervalMonthDayNanoArray, ListBuilder, RecordBatch, StringArray,
    StringBuilder, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int32Type, IntervalMonthDayNano, IntervalUnit, Schema, SchemaRef, TimeUnit};
use arrow::ipc::writer::FileWriter;
use datafusion::catalog::{MemTable, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::error::Result;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::oid_field::{OID_ALIAS_KEY, OID_ALIAS_TYPE_NAMES};
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::{ArrowTable, PgCatalogStaticTables};

use super::settings::{ROLE, SHOWN};

/// Tables without rows.
const EMPTY: &str = include_str!("pg_catalog.txt");

/// Tables with rows, which are built below.
const FILLED: [&str; 4] = ["pg_settings", "pg_timezone_names", "pg_user", "pg_available_extensions"];

/// Columns of `pg_type` that refer to functions, which PostgreSQL compares by their numbers.
const FUNCTIONS_OF_TYPES: [&str; 8] =
    ["typsubscript", "typinput", "typoutput", "typreceive", "typsend", "typmodin", "typmodout", "typanalyze"];

/// Columns of `pg_proc` that are lists. Numbers of types are 64 bits wide, as drivers read them.
const LISTS_OF_FUNCTIONS: [(&str, &str); 3] =
    [("proallargtypes", "int8[]"), ("proargmodes", "text[]"), ("proargnames", "text[]")];

/// Schemas of the tables without rows, by name.
static SCHEMAS: LazyLock<BTreeMap<&'static str, SchemaRef>> = LazyLock::new(|| listed(EMPTY));

/// Returns the schemas of tables that a text lists, one on each line.
pub(super) fn listed(text: &'static str) -> BTreeMap<&'static str, SchemaRef> {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(name, columns)| (name, schema(columns))).collect()
}

/// Returns whether a table of that name exists here.
pub(super) fn is_there(name: &str) -> bool {
    SCHEMAS.contains_key(name) || FILLED.contains(&name)
}

/// Returns the names of all these tables.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SCHEMAS.keys().copied().chain(FILLED)
}

/// Returns a table, if it is one of these.
pub(super) fn table(name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
    let rows = match name {
        "pg_settings" => settings()?,
        "pg_timezone_names" => time_zones()?,
        "pg_user" => users()?,
        "pg_available_extensions" => {
            let columns = schema("name name, default_version text, installed_version text, comment text");
            RecordBatch::new_empty(columns)
        }
        name => match SCHEMAS.get(name) {
            Some(columns) => RecordBatch::new_empty(Arc::clone(columns)),
            None => return Ok(None),
        },
    };
    of_rows(rows).map(Some)
}

/// Returns a table of these rows.
pub(super) fn of_rows(rows: RecordBatch) -> Result<Arc<dyn TableProvider>> {
    Ok(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?))
}

/// Table function `pg_show_all_settings()`.
#[derive(Debug)]
pub(super) struct AllSettings;

impl TableFunctionImpl for AllSettings {
    fn call_with_args(&self, _: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        of_rows(settings()?)
    }
}

/// Function of one value in place of a table: `SELECT * FROM current_database()`.
#[derive(Debug)]
pub(super) struct OneValue {
    /// Name of the function, and of its column.
    pub name: &'static str,
    pub value: &'static str,
}

impl TableFunctionImpl for OneValue {
    fn call_with_args(&self, _: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let columns = Arc::new(Schema::new(vec![field(self.name, "name")]));
        let value: ArrayRef = Arc::new(StringArray::from(vec![self.value]));
        of_rows(batch(&columns, 1, HashMap::from([(self.name, value)]))?)
    }
}

fn settings() -> Result<RecordBatch> {
    let columns = schema(
        "name text, setting text, unit text, category text, short_desc text, extra_desc text, context text, \
         vartype text, source text, min_val text, max_val text, enumvals text[], boot_val text, reset_val text, \
         sourcefile text, sourceline int4, pending_restart bool",
    );
    let texts = |of: fn(&(&'static str, &'static str)) -> Option<&'static str>| -> ArrayRef {
        Arc::new(SHOWN.iter().map(of).collect::<StringArray>())
    };
    let filled: HashMap<&str, ArrayRef> = HashMap::from([
        ("name", texts(|setting| Some(setting.0))),
        ("setting", texts(|setting| Some(setting.1))),
        ("category", texts(|_| Some("Reported"))),
        ("context", texts(|_| Some("user"))),
        ("vartype", texts(|_| Some("string"))),
        ("source", texts(|_| Some("default"))),
        ("boot_val", texts(|setting| Some(setting.1))),
        ("reset_val", texts(|setting| Some(setting.1))),
        ("pending_restart", Arc::new(BooleanArray::from(vec![false; SHOWN.len()])) as ArrayRef),
    ]);
    batch(&columns, SHOWN.len(), filled)
}

fn time_zones() -> Result<RecordBatch> {
    let columns = schema("name text, abbrev text, utc_offset interval, is_dst bool");
    let utc = || -> ArrayRef { Arc::new(StringArray::from(vec!["UTC"])) };
    let nothing = IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(0, 0, 0)]);
    let filled = HashMap::from([
        ("name", utc()),
        ("abbrev", utc()),
        ("utc_offset", Arc::new(nothing) as ArrayRef),
        ("is_dst", Arc::new(BooleanArray::from(vec![false])) as ArrayRef),
    ]);
    batch(&columns, 1, filled)
}

/// Returns the only user, whom the library's `session_user` and `pg_roles` name, too: a key decides which rows are
/// seen.
fn users() -> Result<RecordBatch> {
    let columns = schema(
        "usename name, usesysid oid, usecreatedb bool, usesuper bool, userepl bool, usebypassrls bool, passwd text, \
         valuntil timestamptz, useconfig text[]",
    );
    let no = || -> ArrayRef { Arc::new(BooleanArray::from(vec![false])) };
    let filled = HashMap::from([
        ("usename", Arc::new(StringArray::from(vec![ROLE])) as ArrayRef),
        ("usesysid", Arc::new(Int32Array::from(vec![0])) as ArrayRef),
        ("usecreatedb", no()),
        ("usesuper", no()),
        ("userepl", no()),
        ("usebypassrls", no()),
    ]);
    batch(&columns, 1, filled)
}

/// Returns a batch of `rows` rows, of which the given columns are filled.
pub(super) fn batch(columns: &SchemaRef, rows: usize, filled: HashMap<&str, ArrayRef>) -> Result<RecordBatch> {
    let arrays = columns.fields().iter().map(|field| match filled.get(field.name().as_str()) {
        Some(array) => Arc::clone(array),
        None => new_null_array(field.data_type(), rows),
    });
    Ok(RecordBatch::try_new(Arc::clone(columns), arrays.collect())?)
}

/// Returns columns from their description; all are nullable.
pub(super) fn schema(columns: &str) -> SchemaRef {
    let fields = columns.split(',').filter_map(|column| {
        let (name, kind) = column.trim().split_once(' ')?;
        Some(field(name, kind.trim()))
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn field(name: &str, kind: &str) -> Field {
    if let Some(element) = kind.strip_suffix("[]") {
        return Field::new_list(name, Field::new_list_field(field("", element).data_type().clone(), true), true);
    }
    let is_number = OID_ALIAS_TYPE_NAMES.contains(&kind);
    let data_type = match kind {
        "bool" => DataType::Boolean,
        "int2" => DataType::Int16,
        "int4" => DataType::Int32,
        "int8" => DataType::Int64,
        "float4" => DataType::Float32,
        "float8" => DataType::Float64,
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "interval" => DataType::Interval(IntervalUnit::MonthDayNano),
        _ if is_number => DataType::Int32,
        _ => DataType::Utf8,
    };
    let field = Field::new(name, data_type, true);
    if is_number {
        return field.with_metadata(HashMap::from([(OID_ALIAS_KEY.to_owned(), kind.to_owned())]));
    }
    field
}

/// Returns the library's tables with corrected types: `pg_type` refers to functions by number, since drivers look these
/// up in `pg_proc`; and the arguments of functions are lists, which the library has as texts.
pub(super) fn of_library() -> Result<PgCatalogStaticTables> {
    let mut tables = PgCatalogStaticTables::try_new()?;
    tables.pg_proc = Arc::new(with_lists(&tables.pg_proc)?);
    let mut numbers: HashMap<String, i32> = HashMap::new();
    for rows in tables.pg_proc.data() {
        let (Some(oids), Some(names)) = (rows.column_by_name("oid"), rows.column_by_name("proname")) else { continue };
        let oids = oids.as_primitive::<Int32Type>();
        for (name, oid) in names.as_string::<i32>().iter().flatten().zip(oids.values().iter()) {
            numbers.entry(name.to_owned()).or_insert(*oid);
        }
    }
    let old = tables.pg_type.schema();
    let is_function = |field: &Field| FUNCTIONS_OF_TYPES.contains(&field.name().as_str());
    let fields = old.fields().iter().map(|of| match is_function(of) {
        true => Arc::new(field(of.name(), "regproc")),
        false => Arc::clone(of),
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let mut written = FileWriter::try_new(Vec::new(), &schema)?;
    for rows in tables.pg_type.data() {
        let columns = rows.columns().iter().zip(old.fields()).map(|(column, of)| -> ArrayRef {
            if !is_function(of) {
                return Arc::clone(column);
            }
            // No function is written `-`, and has the number 0.
            let number = |name: Option<&str>| name.map(|name| numbers.get(name).copied().unwrap_or(0));
            Arc::new(column.as_string::<i32>().iter().map(number).collect::<Int32Array>())
        });
        written.write(&RecordBatch::try_new(Arc::clone(&schema), columns.collect())?)?;
    }
    tables.pg_type = Arc::new(ArrowTable::from_ipc_data(written.into_inner()?)?);
    Ok(tables)
}

/// Returns the table of functions with its lists as lists.
fn with_lists(table: &ArrowTable) -> Result<ArrowTable> {
    let kind_of = |name: &str| LISTS_OF_FUNCTIONS.iter().find(|(list, _)| *list == name).map(|(_, kind)| *kind);
    let old = table.schema();
    let fields = old.fields().iter().map(|of| match kind_of(of.name()) {
        Some(kind) => Arc::new(field(of.name(), kind)),
        None => Arc::clone(of),
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let mut written = FileWriter::try_new(Vec::new(), &schema)?;
    for rows in table.data() {
        let columns = rows.columns().iter().zip(old.fields()).map(|(column, of)| -> Result<ArrayRef> {
            let Some(kind) = kind_of(of.name()) else { return Ok(Arc::clone(column)) };
            let mut lists = ListBuilder::new(StringBuilder::new());
            for list in column.as_string::<i32>() {
                lists.append_option(list.map(elements));
            }
            Ok(cast(&lists.finish(), field("", kind).data_type())?)
        });
        written.write(&RecordBatch::try_new(Arc::clone(&schema), columns.collect::<Result<_>>()?)?)?;
    }
    ArrowTable::from_ipc_data(written.into_inner()?)
}

/// Returns the elements of a list, as the library writes it: `['i', 'o']`, `[114, 25]`.
fn elements(list: &str) -> impl Iterator<Item = Option<&str>> {
    let inner = list.trim_matches(['[', ']']);
    let all = inner.split(',').map(|element| element.trim().trim_matches(['\'', '"']));
    all.filter(move |_| !inner.is_empty()).map(Some)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn every_line_is_a_table() {
        assert_eq!(SCHEMAS.len(), EMPTY.lines().count());
        for name in names() {
            assert!(is_there(name) && name.starts_with("pg_"), "{name}");
            let table = table(name).expect("a table").expect("it is there");
            assert!(table.schema().fields().iter().all(|field| !field.name().contains(' ')), "{name}");
        }
        assert!(table("clicks").expect("none").is_none());
    }

    #[test]
    fn functions_have_lists_of_what_they_take() {
        assert_eq!(elements("['from_json', 'key']").collect::<Vec<_>>(), [Some("from_json"), Some("key")]);
        assert_eq!(elements("[]").count(), 0);
        let tables = of_library().expect("tables");
        let rows = &tables.pg_proc.data()[0];
        let names = rows.column_by_name("proname").expect("a name").as_string::<i32>();
        let at = names.iter().position(|name| name == Some("json_each")).expect("json_each is a function");
        let list = |name: &str| rows.column_by_name(name).expect("a list").as_list::<i32>().value(at);
        assert_eq!(list("proallargtypes").as_primitive::<Int64Type>().values(), &[114, 25, 114]);
        assert_eq!(list("proargmodes").as_string::<i32>().iter().flatten().collect::<String>(), "ioo");
    }

    #[test]
    fn types_have_their_functions_by_number() {
        let tables = of_library().expect("tables");
        let rows = &tables.pg_type.data()[0];
        let names = rows.column_by_name("typname").expect("a name").as_string::<i32>();
        let at = names.iter().position(|name| name == Some("text")).expect("text is a type");
        let receive = rows.column_by_name("typreceive").expect("a function").as_primitive::<Int32Type>();
        // Number of `textrecv`, in every PostgreSQL.
        assert_eq!(receive.value(at), 2414);
    }
}
